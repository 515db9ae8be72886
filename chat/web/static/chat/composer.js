// Message composer: auto-growing text box, send and stop buttons, keyboard handling.
import { Attachments } from "./attachments.js";
import { readDraft, saveDraft } from "./drafts.js";
import { attachDrop } from "./drop.js";
import { data, t } from "./page-data.js";
import { showToast } from "./toast.js";

const form = document.getElementById("composer");
const box = document.getElementById("message");
const send = document.getElementById("send");
const stop = document.getElementById("stop");
// Bytes of a message frame other than its text.
const ENVELOPE = 1000;

function isTooLong(text) {
  const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
  return text.length > data.limits.characters || bytes > data.limits.bytes - ENVELOPE;
}

export class Composer {
  #thread = undefined; // undefined until the first chat is opened
  #timer = null;
  #onSend;
  #files = new Attachments((removed) => this.#handleFilesChange(removed));
  #sendAfterUpload = false;

  constructor({ onSend, onStop }) {
    this.#onSend = onSend;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    stop.addEventListener("click", onStop);
    box.addEventListener("keydown", (event) => this.#handleKey(event));
    box.addEventListener("input", () => this.#handleInput());
    addEventListener("pagehide", () => this.#saveDraft());
    attachDrop((files) => {
      if (!box.disabled) this.#files.add(files);
    });
  }

  /** Set the assistant that answers next; it determines which files can be sent. */
  setAssistant(assistant) {
    this.#files.setAssistant(assistant);
    this.#updateButtons();
  }

  /** Switch to another chat: save the current draft and load the new chat's draft. */
  open(thread) {
    this.#saveDraft();
    // Keep text that was typed before the scripts had loaded.
    const early = this.#thread === undefined ? box.value : "";
    this.#thread = thread;
    box.value = early || readDraft(thread);
    this.#setSendAfterUpload(false);
    this.#files.open(thread);
    this.#handleInput({ store: false });
  }

  /** Move the draft to a chat that was just created. */
  setThreadId(thread) {
    saveDraft(this.#thread, "");
    this.#thread = thread;
    this.#files.setThreadId(thread);
    this.#saveDraft();
  }

  setBusy(busy) {
    const stopping = stop.contains(document.activeElement);
    stop.hidden = !busy;
    box.placeholder = busy ? t("placeholder_busy") : t("placeholder");
    if (!busy && stopping) box.focus();
    this.#updateButtons();
  }

  focus() {
    box.focus({ preventScroll: true });
  }

  /** Restore text and files to the box; text typed meanwhile is not overwritten. */
  restore(text, files = []) {
    if (box.value.trim() === "") box.value = text;
    this.#files.restore(files);
    this.#handleInput();
    this.focus();
  }

  #submit() {
    const text = box.value.trim();
    if (this.#isEmpty) return;
    if (isTooLong(text)) {
      showToast(t("too_long"));
      return;
    }
    if (this.#files.obstacle !== null) return;
    if (this.#files.uploading) {
      this.#setSendAfterUpload(true);
      return;
    }
    this.#setSendAfterUpload(false);
    if (!this.#onSend(text, () => this.#files.take())) return;
    box.value = "";
    this.#handleInput();
    this.focus();
  }

  // A message sent during an upload goes out when the upload finishes. Removing a file cancels
  // that: the user may want to write something else.
  #setSendAfterUpload(waiting) {
    this.#sendAfterUpload = waiting;
    this.#files.setNote(waiting ? t("sends_when_uploaded") : null);
  }

  #handleFilesChange(removed) {
    if (removed) this.#setSendAfterUpload(false);
    this.#updateButtons();
    if (!this.#sendAfterUpload || this.#files.uploading) return;
    this.#setSendAfterUpload(false);
    this.#submit();
  }

  get #isEmpty() {
    return box.value.trim() === "" && (this.#files.uploading || !this.#files.hasImage);
  }

  #handleKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    // On touch keyboards Enter is the only way to insert a line break.
    if (matchMedia("(hover: none) and (pointer: coarse)").matches && !event.ctrlKey) return;
    event.preventDefault();
    this.#submit();
  }

  #handleInput({ store = true } = {}) {
    // Keep the form's height while measuring, so that the messages above do not move.
    form.style.minHeight = `${form.offsetHeight}px`;
    box.rows = 1;
    box.classList.add("measuring");
    const lines = Math.round(box.scrollHeight / parseFloat(getComputedStyle(box).lineHeight));
    box.classList.remove("measuring");
    box.rows = Math.min(Math.max(lines, 1), 10);
    form.style.minHeight = "";
    this.#updateButtons();
    if (!store) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#saveDraft(), 250);
  }

  #updateButtons() {
    const empty = this.#isEmpty;
    send.disabled = empty || this.#files.obstacle !== null;
    send.hidden = empty && !stop.hidden;
  }

  #saveDraft() {
    clearTimeout(this.#timer);
    if (this.#thread !== undefined) saveDraft(this.#thread, box.value);
  }
}
