// Queue above the composer: messages that wait for an approval or for the end of the active answer.
import { getText } from "./conversation.js";
import { el, icon, setText } from "./dom.js";
import { t } from "./page-data.js";

const place = document.getElementById("queue");
const title = document.getElementById("queue-title");
const list = document.getElementById("queue-list");
let shown = "";

/**
 * Show the queued messages; `needsApproval` means that the answer waits for an approval,
 * `withdraw(message)` removes a message from the queue.
 */
export function drawQueue(messages, { needsApproval, withdraw }) {
  place.hidden = messages.length === 0 && !needsApproval;
  setText(title, place.hidden ? "" : t(needsApproval ? "waiting_for_decision" : "waiting"));
  const wanted = messages.map((message) => message.id).join();
  // Keep the nodes: a button may be in the middle of a click.
  if (wanted === shown) return;
  shown = wanted;
  list.hidden = messages.length === 0;
  list.replaceChildren(...messages.map((message) =>
    el("li", {}, icon("clock"),
      el("span", { class: "queue-text" }, getText(message) || t("picture")),
      el("button", { type: "button", class: "quiet-button", on: { click: () => withdraw(message) } },
        t("withdraw")))));
}
