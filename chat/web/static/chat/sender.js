// Sends messages one at a time and keeps each until the server has acknowledged it.
import { post } from "./http.js";
import { listPending, newClientId, removePending, savePending } from "./outbox.js";
import { data } from "./page-data.js";
import { getErrorMessage } from "./problems.js";

const SLOW_MS = 1500;
const RETRY_MS = 2000;
// Bytes that the id and type add to a frame.
const ENVELOPE = 200;

// Images become content parts, other files attachments for the assistant's tools.
function buildMessage({ thread, client_id, assistant, content, files = [], busy }) {
  const pictures = files.filter((file) => file.shown);
  const shown = pictures.map(({ id }) => ({ type: "image_file", image_file: { file_id: id } }));
  const textParts = content === "" ? [] : [{ type: "text", text: content }];
  const attachments = files
    .filter((file) => !file.shown)
    .map(({ id, tools }) => ({ file_id: id, tools: tools.map((type) => ({ type })) }));
  const parts = shown.length ? [...textParts, ...shown] : content;
  return { thread, client_id, assistant, content: parts, attachments, busy };
}

export class Sender {
  #socket;
  #onChange;
  #onSent;
  #inFlight = null;
  #conversations = new Map();

  /** `onSent(conversation or null, ack)` is called for each acknowledged message. */
  constructor(socket, { onChange, onSent }) {
    this.#socket = socket;
    this.#onChange = onChange;
    this.#onSent = onSent;
  }

  /** Send a message; `files` are those of `Attachments.take`. */
  send(conversation, assistant, content, files = []) {
    const entry = {
      client_id: newClientId(), thread: conversation.id, assistant, content, files, busy: null, failed: null,
    };
    this.#addPending(conversation, entry);
    savePending(entry);
    setTimeout(() => {
      entry.slow = true;
      this.#onChange(conversation);
    }, SLOW_MS);
    this.flush();
  }

  /** Add messages that an earlier page could not send to a chat that was just opened. */
  restorePending(conversation) {
    for (const entry of listPending()) {
      if (entry.thread !== conversation.id || this.#conversations.has(entry.client_id)) continue;
      this.#addPending(conversation, entry);
    }
    this.flush();
  }

  resend(entry) {
    entry.failed = null;
    savePending(entry);
    this.#onChange(this.#conversations.get(entry.client_id));
    this.flush();
  }

  discard(entry) {
    removePending(entry.client_id);
    const home = this.#conversations.get(entry.client_id);
    home.pending = home.pending.filter((other) => other !== entry);
    this.#onChange(home);
  }

  async flush() {
    if (this.#inFlight || !this.#socket.open) return;
    const next = listPending().find((entry) => !entry.failed);
    if (!next) return;
    this.#inFlight = next.client_id;
    try {
      await this.#deliver(next);
    } catch (error) {
      if (error.code === "disconnected") return;
      // Temporary: keep the message and retry later.
      if (error.code === "unavailable" || error.code === "rate_limit_exceeded") {
        const seconds = error.retryAfter ?? 0;
        setTimeout(() => this.flush(), Math.max(1000 * seconds, RETRY_MS));
        return;
      }
      this.#markFailed(next, error);
    } finally {
      this.#inFlight = null;
    }
    this.flush();
  }

  async #deliver(entry) {
    const { client_id, thread } = entry;
    const ack = await this.#transmit(buildMessage(entry));
    removePending(client_id);
    const home = this.#conversations.get(client_id) ?? null;
    this.#conversations.delete(client_id);
    if (thread === null) this.#setThreadId(home, ack.thread.id);
    this.#onSent(home, ack);
  }

  // Messages that exceed the frame size go over HTTP; a new chat is then subscribed to explicitly.
  async #transmit(message) {
    if (new TextEncoder().encode(JSON.stringify(message)).length < data.limits.frame - ENVELOPE) {
      return this.#socket.send({ type: "message.create", ...message });
    }
    const ack = await post("/page/messages", message);
    if (message.thread === null) {
      // Subscribe from the run's start: a quick answer may have ended already.
      const cursor = ack.run && { run: ack.run.id, state: 0, items: [] };
      await this.#socket.send({ type: "subscribe", thread: ack.thread.id, cursor });
    }
    return ack;
  }

  // The first message created the chat: later ones of the same conversation belong to it.
  #setThreadId(home, thread) {
    if (home === null) return;
    for (const entry of listPending()) {
      if (entry.thread === null && this.#conversations.get(entry.client_id) === home) savePending({ ...entry, thread });
    }
    for (const entry of home.pending) entry.thread = thread;
  }

  #markFailed(next, error) {
    const home = this.#conversations.get(next.client_id);
    const shown = home?.pending.find((entry) => entry.client_id === next.client_id);
    const failed = getErrorMessage(error, "not_sent");
    if (shown) shown.failed = failed;
    savePending({ ...next, failed });
    if (home) this.#onChange(home);
  }

  #addPending(conversation, entry) {
    this.#conversations.set(entry.client_id, conversation);
    conversation.pending.push(entry);
    this.#onChange(conversation);
  }
}
