// Welcome view of an empty chat: assistant, description and suggested questions.
import { el, setText } from "./dom.js";

const welcome = document.getElementById("welcome");
const name = document.getElementById("welcome-name");
const description = document.getElementById("welcome-description");
const badge = document.getElementById("welcome-badge");
const none = document.getElementById("welcome-none");
const prompts = document.getElementById("welcome-prompts");

/** Show or hide the welcome; `ask(text)` sends a suggested question. */
export function drawWelcome(visible, assistant, ask) {
  welcome.hidden = !visible;
  if (!visible) return;
  none.hidden = assistant !== null;
  name.hidden = assistant === null;
  setText(name, assistant?.name ?? "");
  setText(description, assistant?.description ?? "");
  badge.hidden = !assistant?.demonstration;
  prompts.replaceChildren(
    ...(assistant?.suggested_prompts ?? []).map((text) =>
      el("li", {}, el("button", { type: "button", class: "prompt", on: { click: () => ask(text) } }, text))),
  );
}
