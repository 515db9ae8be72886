// Keeps the page subscribed to the open chat: the backlog after the cursor, then live events.
import { get } from "./http.js";
import { data } from "./page-data.js";

const RETRY_MS = 2000;
// Random delay in ms, so that pages notified at the same moment do not all send requests at once.
const SPREAD_MS = 3000;

export class Subscription {
  #socket;
  #handlers;
  #conversation = null;
  #live = false;
  #turn = 0;
  #wasDisconnected = false;

  /** `on`: onEvent(frame), onThread(thread), onDeleted(id), onRefreshed(conversation). */
  constructor(socket, on) {
    this.#socket = socket;
    this.#handlers = on;
    socket.addEventListener("event", ({ detail }) => this.#handleEvent(detail));
  }

  /** Unsubscribe from the previous chat and subscribe to this one. */
  switchTo(conversation) {
    const former = this.#conversation?.id ?? null;
    this.#conversation = conversation;
    this.#live = false;
    if (former !== null && former !== conversation.id) this.unsubscribe(former);
    this.#subscribe({ refresh: false });
  }

  /** The server subscribes the sender when it creates a chat. */
  markSubscribed(conversation) {
    if (conversation === this.#conversation) this.#live = true;
  }

  unsubscribe(id) {
    this.#socket.send({ type: "unsubscribe", thread: id }).catch(() => {});
  }

  handleDisconnect() {
    this.#live = false;
    this.#wasDisconnected = true;
  }

  /** Subscribe after a connect or reconnect. */
  resubscribe() {
    this.#subscribe({ refresh: this.#wasDisconnected });
    this.#wasDisconnected = false;
  }

  async #subscribe({ refresh, whole = false }) {
    const conversation = this.#conversation;
    if (!conversation?.id || !this.#socket.open) return;
    const turn = ++this.#turn;
    const cursor = whole ? null : conversation.getCursor();
    let ack;
    try {
      ack = await this.#socket.send({ type: "subscribe", thread: conversation.id, ...(cursor && { cursor }) });
    } catch (error) {
      if (turn !== this.#turn || error.code === "disconnected") return;
      if (error.code === "not_found") this.#handlers.onDeleted(conversation.id);
      // Temporary error while the connection is up: nothing else would trigger a retry.
      else if (error.code === "unavailable" || error.code === "rate_limit_exceeded") {
        const wait = Math.max(1000 * (error.retryAfter ?? 0), RETRY_MS);
        setTimeout(() => turn === this.#turn && this.#subscribe({ refresh, whole }), wait);
      }
      // The server rejected the cursor: subscribe without it and reload the history.
      else if (cursor) await this.#subscribe({ refresh: true, whole: true });
      return;
    }
    if (turn !== this.#turn || conversation !== this.#conversation) return;
    this.#live = true;
    const active = ack.active_run;
    const knownActive = conversation.activeRun;
    if (active && active.id !== cursor?.run) conversation.prepareReplay(active);
    const stale = ack.thread.atrium.updated_at !== conversation.thread.atrium.updated_at;
    const ended = knownActive && knownActive.id !== active?.id;
    this.#handlers.onThread(ack.thread);
    this.#handlers.onRefreshed(conversation);
    if (refresh || stale || ended) await this.#refresh(conversation);
  }

  // Load the stored history: it has the answers that ended while this page was not subscribed.
  async #refresh(conversation) {
    try {
      conversation.load(await get(`${data.urls.threads}/${conversation.id}/messages`));
    } catch {
      return;
    }
    this.#handlers.onRefreshed(conversation);
  }

  #scheduleRefresh(id) {
    const conversation = this.#conversation;
    if (conversation.id !== id) return;
    setTimeout(() => conversation === this.#conversation && this.#refresh(conversation), Math.random() * SPREAD_MS);
  }

  #handleEvent(frame) {
    if (frame.event === "atrium.thread.updated") this.#handlers.onThread(frame.data);
    else if (frame.event === "atrium.thread.deleted") this.#handlers.onDeleted(frame.thread);
    else if (frame.event === "atrium.thread.changed") this.#scheduleRefresh(frame.thread);
    else if (this.#live && frame.thread === this.#conversation.id) this.#handlers.onEvent(frame);
  }
}
