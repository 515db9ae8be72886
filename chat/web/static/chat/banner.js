// Banner under the header while the connection is down; short interruptions are not shown.
import { setText } from "./dom.js";
import { t } from "./page-data.js";

const banner = document.getElementById("banner");
const QUIET_FOR = 2500;
let timer = null;
let down = false;
let noticed = null;

function show(text) {
  setText(banner, text);
  banner.hidden = false;
}

function showNotice() {
  if (noticed === null) banner.hidden = true;
  else show(noticed);
}

export function connectionUp() {
  clearTimeout(timer);
  timer = null;
  down = false;
  showNotice();
}

/** `code` is the close code of the socket. */
export function connectionDown(code) {
  if (code === 4029) {
    down = true;
    show(t("too_many_pages"));
    return;
  }
  if (down || timer !== null) return;
  timer = setTimeout(() => show(navigator.onLine ? t("connecting") : t("offline")), QUIET_FOR);
}

/** Show a notice while connected; null removes it. */
export function notice(text) {
  noticed = text;
  if (!down && timer === null) showNotice();
}
