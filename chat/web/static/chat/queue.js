// What waits above the box: for a decision of the reader, or until the answer in progress has ended.
import { textOf } from "./conversation.js";
import { el, icon, setText } from "./dom.js";
import { t } from "./page-data.js";

const place = document.getElementById("queue");
const title = document.getElementById("queue-title");
const list = document.getElementById("queue-list");
let shown = "";

/**
 * Draw the waiting messages; `deciding` says that the answer waits for a decision of the reader,
 * `withdraw(message)` takes a message back.
 */
export function drawQueue(messages, { deciding, withdraw }) {
  place.hidden = messages.length === 0 && !deciding;
  setText(title, place.hidden ? "" : t(deciding ? "waiting_for_decision" : "waiting"));
  const wanted = messages.map((message) => message.id).join();
  // A button that is being pressed stays the same one.
  if (wanted === shown) return;
  shown = wanted;
  list.hidden = messages.length === 0;
  list.replaceChildren(...messages.map((message) =>
    el("li", {}, icon("clock"),
      el("span", { class: "queue-text" }, textOf(message) || t("picture")),
      el("button", { type: "button", class: "quiet-button", on: { click: () => withdraw(message) } },
        t("withdraw")))));
}
