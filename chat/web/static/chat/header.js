// Chat header: title and menu of the open chat.
import { setText } from "./dom.js";
import { attachMenu } from "./menu.js";
import { data } from "./page-data.js";
import { getTitle } from "./threads.js";

const title = document.getElementById("title");
const button = document.getElementById("chat-menu-button");
const menu = document.getElementById("chat-menu");

/** Attach the menu; `current()` returns the open thread. */
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
  setText(title, getTitle(thread));
  button.hidden = thread === null;
  document.title = thread === null ? data.company.name : `${getTitle(thread)} · ${data.company.name}`;
}
