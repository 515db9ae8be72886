// Sends messages one at a time and keeps each until the server has acknowledged it.
import { post } from "./http.js";
import { drop, newClientId, put, waiting } from "./outbox.js";
import { data } from "./page-data.js";
import { sentence } from "./problems.js";

const SLOW = 1500;
const AGAIN = 2000;
// Bytes that the id and type add to a frame.
const ENVELOPE = 200;

// Images become content parts, other files attachments for the assistant's tools.
function messageOf({ thread, client_id, assistant, content, files = [], busy }) {
  const pictures = files.filter((file) => file.shown);
  const shown = pictures.map(({ id }) => ({ type: "image_file", image_file: { file_id: id } }));
  const words = content === "" ? [] : [{ type: "text", text: content }];
  const attachments = files
    .filter((file) => !file.shown)
    .map(({ id, tools }) => ({ file_id: id, tools: tools.map((type) => ({ type })) }));
  return { thread, client_id, assistant, content: shown.length ? [...words, ...shown] : content, attachments, busy };
}

export class Sender {
  #socket;
  #onChange;
  #onSent;
  #flying = null;
  #homes = new Map();

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
    this.#join(conversation, entry);
    put(entry);
    setTimeout(() => {
      entry.slow = true;
      this.#onChange(conversation);
    }, SLOW);
    this.flush();
  }

  /** Add messages that an earlier page could not send to a chat that was just opened. */
  adopt(conversation) {
    for (const entry of waiting()) {
      if (entry.thread !== conversation.id || this.#homes.has(entry.client_id)) continue;
      this.#join(conversation, entry);
    }
    this.flush();
  }

  again(entry) {
    entry.failed = null;
    put(entry);
    this.#onChange(this.#homes.get(entry.client_id));
    this.flush();
  }

  discard(entry) {
    drop(entry.client_id);
    const home = this.#homes.get(entry.client_id);
    home.pending = home.pending.filter((other) => other !== entry);
    this.#onChange(home);
  }

  async flush() {
    if (this.#flying || !this.#socket.open) return;
    const next = waiting().find((entry) => !entry.failed);
    if (!next) return;
    this.#flying = next.client_id;
    try {
      await this.#deliver(next);
    } catch (error) {
      if (error.code === "disconnected") return;
      // Temporary: keep the message and retry later.
      if (error.code === "unavailable" || error.code === "rate_limit_exceeded") {
        const seconds = error.retryAfter ?? 0;
        setTimeout(() => this.flush(), Math.max(1000 * seconds, AGAIN));
        return;
      }
      this.#refused(next, error);
    } finally {
      this.#flying = null;
    }
    this.flush();
  }

  async #deliver(entry) {
    const { client_id, thread } = entry;
    const ack = await this.#hand(messageOf(entry));
    drop(client_id);
    const home = this.#homes.get(client_id) ?? null;
    this.#homes.delete(client_id);
    if (thread === null) this.#named(home, ack.thread.id);
    this.#onSent(home, ack);
  }

  // Messages that exceed the frame size go over HTTP; a new chat is then subscribed to explicitly.
  async #hand(message) {
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
  #named(home, thread) {
    if (home === null) return;
    for (const entry of waiting()) {
      if (entry.thread === null && this.#homes.get(entry.client_id) === home) put({ ...entry, thread });
    }
    for (const entry of home.pending) entry.thread = thread;
  }

  #refused(next, error) {
    const home = this.#homes.get(next.client_id);
    const shown = home?.pending.find((entry) => entry.client_id === next.client_id);
    const failed = sentence(error, "not_sent");
    if (shown) shown.failed = failed;
    put({ ...next, failed });
    if (home) this.#onChange(home);
  }

  #join(conversation, entry) {
    this.#homes.set(entry.client_id, conversation);
    conversation.pending.push(entry);
    this.#onChange(conversation);
  }
}
