// Plain-text fallbacks for parts of the page that failed to render.
import { getText } from "./conversation.js";
import { el, setText } from "./dom.js";
import { t } from "./page-data.js";

/** Return the result of `draw`; if it throws, log the error and return that of `fallback`. */
export function tryDraw(draw, fallback) {
  try {
    return draw();
  } catch (error) {
    console.error(error);
    return fallback();
  }
}

/** Plain text of a piece of an answer. */
export class PlainText {
  constructor() {
    this.text = el("div", { class: "prose plain-text" });
    this.node = el("div", { class: "said" }, this.text);
  }

  update(message) {
    setText(this.text, getText(message));
  }

  get copyText() {
    return this.text.textContent;
  }
}

/** Plain text of a whole message, with the interface that the transcript expects of a view. */
export class PlainView {
  constructor(kind) {
    const own = kind !== "answer";
    this.text = "";
    this.run = null;
    this.approvals = { node: el("div", {}) };
    this.body = el("div", { class: own ? "own-text" : "prose plain-text" });
    this.node = el("article", { class: own ? "own" : "answer" },
      el("h2", { class: "visually-hidden" }, t(own ? "you_said" : "assistant")), this.body);
  }

  update(entry, conversation) {
    this.run = entry.run ? (conversation.runs.get(entry.run) ?? null) : null;
    const messages = entry.run
      ? [...conversation.messages.values()].filter((message) => message.run_id === entry.run)
      : [entry.message ?? entry.lone].filter(Boolean);
    this.text = entry.entry?.content ?? messages.map(getText).join("\n\n");
    setText(this.body, this.text);
  }

  get announcement() {
    return this.text;
  }
}
