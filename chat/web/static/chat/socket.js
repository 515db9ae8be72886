// Websocket with back-off, frame acknowledgements and a heartbeat. Independent of chats.

const BACK_OFF = [300, 800, 1600, 3000, 6000];
const HEARTBEAT = 25000;
const ANSWER_WITHIN = 15000;
const ENDED = new Set([4001, 4003]);

export class SocketError extends Error {
  /** `retryAfter`: seconds to wait before a retry, null if the server named none. */
  constructor(code, message, retryAfter = null) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export class Socket extends EventTarget {
  #url;
  #socket = null;
  #pending = new Map();
  #next = 1;
  #failures = 0;
  #retry = null;
  #heartbeat = null;
  #stopped = false;

  constructor(url) {
    super();
    this.#url = url;
    addEventListener("online", () => this.#soon(0));
    addEventListener("offline", () => this.open && this.#socket.close());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !this.open) this.#soon(0);
    });
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#retry);
    if (this.#stopped || (this.#socket && this.#socket.readyState <= WebSocket.OPEN)) return;
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#closed(event.code);
    };
  }

  /** Reconnect with back-off, as after a failure. */
  later() {
    this.#failures += 1;
    this.#soon(this.#delay(1006));
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#retry);
    if (this.open) this.#socket.close();
    else if (this.#socket) this.#socket.onopen = (event) => event.target.close();
  }

  /** Send a frame; resolves with the ack, rejects with SocketError. */
  send(frame) {
    if (!this.open) return Promise.reject(new SocketError("disconnected", ""));
    const id = String(this.#next++);
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ ...frame, id }));
    });
  }

  #opened() {
    this.#heartbeat = setInterval(() => this.#ping(), HEARTBEAT);
    this.dispatchEvent(new CustomEvent("open"));
  }

  async #ping() {
    const socket = this.#socket;
    const late = setTimeout(() => this.#abandon(socket), ANSWER_WITHIN);
    await this.send({ type: "ping" }).catch(() => {});
    clearTimeout(late);
  }

  // A dead connection may take minutes to report its close: do not wait for it.
  #abandon(socket) {
    if (this.#socket !== socket) return;
    socket.close();
    this.#closed(1006);
  }

  #received(frame) {
    this.#failures = 0;
    if (frame.type === "event") {
      this.dispatchEvent(new CustomEvent("event", { detail: frame }));
      return;
    }
    // An error for a frame with an unreadable id has none: it belongs to the oldest frame.
    const id = frame.id ?? this.#pending.keys().next().value;
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    if (frame.type === "ack") waiting.resolve(frame);
    else waiting.reject(new SocketError(frame.error.code, frame.error.message, frame.error.retry_after ?? null));
  }

  #closed(code) {
    clearInterval(this.#heartbeat);
    this.#socket = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new SocketError("disconnected", ""));
    if (ENDED.has(code)) {
      this.dispatchEvent(new CustomEvent("ended", { detail: { code } }));
      return;
    }
    this.#failures += 1;
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, failures: this.#failures } }));
    this.#soon(code === 4008 ? 0 : this.#delay(code));
  }

  #delay(code) {
    const base = code === 4029 ? 12000 : BACK_OFF[Math.min(this.#failures - 1, BACK_OFF.length - 1)];
    return base * (0.75 + Math.random() / 2);
  }

  #soon(delay) {
    clearTimeout(this.#retry);
    if (!this.#stopped) this.#retry = setTimeout(() => this.connect(), delay);
  }
}
