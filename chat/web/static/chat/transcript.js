// The middle of the page: the messages of one chat, drawn from its conversation.
import { announce } from "./announce.js";
import { AnswerView } from "./answer.js";
import { isActive } from "./conversation.js";
import { attachCopy } from "./copy.js";
import { arrange } from "./dom.js";
import { OwnView } from "./own.js";
import { Follow } from "./scroll.js";
import { get } from "./http.js";
import { data } from "./page-data.js";

const area = document.getElementById("transcript");
const list = document.getElementById("messages");
const earlier = document.getElementById("earlier");

export class Transcript {
  #actions;
  #views = new Map();
  #conversation = null;
  #due = false;
  #loading = false;
  #watched = null;

  /** `actions`: decide, retry, resend, discard. */
  constructor(actions) {
    this.#actions = actions;
    this.follow = new Follow(area, list, document.getElementById("jump"));
    attachCopy(list, (button) => this.#textOf(button));
    earlier.addEventListener("click", () => this.#older());
    new IntersectionObserver((seen) => seen[0].isIntersecting && this.#older(), {
      root: area, rootMargin: "400px 0px 0px 0px",
    }).observe(earlier);
  }

  /** Draw another chat. */
  show(conversation) {
    this.#conversation = conversation;
    this.#views.clear();
    this.#watched = conversation.activeRun?.id ?? null;
    list.replaceChildren();
    this.#draw();
    this.follow.toEnd();
  }

  /** Something changed: draw once, with the next frame. */
  changed() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  #draw() {
    const conversation = this.#conversation;
    const entries = conversation.entries();
    const idle = conversation.activeRun === null;
    entries.forEach((entry, index) => this.#view(entry).update(entry, conversation, idle && index === entries.length - 1));
    const keys = new Set(entries.map((entry) => entry.key));
    for (const key of [...this.#views.keys()]) if (!keys.has(key)) this.#views.delete(key);
    arrange(list, entries.map((entry) => this.#views.get(entry.key).node));
    earlier.hidden = !conversation.hasMore;
    this.follow.settle();
    this.#speak(conversation);
  }

  #view(entry) {
    const known = this.#views.get(entry.key);
    if (known) return known;
    const view = entry.kind === "answer" ? new AnswerView(this.#actions) : new OwnView(this.#actions);
    this.#views.set(entry.key, view);
    return view;
  }

  // Once per answer: when the run that was seen running has ended, or waits for a decision.
  #speak(conversation) {
    const active = conversation.activeRun;
    const before = this.#watched;
    if (active && active.status !== "requires_action") {
      this.#watched = active.id;
      if (before === null || before === active.id) return;
    }
    const run = before === null ? null : conversation.runs.get(before);
    if (!run || (isActive(run) && run.status !== "requires_action")) return;
    const view = [...this.#views.values()].find((each) => each.run?.id === run.id);
    if (view) announce(view.spoken || (run.atrium?.approvals?.length ? view.approvals.node.innerText : ""));
    this.#watched = active && active.id !== before ? active.id : null;
  }

  async #older() {
    const conversation = this.#conversation;
    if (this.#loading || !conversation?.hasMore || !conversation.oldest) return;
    this.#loading = true;
    try {
      const before = encodeURIComponent(conversation.oldest);
      const page = await get(`${data.urls.threads}/${conversation.id}/messages?before=${before}`);
      conversation.load(page, { older: true });
      if (conversation === this.#conversation) this.follow.keepPlace(() => this.#draw());
    } catch {
      // The button stays; pressing it tries again.
    } finally {
      this.#loading = false;
    }
  }

  #textOf(button) {
    const article = button.closest("article");
    for (const view of this.#views.values()) if (view.node === article) return view.copied ?? view.text;
    return "";
  }
}
