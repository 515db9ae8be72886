// The box at the bottom: growing text, send that becomes stop, keys.
import { keepDraft, readDraft } from "./drafts.js";
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
  }

  /** Turn to another chat: its draft comes, the old one is kept. */
  open(thread) {
    this.#keep();
    // Whoever typed before the scripts were here keeps what they typed.
    const early = this.#thread === undefined ? box.value : "";
    this.#thread = thread;
    box.value = early || readDraft(thread);
    this.#typed({ store: false });
  }

  /** A new chat got its id while it was being written in. */
  named(thread) {
    keepDraft(this.#thread, "");
    this.#thread = thread;
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

  /** Give text back to the box, unless something else was typed meanwhile. */
  giveBack(text) {
    if (box.value.trim() === "") box.value = text;
    this.#typed();
    this.focus();
  }

  #submit() {
    const text = box.value.trim();
    if (text === "") return;
    if (tooLong(text)) {
      toast(t("too_long"));
      return;
    }
    if (!this.#onSend(text)) return;
    box.value = "";
    this.#typed();
    this.focus();
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    // On touch keyboards Enter is the only way to a new line.
    if (matchMedia("(hover: none) and (pointer: coarse)").matches && !event.ctrlKey) return;
    event.preventDefault();
    this.#submit();
  }

  #typed({ store = true } = {}) {
    box.rows = 1;
    box.classList.add("measuring");
    const lines = Math.round(box.scrollHeight / parseFloat(getComputedStyle(box).lineHeight));
    box.classList.remove("measuring");
    box.rows = Math.min(Math.max(lines, 1), 10);
    this.#button();
    if (!store) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), 250);
  }

  #button() {
    const empty = box.value.trim() === "";
    send.disabled = empty;
    send.hidden = empty && !stop.hidden;
  }

  #keep() {
    clearTimeout(this.#timer);
    if (this.#thread !== undefined) keepDraft(this.#thread, box.value);
  }
}
