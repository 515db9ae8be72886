// The line above the messages: which chat this is, and what can be done with it.
import { setText } from "./dom.js";
import { attachMenu } from "./menu.js";
import { data } from "./page-data.js";
import { titleOf } from "./threads.js";

const title = document.getElementById("title");
const button = document.getElementById("chat-menu-button");
const menu = document.getElementById("chat-menu");

/** Wire the menu; `current()` gives the thread it is about. */
export function attachHeader({ current, rename, remove }) {
  const control = attachMenu(button, menu);
  menu.addEventListener("click", (event) => {
    const action = event.target.closest("[data-do]")?.dataset.do;
    if (!action) return;
    control.close(action === "rename");
    if (action === "rename") rename(current());
    else remove(current());
  });
}

export function drawHeader(thread) {
  setText(title, titleOf(thread));
  button.hidden = thread === null;
  document.title = thread === null ? data.company.name : `${titleOf(thread)} · ${data.company.name}`;
}
