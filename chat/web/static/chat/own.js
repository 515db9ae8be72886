// A message of the reader: as typed, set apart; and what happened to it on its way.
import { textOf } from "./conversation.js";
import { moment } from "./days.js";
import { el, icon, setText } from "./dom.js";
import { t } from "./page-data.js";

export class OwnView {
  constructor({ resend, discard }) {
    this.text = el("div", { class: "own-text" });
    this.note = el("div", { class: "own-note", hidden: true });
    this.state = el("span", {});
    this.resend = el("button", { type: "button", class: "quiet-button", on: { click: () => resend(this.entry) } },
      t("send_again"));
    this.discard = el("button", { type: "button", class: "quiet-button", on: { click: () => discard(this.entry) } },
      t("discard"));
    this.note.append(this.state, this.resend, this.discard);
    this.when = el("time", {});
    this.actions = el("div", { class: "actions" }, this.when,
      el("button", { type: "button", class: "quiet-button", "data-copy": "own" }, icon("copy"),
        el("span", {}, t("copy"))));
    this.node = el("article", { class: "own" }, el("h2", { class: "visually-hidden" }, t("you_said")),
      this.text, this.note, this.actions);
    this.entry = null;
  }

  update(entry) {
    this.entry = entry.entry ?? null;
    setText(this.text, entry.kind === "pending" ? entry.entry.content : textOf(entry.message));
    if (entry.message) setText(this.when, moment(entry.message.created_at));
    const failed = this.entry?.failed ?? null;
    const sending = this.entry !== null && failed === null && this.entry.slow;
    this.note.hidden = failed === null && !sending;
    this.note.dataset.kind = failed === null ? "quiet" : "bad";
    setText(this.state, failed ?? t("sending"));
    this.resend.hidden = this.discard.hidden = failed === null;
    this.actions.hidden = this.entry !== null;
  }

  get copied() {
    return this.text.textContent;
  }
}
