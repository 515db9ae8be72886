// Message composer: auto-growing text box, send and stop buttons, keyboard handling.
import { Attachments } from "./attachments.js";
import { keepDraft, readDraft } from "./drafts.js";
import { attachDrop } from "./drop.js";
import { data, t } from "./page-data.js";
import { toast } from "./toast.js";

const form = document.getElementById("composer");
const box = document.getElementById("message");
const send = document.getElementById("send");
const stop = document.getElementById("stop");
// Bytes of a message frame besides its text.
const ENVELOPE = 1000;

function tooLong(text) {
  const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
  return text.length > data.limits.characters || bytes > data.limits.bytes - ENVELOPE;
}

export class Composer {
  #thread = undefined; // undefined until the first chat is opened
  #timer = null;
  #onSend;
  #files = new Attachments((removed) => this.#filesChanged(removed));
  #whenUploaded = false;

  constructor({ onSend, onStop }) {
    this.#onSend = onSend;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    stop.addEventListener("click", onStop);
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("input", () => this.#typed());
    addEventListener("pagehide", () => this.#keep());
    attachDrop((files) => {
      if (!box.disabled) this.#files.add(files);
    });
  }

  /** Set the assistant that answers next; it determines which files can be sent. */
  writeTo(assistant) {
    this.#files.readBy(assistant);
    this.#button();
  }

  /** Switch to another chat: save the current draft and load the new chat's draft. */
  open(thread) {
    this.#keep();
    // Keep text that was typed before the scripts had loaded.
    const early = this.#thread === undefined ? box.value : "";
    this.#thread = thread;
    box.value = early || readDraft(thread);
    this.#hold(false);
    this.#files.open(thread);
    this.#typed({ store: false });
  }

  /** Move the draft to a chat that was just created. */
  named(thread) {
    keepDraft(this.#thread, "");
    this.#thread = thread;
    this.#files.named(thread);
    this.#keep();
  }

  setBusy(busy) {
    const stopping = stop.contains(document.activeElement);
    stop.hidden = !busy;
    box.placeholder = busy ? t("placeholder_busy") : t("placeholder");
    if (!busy && stopping) box.focus();
    this.#button();
  }

  focus() {
    box.focus({ preventScroll: true });
  }

  /** Restore text and files to the box; text typed meanwhile is not overwritten. */
  giveBack(text, files = []) {
    if (box.value.trim() === "") box.value = text;
    this.#files.giveBack(files);
    this.#typed();
    this.focus();
  }

  #submit() {
    const text = box.value.trim();
    if (this.#empty) return;
    if (tooLong(text)) {
      toast(t("too_long"));
      return;
    }
    if (this.#files.obstacle !== null) return;
    if (this.#files.uploading) {
      this.#hold(true);
      return;
    }
    this.#hold(false);
    if (!this.#onSend(text, () => this.#files.take())) return;
    box.value = "";
    this.#typed();
    this.focus();
  }

  // A message sent during an upload goes out when the upload finishes. Removing a file cancels
  // that: the user may want to write something else.
  #hold(waiting) {
    this.#whenUploaded = waiting;
    this.#files.say(waiting ? t("sends_when_uploaded") : null);
  }

  #filesChanged(removed) {
    if (removed) this.#hold(false);
    this.#button();
    if (!this.#whenUploaded || this.#files.uploading) return;
    this.#hold(false);
    this.#submit();
  }

  get #empty() {
    return box.value.trim() === "" && (this.#files.uploading || !this.#files.speaks);
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    // On touch keyboards Enter is the only way to insert a line break.
    if (matchMedia("(hover: none) and (pointer: coarse)").matches && !event.ctrlKey) return;
    event.preventDefault();
    this.#submit();
  }

  #typed({ store = true } = {}) {
    // Keep the form's height while measuring, so that the messages above do not move.
    form.style.minHeight = `${form.offsetHeight}px`;
    box.rows = 1;
    box.classList.add("measuring");
    const lines = Math.round(box.scrollHeight / parseFloat(getComputedStyle(box).lineHeight));
    box.classList.remove("measuring");
    box.rows = Math.min(Math.max(lines, 1), 10);
    form.style.minHeight = "";
    this.#button();
    if (!store) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), 250);
  }

  #button() {
    const empty = this.#empty;
    send.disabled = empty || this.#files.obstacle !== null;
    send.hidden = empty && !stop.hidden;
  }

  #keep() {
    clearTimeout(this.#timer);
    if (this.#thread !== undefined) keepDraft(this.#thread, box.value);
  }
}
