// Attachments of the next message: chosen, dropped or pasted, and uploaded immediately.
import { arrange, el, icon, setText } from "./dom.js";
import { readFiles, saveFiles } from "./drafts.js";
import { formatSize, getIconName, showName, storeFacts } from "./files.js";
import { remove, upload } from "./http.js";
import { data, locale, t } from "./page-data.js";
import { getErrorMessage } from "./problems.js";

const list = document.getElementById("attached");
const note = document.getElementById("attached-note");
const button = document.getElementById("attach");
const chooser = document.getElementById("attach-files");

const percent = new Intl.NumberFormat(locale, { style: "percent" });

const TOOLS = {
  image: ["code_interpreter"],
  data: ["code_interpreter", "file_search"],
  table: ["code_interpreter"],
  other: ["code_interpreter"],
};

// Return how an assistant with the capabilities `reads` uses a file: {shown, tools}, or null.
function getFileUse(kind, reads) {
  if (kind === "image" && reads.includes("images")) return { shown: true, tools: [] };
  if (kind === "document") {
    const tool = ["file_search", "code_interpreter"].find((name) => reads.includes(name));
    return tool ? { shown: false, tools: [tool] } : null;
  }
  const tools = TOOLS[kind].filter((name) => reads.includes(name));
  return tools.length > 0 ? { shown: false, tools } : null;
}

export class Attachments {
  #items = [];
  #thread = undefined;
  #assistant = null;
  #onChange;

