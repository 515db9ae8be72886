// One line under the header while the line to the server is down; silence for short gaps.
import { setText } from "./dom.js";
import { t } from "./page-data.js";

const banner = document.getElementById("banner");
const QUIET_FOR = 2500;
let timer = null;

function show(text) {
  setText(banner, text);
  banner.hidden = false;
}

export function connectionUp() {
  clearTimeout(timer);
  timer = null;
  banner.hidden = true;
}

/** `code` is the close code of the socket. */
export function connectionDown(code) {
  if (code === 4029) {
    show(t("too_many_pages"));
    return;
  }
  if (!banner.hidden || timer !== null) return;
  timer = setTimeout(() => show(navigator.onLine ? t("connecting") : t("offline")), QUIET_FOR);
}
