// View of a user message: text, files, and the state of sending.
import { getImageIds, getText } from "./conversation.js";
import { showMoment } from "./days.js";
import { arrange, el, icon, setText } from "./dom.js";
import { FileChip, getFacts, pollFile } from "./files.js";
import { t } from "./page-data.js";
import { PictureView } from "./pictures.js";

const SEARCH_TOOL = "file_search";

/** Return the files of a pending or stored message: [{id, name, shown, searched}]. */
function getFiles({ kind, entry, message }) {
  if (kind === "pending") {
    return (entry.files ?? []).map((file) => ({ ...file, searched: false }));
  }
  const attached = (message.attachments ?? []).map(({ file_id: id, tools }) => ({
    id, shown: false, searched: tools.some((tool) => tool.type === SEARCH_TOOL),
  }));
  return [...getImageIds(message).map((id) => ({ id, shown: true })), ...attached];
}

export class UserMessageView {
  constructor({ resend, discard }) {
    this.text = el("div", { class: "own-text" });
    this.pictures = el("div", { class: "own-pictures" });
    this.files = el("div", { class: "own-files" });
    this.reading = el("p", { class: "own-reading", role: "status", hidden: true });
    this.views = new Map();
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
      this.pictures, this.files, this.text, this.reading, this.note, this.actions);
    this.entry = null;
  }

  update(entry) {
    this.entry = entry.entry ?? null;
    const text = entry.kind === "pending" ? entry.entry.content : getText(entry.message);
    setText(this.text, text);
    this.text.hidden = text === "";
    this.#drawFiles(getFiles(entry));
    if (entry.message) showMoment(this.when, entry.message.created_at);
    const failed = this.entry?.failed ?? null;
    const sending = this.entry !== null && failed === null && this.entry.slow;
    this.note.hidden = failed === null && !sending;
    this.note.dataset.kind = failed === null ? "quiet" : "bad";
    setText(this.state, failed ?? t("sending"));
    this.resend.hidden = this.discard.hidden = failed === null;
    this.actions.hidden = this.entry !== null;
  }

  #drawFiles(files) {
    for (const file of files) {
      if (!this.views.has(file.id)) {
        this.views.set(file.id, file.shown ? new PictureView(file.id, { small: true }) : new FileChip(file.id, file));
      }
      this.views.get(file.id).update();
      if (file.searched) pollFile(file.id);
    }
    const nodes = (shown) => files.filter((file) => file.shown === shown).map((file) => this.views.get(file.id).node);
    arrange(this.pictures, nodes(true));
    arrange(this.files, nodes(false));
    this.#drawReading(files.filter((file) => file.searched).map((file) => getFacts(file.id)));
  }

  // Files being indexed are searchable a little later, failed ones never.
  #drawReading(facts) {
    const reading = facts.filter((file) => file?.state === "reading").length;
    const failed = facts.filter((file) => file?.state === "failed");
    const lines = failed.map(({ name, problem }) => t("file_unread", { name, problem }));
    if (reading > 0) lines.push(reading === 1 ? t("reading_file") : t("reading_files", { count: reading }));
    this.reading.hidden = lines.length === 0;
    this.reading.dataset.kind = failed.length > 0 ? "bad" : "quiet";
    setText(this.reading, lines.join(" "));
  }

  get copyText() {
    return this.text.textContent;
  }
}
