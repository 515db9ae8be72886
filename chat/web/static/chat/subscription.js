// Keeps the page subscribed to the open chat: the backlog after the cursor, then live events.
import { get } from "./http.js";
import { data } from "./page-data.js";

const AGAIN = 2000;
// Random delay in ms, so that pages notified at the same moment do not all send requests at once.
const SPREAD = 3000;

export class Subscription {
  #socket;
  #on;
  #conversation = null;
  #live = false;
  #turn = 0;
  #everLost = false;

  /** `on`: onEvent(frame), onThread(thread), onGone(id), onRenewed(conversation). */
  constructor(socket, on) {
    this.#socket = socket;
    this.#on = on;
    socket.addEventListener("event", ({ detail }) => this.#received(detail));
  }

  /** Unsubscribe from the previous chat and subscribe to this one. */
  turnTo(conversation) {
    const former = this.#conversation?.id ?? null;
    this.#conversation = conversation;
    this.#live = false;
    if (former !== null && former !== conversation.id) this.leave(former);
    this.#subscribe({ refresh: false });
  }

  /** The server subscribes the sender when it creates a chat. */
  joined(conversation) {
    if (conversation === this.#conversation) this.#live = true;
  }

  leave(id) {
    this.#socket.send({ type: "unsubscribe", thread: id }).catch(() => {});
  }

  lost() {
    this.#live = false;
    this.#everLost = true;
  }

  /** Subscribe after a connect or reconnect. */
  renew() {
    this.#subscribe({ refresh: this.#everLost });
    this.#everLost = false;
  }

  async #subscribe({ refresh, whole = false }) {
    const conversation = this.#conversation;
    if (!conversation?.id || !this.#socket.open) return;
    const turn = ++this.#turn;
    const cursor = whole ? null : conversation.cursor();
    let ack;
    try {
      ack = await this.#socket.send({ type: "subscribe", thread: conversation.id, ...(cursor && { cursor }) });
    } catch (error) {
      if (turn !== this.#turn || error.code === "disconnected") return;
      if (error.code === "not_found") this.#on.onGone(conversation.id);
      // Temporary error while the connection is up: nothing else would trigger a retry.
      else if (error.code === "unavailable" || error.code === "rate_limit_exceeded") {
        const wait = Math.max(1000 * (error.retryAfter ?? 0), AGAIN);
        setTimeout(() => turn === this.#turn && this.#subscribe({ refresh, whole }), wait);
      }
      // The server rejected the cursor: subscribe without it and reload the history.
      else if (cursor) await this.#subscribe({ refresh: true, whole: true });
      return;
    }
    if (turn !== this.#turn || conversation !== this.#conversation) return;
    this.#live = true;
    const active = ack.active_run;
    const believed = conversation.activeRun;
    if (active && active.id !== cursor?.run) conversation.retell(active);
    const stale = ack.thread.atrium.updated_at !== conversation.thread.atrium.updated_at;
    const ended = believed && believed.id !== active?.id;
    this.#on.onThread(ack.thread);
    this.#on.onRenewed(conversation);
    if (refresh || stale || ended) await this.#refresh(conversation);
  }

  // Load the stored history: it has the answers that ended while this page was not subscribed.
  async #refresh(conversation) {
    try {
      conversation.load(await get(`${data.urls.threads}/${conversation.id}/messages`));
    } catch {
      return;
    }
    this.#on.onRenewed(conversation);
  }

  #changed(id) {
    const conversation = this.#conversation;
    if (conversation.id !== id) return;
    setTimeout(() => conversation === this.#conversation && this.#refresh(conversation), Math.random() * SPREAD);
  }

  #received(frame) {
    if (frame.event === "atrium.thread.updated") this.#on.onThread(frame.data);
    else if (frame.event === "atrium.thread.deleted") this.#on.onGone(frame.thread);
    else if (frame.event === "atrium.thread.changed") this.#changed(frame.thread);
    else if (this.#live && frame.thread === this.#conversation.id) this.#on.onEvent(frame);
  }
}
