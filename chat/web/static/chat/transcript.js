// Transcript: renders the messages of a conversation.
import { announce } from "./announce.js";
import { AnswerView } from "./answer.js";
import { isActive } from "./conversation.js";
import { attachCopy } from "./copy.js";
import { arrange } from "./dom.js";
import { UserMessageView } from "./own.js";
import { PlainView, tryDraw } from "./plain.js";
import { AutoScroll } from "./scroll.js";
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
  #drawScheduled = false;
  #loading = false;
  #announced = new Set();

  /** `actions`: decide, retry, resend, discard. */
  constructor(actions) {
    this.#actions = actions;
    this.autoScroll = new AutoScroll(area, list, document.getElementById("jump"));
    attachCopy(list, (button) => this.#getText(button));
    attachSources(list);
    earlier.addEventListener("click", () => this.#loadOlder());
    new IntersectionObserver((seen) => seen[0].isIntersecting && this.#loadOlder(), {
      root: area, rootMargin: "400px 0px 0px 0px",
    }).observe(earlier);
  }

  /** Show another chat. */
  show(conversation) {
    this.#conversation = conversation;
    this.#views.clear();
    this.#announced.clear();
    this.#takeUnannounced(conversation);
    list.replaceChildren();
    this.#draw();
    if (conversation.empty) this.autoScroll.scrollToStart();
    else this.autoScroll.scrollToEnd();
  }

  /** Schedule one redraw with the next animation frame. */
  scheduleDraw() {
    if (this.#drawScheduled) return;
    this.#drawScheduled = true;
    requestAnimationFrame(() => {
      this.#drawScheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const conversation = this.#conversation;
    const entries = conversation.listEntries();
    const idle = conversation.activeRun === null;
    entries.forEach((entry, index) => this.#drawEntry(entry, idle && index === entries.length - 1));
    const keys = new Set(entries.map((entry) => entry.key));
    for (const key of [...this.#views.keys()]) if (!keys.has(key)) this.#views.delete(key);
    arrange(list, entries.map((entry) => this.#views.get(entry.key).node));
    earlier.hidden = !conversation.hasMore;
    this.autoScroll.settle();
    this.#announceNew(conversation);
  }

  // A message that fails to render must not affect the others.
  #drawEntry(entry, last) {
    tryDraw(
      () => this.#getView(entry).update(entry, this.#conversation, last),
      () => {
        this.#views.set(entry.key, new PlainView(entry.kind));
        this.#views.get(entry.key).update(entry, this.#conversation);
      },
    );
  }

  #getView(entry) {
    const known = this.#views.get(entry.key);
    if (known) return known;
    const view = entry.kind === "answer" ? new AnswerView(this.#actions) : new UserMessageView(this.#actions);
    this.#views.set(entry.key, view);
    return view;
  }

  // Announce each answer that ended or needs approval once; stored answers are not announced.
  #announceNew(conversation) {
    for (const view of this.#takeUnannounced(conversation)) {
      announce(view.announcement || view.approvals.node.innerText);
    }
  }

  #takeUnannounced(conversation) {
    const views = new Map([...this.#views.values()].map((view) => [view.run?.id, view]));
    const found = [];
    for (const run of conversation.runs.values()) {
      const asks = run.status === "requires_action";
      const key = asks ? `${run.id} ${run.atrium?.approvals.map((approval) => approval.call_id)}` : run.id;
      if ((isActive(run) && !asks) || this.#announced.has(key)) continue;
      this.#announced.add(key);
      if (views.has(run.id)) found.push(views.get(run.id));
    }
    return found;
  }

  async #loadOlder() {
    const conversation = this.#conversation;
    if (this.#loading || !conversation?.hasMore || !conversation.oldest) return;
    this.#loading = true;
    try {
      const before = encodeURIComponent(conversation.oldest);
      const page = await get(`${data.urls.threads}/${conversation.id}/messages?before=${before}`);
      conversation.load(page, { older: true });
      this.#takeUnannounced(conversation);
      if (conversation === this.#conversation) this.autoScroll.keepPosition(() => this.#draw());
    } catch {
      // The button stays as a way to retry.
    } finally {
      this.#loading = false;
    }
  }

  #getText(button) {
    const article = button.closest("article");
    for (const view of this.#views.values()) if (view.node === article) return view.copyText ?? view.text;
    return "";
  }
}
