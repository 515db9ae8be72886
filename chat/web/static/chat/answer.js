// View of one answer: assistant name, text and steps in order, approvals, end state.
import { Approvals } from "./approvals.js";
import { citationsOf, labelPlaces, passagesOf, readable, SourceList, withPlaces } from "./citations.js";
import { isActive, picturesOf, textOf } from "./conversation.js";
import { showMoment } from "./days.js";
import { arrange, el, icon, setText } from "./dom.js";
import { FileChip } from "./files.js";
import { linkFiles, madeIn } from "./made.js";
import { Markdown } from "./markdown.js";
import { t } from "./page-data.js";
import { PictureView } from "./pictures.js";
import { drawOr, PlainText } from "./plain.js";
import { StepView } from "./steps.js";

class TextView {
  constructor() {
    this.prose = el("div", { class: "prose" });
    this.pictures = el("div", { class: "pictures" });
    this.files = el("div", { class: "made-files" });
    this.sources = new SourceList();
    this.node = el("div", { class: "said" }, this.pictures, this.prose, this.files, this.sources.node);
    this.markdown = new Markdown(this.prose);
    this.views = new Map();
    this.shown = "";
    this.settled = null;
    this.citations = [];
    this.plain = false;
  }

  update(message, conversation) {
    this.#made(message);
    // A finished message object is never mutated, only replaced.
    if (message === this.settled) return;
    const text = textOf(message);
    const growing = message.status === "in_progress";
    // A replayed answer starts empty: keep the text on screen until the replay is longer.
    if (growing && text.length < this.shown.length && this.shown.startsWith(text)) return;
    if (!text.startsWith(this.shown)) {
      this.prose.replaceChildren();
      this.markdown = new Markdown(this.prose);
      this.plain = false;
    }
    this.shown = text;
    const { source, marks } = withPlaces(text);
    this.citations = citationsOf(message, marks, () => passagesOf(conversation));
    this.#layOut(source, growing);
    labelPlaces(this.prose, this.citations);
    linkFiles(this.prose, message, () => madeIn(conversation));
    this.sources.update(growing ? [] : this.citations);
    this.settled = growing ? null : message;
  }

  // Falls back to plain text if Markdown rendering fails, and retries once the text is complete.
  #layOut(source, growing) {
    if (this.plain && !growing) {
      this.plain = false;
      this.prose.replaceChildren();
      this.markdown = new Markdown(this.prose);
    }
    if (!this.plain) {
      this.plain = drawOr(() => this.markdown.update(source, !growing), () => true) ?? false;
    }
    this.prose.classList.toggle("plain-text", this.plain);
    if (this.plain) this.prose.textContent = this.copied;
  }

  #made(message) {
    const pictures = picturesOf(message);
    const files = (message.attachments ?? []).map((each) => each.file_id);
    const view = (id, make) => {
      if (!this.views.has(id)) this.views.set(id, make());
      this.views.get(id).update();
      return this.views.get(id).node;
    };
    arrange(this.pictures, pictures.map((id) => view(id, () => new PictureView(id))));
    arrange(this.files, files.map((id) => view(id, () => new FileChip(id))));
  }

  /** The text for the clipboard. */
  get copied() {
    return readable(this.shown, this.citations);
  }
}

const ENDED = { cancelled: "answer_stopped", incomplete: "answer_cut", failed: "answer_failed", expired: "answer_late" };

function ending(run) {
  const key = ENDED[run?.status];
  if (!key) return null;
  return run.atrium?.sentence || t(key);
}

// Local arrival time of each run object with `retry_in`; the server's clock may differ from ours.
const arrivals = new WeakMap();

/** Return the seconds until the next request to the model server, null if no retry is scheduled. */
function secondsToRetry(run) {
  const wait = run.atrium?.retry_in ?? null;
  if (wait === null) return null;
  if (!arrivals.has(run)) arrivals.set(run, performance.now());
  return Math.max(0, Math.ceil(wait - (performance.now() - arrivals.get(run)) / 1000));
}

function activity(run, pieces) {
  if (run?.status === "queued") return t("starting");
  if (run?.status === "cancelling") return t("stopping");
  if (run?.status !== "in_progress") return null;
  const seconds = secondsToRetry(run);
  if (seconds !== null) return seconds > 0 ? t("retrying_in", { seconds }) : t("retrying");
  const last = pieces.at(-1);
  if (last?.kind === "text" && textOf(last.message) !== "") return null;
  if (last?.kind === "tools" && last.step.status === "in_progress") return null;
  return t("thinking");
}