  /** `onChange(removed)` is called on each change; `removed` is true if the user removed a file. */
  constructor(onChange) {
    this.#onChange = onChange;
    button.addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      this.add([...chooser.files]);
      chooser.value = "";
    });
  }

  /** Switch to another chat and restore the attachments of its draft. */
  open(thread) {
    for (const item of this.#items) item.stop?.();
    this.#thread = thread;
    this.#items = readFiles(thread).map((facts) => this.#createItem(facts.name, facts.bytes, facts));
    this.#draw();
  }

  /** Move the attachments to a chat that was just created. */
  setThreadId(thread) {
    saveFiles(this.#thread, []);
    this.#thread = thread;
    this.#saveDraft();
  }

  /** Set the assistant that will receive the files. */
  setAssistant(assistant) {
    this.#assistant = assistant;
    button.hidden = !assistant || assistant.reads.length === 0;
    this.#draw();
  }

  add(files) {
    const room = data.limits.files - this.#items.length;
    this.full = files.length > room;
    for (const file of files.slice(0, room)) {
      const item = this.#createItem(file.name, file.size, null);
      item.file = file;
      this.#items.push(item);
      if (file.size > data.limits.file) item.error = t("problem_file_too_large");
      else if (file.size === 0) item.error = t("file_empty");
      else this.#upload(item);
    }
    this.#handleChange();
  }

  /** Add the files of a message that was removed from the queue or discarded. */
  restore(files) {
    for (const facts of files) this.#items.push(this.#createItem(facts.name, facts.bytes, facts));
    this.#handleChange();
  }

  get empty() {
    return this.#items.length === 0;
  }

  get uploading() {
    return this.#items.some((item) => !item.facts && !item.error);
  }

  /** Why the message cannot be sent with these files, or null. */
  get obstacle() {
    const failed = this.#items.find((item) => item.error);
    if (failed) return t("attached_failed", { name: failed.name });
    const unusable = this.#findUnusable();
    if (!unusable) return null;
    const assistant = this.#assistant?.name ?? t("assistant");
    return t(unusable.facts.kind === "image" ? "cannot_see" : "cannot_read", { assistant, name: unusable.name });
  }

  /** True if there is an image, which can be sent without text. */
  get hasImage() {
    return this.#listUsable().some((file) => file.shown);
  }

  /** Return the files for a message, with their use, and clear the list. */
  take() {
    const used = this.#listUsable();
    this.#items = [];
    this.#handleChange();
    return used;
  }

  #listUsable() {
    const reads = this.#assistant?.reads ?? [];
    return this.#items
      .filter((item) => item.facts)
      .map(({ facts: { id, name, bytes, kind } }) => ({ id, name, bytes, kind, ...getFileUse(kind, reads) }));
  }

  #findUnusable() {
    const reads = this.#assistant?.reads ?? [];
    return this.#items.find((item) => item.facts && getFileUse(item.facts.kind, reads) === null);
  }

  #createItem(name, bytes, facts) {
    const item = { name, bytes, facts, error: null, progress: 0, stop: null, file: null };
    item.sign = el("span", { class: "file-sign" });
    item.state = el("span", { class: "file-size" });
    item.bar = el("progress", { max: "1", value: "0", "aria-label": t("uploading_file", { name }) });
    item.retryButton = el("button", {
      type: "button", class: "icon-button", title: t("try_again"), "aria-label": t("upload_again", { name }), hidden: true,
      on: { click: () => this.#retryUpload(item) },
    }, icon("again"));
    const label = el("span", { class: "file-name", title: name });
    showName(label, name);
    item.node = el("li", { class: "attached-file" }, item.sign,
      el("span", { class: "file-text" }, label, item.state), item.bar, item.retryButton,
      el("button", {
        type: "button", class: "icon-button", "aria-label": t("remove_file", { name }), on: { click: () => this.#remove(item) },
      }, icon("close")));
    return item;
  }

  async #upload(item) {
    const { done, stop } = upload(data.urls.files, item.file, (part) => {
      item.progress = part;
      this.#drawItem(item);
    });
    item.stop = stop;
    try {
      item.facts = await done;
      item.name = item.facts.name;
      storeFacts(item.facts);
    } catch (error) {
      item.error = error.code === "invalid_value" ? t("file_refused") : getErrorMessage(error, "not_uploaded");
      // A rejected file would be rejected again: offer no retry.
      item.retryButton.hidden = error.status !== 0 && error.status !== 429 && error.status < 500;
    }
    item.stop = null;
    if (this.#items.includes(item)) this.#handleChange();
    else if (item.facts) remove(`${data.urls.files}/${item.facts.id}`).catch(() => {});
  }

  #retryUpload(item) {
    Object.assign(item, { error: null, progress: 0 });
    item.retryButton.hidden = true;
    item.node.lastElementChild.focus();
    this.#upload(item);
    this.#handleChange();
  }

  #remove(item) {
    const at = this.#items.indexOf(item);
    this.#items.splice(at, 1);
    item.stop?.();
    // Another tab may have sent the file meanwhile: then it must not be deleted.
    const isDraft = item.facts && readFiles(this.#thread).some((facts) => facts.id === item.facts.id);
    if (isDraft) remove(`${data.urls.files}/${item.facts.id}`).catch(() => {});
    this.#handleChange(true);
    const next = this.#items[Math.min(at, this.#items.length - 1)];
    (next ? next.node.lastElementChild : document.getElementById("message")).focus();
  }

  #handleChange(removed = false) {
    this.#saveDraft();
    this.#draw();
    this.#onChange(removed);
  }

  #saveDraft() {
    if (this.#thread !== undefined) saveFiles(this.#thread, this.#items.flatMap((item) => item.facts ?? []));
  }

  /** Show a note below the attachments; null removes it. */
  setNote(text) {
    this.noteText = text;
    this.#draw();
  }

  #draw() {
    list.hidden = this.empty;
    for (const item of this.#items) this.#drawItem(item);
    arrange(list, this.#items.map((item) => item.node));
    const full = this.full ? t("attached_full", { count: data.limits.files }) : null;
    const text = this.empty && !full ? null : (this.obstacle ?? this.noteText ?? full);
    note.hidden = !text;
    note.dataset.kind = this.obstacle ? "bad" : "quiet";
    setText(note, text ?? "");
    this.full = false;
  }

  #drawItem(item) {
    const busy = !item.facts && !item.error;
    item.node.dataset.state = item.error ? "bad" : busy ? "busy" : "ready";
    item.sign.replaceChildren(icon(item.error ? "alert" : getIconName(item.facts?.kind)));
    setText(item.state, item.error ?? (busy ? percent.format(item.progress) : formatSize(item.bytes)));
    item.bar.hidden = !busy;
    item.bar.value = item.progress;
  }
}
