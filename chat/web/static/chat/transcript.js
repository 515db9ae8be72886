// Transcript: renders the messages of a conversation.
import { announce } from "./announce.js";
import { AnswerView } from "./answer.js";
import { isActive } from "./conversation.js";
import { attachCopy } from "./copy.js";
import { arrange } from "./dom.js";
import { OwnView } from "./own.js";
import { drawOr, PlainView } from "./plain.js";
import { Follow } from "./scroll.js";
import { get } from "./http.js";
import { data } from "./page-data.js";
import { attachSources } from "./source.js";

const area = document.getElementById("transcript");
const list = document.getElementById("messages");
const earlier = document.getElementById("earlier");

export class Transcript {
  #actions;
  #views = new Map();
  #conversation = null;
  #due = false;
  #loading = false;
  #told = new Set();

  /** `actions`: decide, retry, resend, discard. */
  constructor(actions) {
    this.#actions = actions;
    this.follow = new Follow(area, list, document.getElementById("jump"));
    attachCopy(list, (button) => this.#textOf(button));
    attachSources(list);
    earlier.addEventListener("click", () => this.#older());
    new IntersectionObserver((seen) => seen[0].isIntersecting && this.#older(), {
      root: area, rootMargin: "400px 0px 0px 0px",
    }).observe(earlier);
  }

  /** Show another chat. */
  show(conversation) {
    this.#conversation = conversation;
    this.#views.clear();
    this.#told.clear();
    this.#untold(conversation);
    list.replaceChildren();
    this.#draw();
    if (conversation.empty) this.follow.toStart();
    else this.follow.toEnd();
  }

  /** Schedule one redraw with the next animation frame. */
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
    entries.forEach((entry, index) => this.#drawEntry(entry, idle && index === entries.length - 1));
    const keys = new Set(entries.map((entry) => entry.key));
    for (const key of [...this.#views.keys()]) if (!keys.has(key)) this.#views.delete(key);
    arrange(list, entries.map((entry) => this.#views.get(entry.key).node));
    earlier.hidden = !conversation.hasMore;
    this.follow.settle();
    this.#speak(conversation);
  }

  // A message that fails to render must not affect the others.
  #drawEntry(entry, last) {
    drawOr(
      () => this.#view(entry).update(entry, this.#conversation, last),
      () => {
        this.#views.set(entry.key, new PlainView(entry.kind));
        this.#views.get(entry.key).update(entry, this.#conversation);
      },
    );
  }

  #view(entry) {
    const known = this.#views.get(entry.key);
    if (known) return known;
    const view = entry.kind === "answer" ? new AnswerView(this.#actions) : new OwnView(this.#actions);
    this.#views.set(entry.key, view);
    return view;
  }

  // Announce each answer that ended or needs approval once; stored answers are not announced.
  #speak(conversation) {
    for (const view of this.#untold(conversation)) {
      announce(view.spoken || view.approvals.node.innerText);
    }
  }

  #untold(conversation) {
    const views = new Map([...this.#views.values()].map((view) => [view.run?.id, view]));
    const found = [];
    for (const run of conversation.runs.values()) {
      const asks = run.status === "requires_action";
      const key = asks ? `${run.id} ${run.atrium?.approvals.map((each) => each.call_id)}` : run.id;
      if ((isActive(run) && !asks) || this.#told.has(key)) continue;
      this.#told.add(key);
      if (views.has(run.id)) found.push(views.get(run.id));
    }
    return found;
  }

  async #older() {
    const conversation = this.#conversation;
    if (this.#loading || !conversation?.hasMore || !conversation.oldest) return;
    this.#loading = true;
    try {
      const before = encodeURIComponent(conversation.oldest);
      const page = await get(`${data.urls.threads}/${conversation.id}/messages?before=${before}`);
      conversation.load(page, { older: true });
      this.#untold(conversation);
      if (conversation === this.#conversation) this.follow.keepPlace(() => this.#draw());
    } catch {
      // The button stays as a way to retry.
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
