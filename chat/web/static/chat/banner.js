// Banner under the header while the connection is down; short interruptions are not shown.
import { setText } from "./dom.js";
import { t } from "./page-data.js";

const banner = document.getElementById("banner");
const QUIET_MS = 2500;
let timer = null;
let down = false;
let noticeText = null;

function show(text) {
  setText(banner, text);
  banner.hidden = false;
}

function updateNotice() {
  if (noticeText === null) banner.hidden = true;
  else show(noticeText);
}

export function showConnected() {
  clearTimeout(timer);
  timer = null;
  down = false;
  updateNotice();
}

/** `code` is the close code of the socket. */
export function showDisconnected(code) {
  if (code === 4029) {
    down = true;
    show(t("too_many_pages"));
    return;
  }
  if (down || timer !== null) return;
  timer = setTimeout(() => show(navigator.onLine ? t("connecting") : t("offline")), QUIET_MS);
}

/** Show a notice while connected; null removes it. */
export function setNotice(text) {
  noticeText = text;
  if (!down && timer === null) updateNotice();
}
