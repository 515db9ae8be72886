// State of one chat: stored messages, streaming messages and unsent messages of this page.
// Pure data; transcript.js renders it.

const ACTIVE = new Set(["queued", "in_progress", "requires_action", "cancelling"]);

export const isActive = (run) => Boolean(run) && ACTIVE.has(run.status);

export function getText(message) {
  return message.content.flatMap((part) => part.text?.value ?? part.refusal ?? part.image_url?.url ?? []).join("\n\n");
}

/** Return the file ids of the images in a message. */
export const getImageIds = (message) => message.content.flatMap((part) => part.image_file?.file_id ?? []);

const findTextPart = (message) => message.content.find((part) => part.type === "text");

const countCodePoints = (text) => [...text].length;

export class Conversation {
  #messagesByRun = new Map(); // run id -> its messages

  constructor(thread = null) {
    this.thread = thread;
    this.messages = new Map();
    this.runs = new Map();
    this.steps = new Map();
    this.queued = new Map();
    this.pending = [];
    this.hasMore = false;
    this.states = new Map();
    this.places = new Map();
  }

  get id() {
    return this.thread?.id ?? null;
  }

  get activeRun() {
    for (const run of this.runs.values()) if (isActive(run)) return run;
    return null;
  }

  /** True while the active run waits for an approval. */
  get needsApproval() {
    const run = this.activeRun;
    return run?.status === "requires_action" && (run.atrium?.approvals ?? []).length > 0;
  }

  get oldest() {
    return this.messages.keys().next().value ?? null;
  }

  /** The tool calls of the chat, in the order of its runs and their steps. */
  *toolCalls() {
    for (const steps of this.steps.values()) {
      for (const step of steps.values()) yield* step.step_details?.tool_calls ?? [];
    }
  }

  get empty() {
    return this.messages.size === 0 && this.pending.length === 0 && this.runs.size === 0;
  }

  /** Load a page of stored history; `older` prepends it. */
  load(page, { older = false } = {}) {
    const known = this.messages;
    this.messages = new Map();
    if (!older) for (const message of known.values()) this.messages.set(message.id, message);
    for (const message of page.data) this.#putMessage(message);
    if (older) for (const message of known.values()) this.messages.set(message.id, message);
    if (older || known.size === 0) this.hasMore = page.has_more;
    for (const [id, steps] of Object.entries(page.steps)) for (const step of steps) this.#putStep(id, step);
    for (const [run, message] of Object.entries(page.after)) this.places.set(run, message);
    for (const run of Object.values(page.runs)) this.#putRun(run);
    if (older) return;
    if (page.active_run) this.#putRun(page.active_run);
    const queued = page.queued.filter((message) => !this.messages.has(message.id));
    this.queued = new Map(queued.map((message) => [message.id, message]));
    for (const message of queued) this.#removePending(message);
  }

  /** Return the cursor that resumes the subscription to the active run, or null. */
  getCursor() {
    const run = [...this.runs.values()].findLast((candidate) => isActive(candidate) && this.states.has(candidate.id));
    if (!run) return null;
    const items = [];
    for (const message of this.messages.values()) {
      if (message.run_id !== run.id) continue;
      const text = findTextPart(message)?.text.value;
      if (text !== undefined) items.push([message.id, 0, "text", countCodePoints(text)]);
    }
    return { run: run.id, state: this.states.get(run.id), items };
  }

  /** Prepare for a replay of this run from its start: drop its stored messages and steps. */
  prepareReplay(run) {
    for (const message of [...this.messages.values()]) {
      if (message.run_id === run.id) this.messages.delete(message.id);
    }
    this.steps.delete(run.id);
    this.states.delete(run.id);
    this.runs.set(run.id, run);
  }

  /**
   * Apply one event frame; return the kind of change, or null if nothing changed. Idempotent:
   * replayed events may repeat applied ones.
   */
  apply({ run, state, event, data }) {
    if (event.endsWith(".delta")) {
      this.states.set(run, state);
      return event === "thread.message.delta" ? this.#appendDelta(data) : this.#appendStepDelta(run, data);
    }
    if (run) this.states.set(run, state);
    if (event.startsWith("thread.run.step.")) return this.#putStep(data.run_id, data);
    if (event.startsWith("thread.run.")) return this.#putRun(data);
    if (event.startsWith("thread.message.")) return this.#putMessage(data);
    return this.#applyExtension(event, data);
  }

