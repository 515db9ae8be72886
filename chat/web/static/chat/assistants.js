// Assistant menu: name and description of each assistant.
import { el, icon, setText } from "./dom.js";
import { get } from "./http.js";
import { attachMenu } from "./menu.js";
import { data, t } from "./page-data.js";

const button = document.getElementById("assistant-button");
const label = document.getElementById("assistant-name");
const badge = document.getElementById("assistant-badge");
const box = document.getElementById("message");
const menu = document.getElementById("assistant-menu");

export class AssistantChoice {
  #chosen = null;
  #onChange;
  #menu;

  constructor(onChange) {
    this.#onChange = onChange;
    this.#menu = attachMenu(button, menu, { onOpen: () => this.#fill() });
  }

  get chosen() {
    return this.#chosen;
  }

  /** Choose an assistant by id; falls back to the first if it no longer exists. */
  choose(id) {
    this.#chosen = data.assistants.find((assistant) => assistant.id === id) ?? data.assistants[0] ?? null;
    button.hidden = box.disabled = this.#chosen === null;
    setText(label, this.#chosen?.name ?? "");
    badge.hidden = !this.#chosen?.demonstration;
    this.#onChange(this.#chosen);
  }

  #fill() {
    menu.replaceChildren(...data.assistants.map((assistant) => this.#createItem(assistant)));
    this.#refresh();
  }

  // An admin may have changed the list since the page was loaded.
  async #refresh() {
    const now = await get(data.urls.assistants).catch(() => null);
    if (now === null || JSON.stringify(now.data) === JSON.stringify(data.assistants)) return;
    data.assistants = now.data;
    const inside = menu.contains(document.activeElement);
    this.choose(this.#chosen?.id);
    menu.replaceChildren(...data.assistants.map((assistant) => this.#createItem(assistant)));
    if (inside) menu.querySelector('[aria-checked="true"]')?.focus();
  }

  #createItem(assistant) {
    const chosen = assistant === this.#chosen;
    const pick = () => {
      this.choose(assistant.id);
      this.#menu.close();
    };
    return el(
      "button",
      { type: "button", role: "menuitemradio", tabindex: "-1", "aria-checked": String(chosen), on: { click: pick } },
      el("span", { class: "menu-check" }, chosen ? icon("check") : ""),
      el("span", { class: "menu-text" },
        el("span", { class: "menu-name" }, assistant.name,
          assistant.demonstration ? el("span", { class: "badge" }, t("demonstration")) : ""),
        assistant.description ? el("span", { class: "menu-hint" }, assistant.description) : ""),
    );
  }
}
