// Messages that wait until the answer in progress has ended, above the box.
import { textOf } from "./conversation.js";
import { el, icon } from "./dom.js";
import { t } from "./page-data.js";

const place = document.getElementById("queue");
let shown = "";

/** Draw the waiting messages; `withdraw(message)` takes one back. */
export function drawQueue(messages, withdraw) {
  const wanted = messages.map((message) => message.id).join();
  // A button that is being pressed stays the same one.
  if (wanted === shown) return;
  shown = wanted;
  place.hidden = messages.length === 0;
  const rows = messages.map((message) =>
    el("li", {}, icon("clock"),
      el("span", { class: "queue-text" }, textOf(message) || t("picture")),
      el("button", { type: "button", class: "quiet-button", on: { click: () => withdraw(message) } },
        t("withdraw"))));
  place.replaceChildren(el("p", { class: "queue-title" }, t("waiting")), el("ul", {}, ...rows));
}
