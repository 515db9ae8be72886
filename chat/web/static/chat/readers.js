// Shows who can read these chats: a line, and a notice that stays until it is acknowledged.
import { el, setText } from "./dom.js";
import { post, request } from "./http.js";
import { t } from "./page-data.js";
import { showToast } from "./toast.js";

const MIN_PAUSE_MS = 5_000;
const INTERVAL_MS = 60_000;

const notice = document.getElementById("reading-notice");
const line = document.getElementById("readers");
// The last acknowledged `through`: a response already in flight must not show that notice again.
let acknowledged = "";

function update({ can_read, could_read, line: text, notice: entries, through }) {
  line.classList.toggle("told", can_read);
  setText(line.querySelector("span"), text);
  line.querySelector("a").hidden = !could_read;
  if (through === notice.dataset.through || (through !== "" && through === acknowledged)) return;
  notice.dataset.through = through;
  notice.querySelector("ul").replaceChildren(...entries.map((entry) => el("li", {}, entry)));
  notice.hidden = through === "";
}

/** Poll for changes when the page becomes visible, and once a minute while it is visible. */
function startPolling() {
  let lastPoll = Date.now();
  const poll = async () => {
    if (document.visibilityState !== "visible" || Date.now() - lastPoll < MIN_PAUSE_MS) return;
    lastPoll = Date.now();
    try {
      update(await request("GET", line.dataset.url));
    } catch {
      // Unreachable: the next poll tries again.
    }
  };
  document.addEventListener("visibilitychange", poll);
  addEventListener("focus", poll);
  setInterval(poll, INTERVAL_MS);
}

export function attachReadingNotice() {
  const button = notice.querySelector("button");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const { through } = notice.dataset;
    try {
      await post(notice.dataset.url, { through });
      acknowledged = through;
      // A change that arrived meanwhile is not acknowledged.
      if (notice.dataset.through === through) {
        notice.dataset.through = "";
        notice.hidden = true;
        document.getElementById("message").focus();
      }
    } catch {
      showToast(t("not_done"));
    }
    button.disabled = false;
  });
  startPolling();
}
