// The box at the bottom: growing text, send that becomes stop, keys.
import { Attachments } from "./attachments.js";
import { keepDraft, readDraft } from "./drafts.js";
import { attachDrop } from "./drop.js";
import { data, t } from "./page-data.js";
import { toast } from "./toast.js";

const form = document.getElementById("composer");
const box = document.getElementById("message");
const send = document.getElementById("send");
const stop = document.getElementById("stop");
// What travels around the text of a message, in bytes.
const ENVELOPE = 1000;

function tooLong(text) {
  const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
  return text.length > data.limits.characters || bytes > data.limits.bytes - ENVELOPE;
}

export class Composer {
  #thread = undefined; // until the first chat is opened
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

  /** Who answers next decides what can be read. */
  writeTo(assistant) {
    this.#files.readBy(assistant);
    this.#button();
  }

  /** Turn to another chat: its draft comes, the old one is kept. */
  open(thread) {
    this.#keep();
    // Whoever typed before the scripts were here keeps what they typed.
    const early = this.#thread === undefined ? box.value : "";
    this.#thread = thread;
    box.value = early || readDraft(thread);
    this.#hold(false);
    this.#files.open(thread);
    this.#typed({ store: false });
  }

  /** A new chat got its id while it was being written in. */
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

  /** Give text and files back to the box, unless something else was typed meanwhile. */
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

  // Whoever sends before the files are there has it sent as soon as they are; not without one of
  // them, which they may have removed to write something else.
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
    // On touch keyboards Enter is the only way to a new line.
    if (matchMedia("(hover: none) and (pointer: coarse)").matches && !event.ctrlKey) return;
    event.preventDefault();
    this.#submit();
  }

  #typed({ store = true } = {}) {
    // Measuring must not give the messages above more room, which would move them.
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