  #applyExtension(event, data) {
    if (event === "atrium.message.deleted") return this.messages.delete(data.id) ? "message" : null;
    if (event === "atrium.message.queued") this.putQueued(data);
    else if (event === "atrium.message.withdrawn") this.queued.delete(data.id);
    else return null;
    return "queue";
  }

  #putMessage(message) {
    if (message.atrium?.lost) return this.#drop(message);
    const known = this.messages.get(message.id);
    const growing = message.status === "in_progress";
    if (known && growing && known.status !== "in_progress") return null;
    const ahead = known && growing && getText(known).length > getText(message).length;
    this.messages.set(message.id, ahead ? { ...message, content: known.content } : message);
    if (!message.atrium?.queued) this.queued.delete(message.id);
    this.#removePending(message);
    return "message";
  }

  // The server process died before it stored this message: the answer restarts in a new message.
  #drop({ id, run_id: run }) {
    for (const [step, { step_details: details }] of this.steps.get(run) ?? []) {
      if (details?.message_creation?.message_id === id) this.steps.get(run).delete(step);
    }
    return this.messages.delete(id) ? "message" : null;
  }

  #removePending(message) {
    const client = message.atrium?.client_id;
    if (client) this.pending = this.pending.filter((entry) => entry.client_id !== client);
  }

  putQueued(message) {
    this.queued.set(message.id, message);
    this.#removePending(message);
  }

  /** Apply the ack of message.create; it may arrive after the message's event. */
  putSent({ message, run, queued, thread }) {
    this.thread = thread;
    if (queued) this.putQueued(message);
    else if (!this.messages.has(message.id)) this.#putMessage(message);
    else this.#removePending(message);
    if (run && !this.runs.has(run.id)) this.#putRun(run);
  }

  #putRun(run) {
    const known = this.runs.get(run.id);
    if (known && !isActive(known) && isActive(run)) return null;
    if (!known && !this.places.has(run.id)) this.#setPlace(run.id);
    this.runs.set(run.id, run);
    if (!isActive(run)) this.#closeSteps(run.id);
    return "run";
  }

  // If a run ended while this page was offline, the end of a step may be missing: close open steps.
  #closeSteps(run) {
    for (const step of this.steps.get(run)?.values() ?? []) {
      if (step.status === "in_progress") this.steps.get(run).set(step.id, { ...step, status: "cancelled" });
    }
  }

  #setPlace(run) {
    const last = [...this.messages.values()].findLast((message) => message.role === "user");
    if (last) this.places.set(run, last.id);
  }

  #putStep(run, step) {
    if (!this.steps.has(run)) this.steps.set(run, new Map());
    const steps = this.steps.get(run);
    const known = steps.get(step.id);
    if (known && known.status !== "in_progress" && step.status === "in_progress") return null;
    steps.set(step.id, step);
    return "step";
  }

  #appendDelta({ id, delta }) {
    const message = this.messages.get(id);
    if (!message) return null;
    for (const { index, type, text, refusal } of delta.content ?? []) {
      let part = type === "refusal" ? message.content[index] : findTextPart(message);
      if (!part) {
        part = type === "refusal" ? { type, refusal: "" } : { type: "text", text: { value: "", annotations: [] } };
        message.content.push(part);
      }
      if (part.type === "refusal") part.refusal += refusal ?? "";
      else part.text.value += text?.value ?? "";
    }
    return "delta";
  }

  #appendStepDelta(run, { id, delta }) {
    const calls = this.steps.get(run)?.get(id)?.step_details?.tool_calls;
    for (const { index, function: part } of delta.step_details?.tool_calls ?? []) {
      const call = calls?.[index];
      if (call?.function && part?.arguments) call.function.arguments += part.arguments;
    }
    return "step";
  }

  /** Return the entries to show, in order: user messages and answers, then unsent messages. */
  listEntries() {
    const list = [];
    this.#messagesByRun = new Map();
    const answers = new Set();
    for (const message of this.messages.values()) {
      if (message.role === "user") {
        list.push({ key: message.atrium?.client_id ?? message.id, kind: "own", message });
      } else {
        const key = message.run_id ?? message.id;
        if (!this.#messagesByRun.has(key)) this.#messagesByRun.set(key, []);
        this.#messagesByRun.get(key).push(message);
        if (!answers.has(key)) list.push({ key, kind: "answer", run: message.run_id, lone: message });
        answers.add(key);
      }
    }
    for (const run of this.runs.values()) if (!answers.has(run.id)) this.#insert(list, run);
    for (const entry of this.pending) list.push({ key: entry.client_id, kind: "pending", entry });
    return list;
  }

  // Insert a run without messages below its user message, after earlier attempts.
  #insert(list, run) {
    const after = this.places.get(run.id);
    let place = after ? list.findIndex((entry) => entry.message?.id === after) : list.length - 1;
    if (after && place === -1) return;
    const tries = [...this.runs.keys()];
    const index = tries.indexOf(run.id);
    const earlier = (entry) => entry?.kind === "answer" && entry.run && tries.indexOf(entry.run) < index;
    while (earlier(list[place + 1])) place += 1;
    list.splice(place + 1, 0, { key: run.id, kind: "answer", run: run.id, lone: null });
  }

  /** Return the pieces of one answer from the last `listEntries()` call, in order of creation. */
  listPieces(entry) {
    if (!entry.run) return [{ kind: "text", message: entry.lone }];
    const messages = this.#messagesByRun.get(entry.run) ?? [];
    const remaining = new Map(messages.map((message) => [message.id, message]));
    const pieces = [];
    for (const step of this.steps.get(entry.run)?.values() ?? []) {
      const id = step.step_details?.message_creation?.message_id;
      if (step.type === "tool_calls") pieces.push({ kind: "tools", step });
      else if (remaining.has(id)) pieces.push({ kind: "text", message: remaining.get(id) });
      remaining.delete(id);
    }
    for (const message of remaining.values()) pieces.push({ kind: "text", message });
    return pieces.filter((piece, index) => !this.#isRepeated(piece, pieces.slice(index + 1)));
  }

  // A message interrupted by a restart is repeated in a later message.
  #isRepeated(piece, later) {
    return (
      piece.kind === "text" &&
      piece.message.status === "incomplete" &&
      later.some((other) => other.kind === "text")
    );
  }
}
