// Websocket with back-off, frame acknowledgements and a heartbeat. Independent of chats.

const BACK_OFF_MS = [300, 800, 1600, 3000, 6000];
const HEARTBEAT_MS = 25000;
const PONG_TIMEOUT_MS = 15000;
const ACCESS_ENDED = new Set([4001, 4003]);

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
    addEventListener("online", () => this.#connectAfter(0));
    addEventListener("offline", () => this.open && this.#socket.close());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !this.open) this.#connectAfter(0);
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
    socket.onopen = () => this.#handleOpen();
    socket.onmessage = (event) => this.#handleFrame(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#handleClose(event.code);
    };
  }

  /** Reconnect with back-off, as after a failure. */
  reconnectLater() {
    this.#failures += 1;
    this.#connectAfter(this.#getDelay(1006));
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

  #handleOpen() {
    this.#heartbeat = setInterval(() => this.#ping(), HEARTBEAT_MS);
    this.dispatchEvent(new CustomEvent("open"));
  }

  async #ping() {
    const socket = this.#socket;
    const late = setTimeout(() => this.#abandon(socket), PONG_TIMEOUT_MS);
    await this.send({ type: "ping" }).catch(() => {});
    clearTimeout(late);
  }

  // A dead connection may take minutes to report its close: do not wait for it.
  #abandon(socket) {
    if (this.#socket !== socket) return;
    socket.close();
    this.#handleClose(1006);
  }

  #handleFrame(frame) {
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

  #handleClose(code) {
    clearInterval(this.#heartbeat);
    this.#socket = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new SocketError("disconnected", ""));
    if (ACCESS_ENDED.has(code)) {
      this.dispatchEvent(new CustomEvent("ended", { detail: { code } }));
      return;
    }
    this.#failures += 1;
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, failures: this.#failures } }));
    this.#connectAfter(code === 4008 ? 0 : this.#getDelay(code));
  }

  #getDelay(code) {
    const base = code === 4029 ? 12000 : BACK_OFF_MS[Math.min(this.#failures - 1, BACK_OFF_MS.length - 1)];
    return base * (0.75 + Math.random() / 2);
  }

  #connectAfter(delay) {
    clearTimeout(this.#retry);
    if (!this.#stopped) this.#retry = setTimeout(() => this.connect(), delay);
  }
}