export class AnswerView {
  constructor({ decide, retry }) {
    this.name = el("h2", { class: "answer-name" });
    this.badge = el("span", { class: "badge", hidden: true }, t("demonstration"));
    this.body = el("div", { class: "answer-body" });
    this.approvals = new Approvals(decide);
    this.busy = el("p", { class: "busy", hidden: true }, el("span", { class: "busy-dot" }), el("span", {}));
    this.end = el("div", { class: "ending", hidden: true });
    this.again = el("button", { type: "button", class: "button", on: { click: () => retry(this.run) } },
      icon("again"), t("try_again"));
    this.actions = el("div", { class: "actions", hidden: true },
      el("button", { type: "button", class: "quiet-button", "data-copy": "answer" }, icon("copy"),
        el("span", {}, t("copy"))),
      (this.when = el("time", {})));
    this.node = el("article", { class: "answer" },
      el("div", { class: "answer-head" }, this.name, this.badge),
      this.body, this.approvals.node, this.busy, this.end, this.actions);
    this.views = new Map();
    this.run = null;
    this.text = "";
    this.countdown = null;
  }

  /** `entry` and `conversation` are those of conversation.js; `last` enables "Try again". */
  update(entry, conversation, last) {
    const run = entry.run ? (conversation.runs.get(entry.run) ?? null) : null;
    const pieces = conversation.pieces(entry);
    this.run = run;
    this.#head(run, pieces, entry);
    this.#pieces(pieces, conversation);
    this.approvals.update(run);
    const doing = activity(run, pieces);
    this.busy.hidden = doing === null;
    setText(this.busy.lastElementChild, doing ?? "");
    this.#countDown(run, pieces);
    this.#ended(run, last);
    const texts = pieces.filter((piece) => piece.kind === "text");
    this.text = texts.map((piece) => this.views.get(piece.message.id).copied).filter(Boolean).join("\n\n");
    const told = pieces.findLast((piece) => piece.kind === "text")?.message;
    if (told) showMoment(this.when, told.created_at);
    this.actions.hidden = this.text === "" || isActive(run);
  }

  // Updates only the status line, every second while the run waits for its model server.
  #countDown(run, pieces) {
    clearTimeout(this.countdown);
    if (run?.status !== "in_progress" || !secondsToRetry(run)) return;
    this.countdown = setTimeout(() => {
      if (!this.node.isConnected || this.run !== run) return;
      setText(this.busy.lastElementChild, activity(run, pieces) ?? "");
      this.#countDown(run, pieces);
    }, 1000);
  }

  #head(run, pieces, entry) {
    const message = pieces.findLast((piece) => piece.kind === "text")?.message ?? entry.lone;
    const assistant = message?.atrium?.assistant ?? run?.atrium?.assistant ?? null;
    setText(this.name, assistant?.name ?? t("assistant"));
    this.badge.hidden = !assistant?.demonstration;
  }

  #pieces(pieces, conversation) {
    const nodes = [];
    for (const piece of pieces) {
      const key = piece.kind === "tools" ? piece.step.id : piece.message.id;
      if (!this.views.has(key)) this.views.set(key, piece.kind === "tools" ? new StepView() : new TextView());
      const part = piece.kind === "tools" ? piece.step : piece.message;
      drawOr(() => this.views.get(key).update(part, conversation), () => this.#plainly(key, piece));
      nodes.push(this.views.get(key).node);
    }
    // Steps of a replayed answer arrive one by one: keep the old nodes until the first one is here.
    if (nodes.length > 0 || this.run?.status !== "in_progress") arrange(this.body, nodes);
  }

  // If rendering fails, a step keeps its content and a text is shown as plain text.
  #plainly(key, { kind, message }) {
    if (kind !== "text") return;
    this.views.set(key, new PlainText());
    this.views.get(key).update(message);
  }

  #ended(run, last) {
    const sentence = ending(run);
    this.end.hidden = sentence === null;
    if (sentence === null) return;
    const bad = run.status === "failed" || run.status === "expired";
    this.end.dataset.kind = bad ? "bad" : "quiet";
    const line = el("p", {}, bad ? icon("alert") : "", sentence);
    const parts = last && run.status !== "completed" ? [line, this.again] : [line];
    if (this.end.textContent !== parts.map((part) => part.textContent).join("")) this.end.replaceChildren(...parts);
  }

  /** The finished answer as text for screen readers. */
  get spoken() {
    const parts = [...this.body.querySelectorAll(".prose")].map((prose) => prose.innerText);
    if (!this.end.hidden) parts.push(this.end.firstElementChild.textContent);
    return parts.join("\n").trim();
  }
}
