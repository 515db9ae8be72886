// View of one answer: assistant name, text and steps in order, approvals, end state.
import { Approvals } from "./approvals.js";
import { getCitations, getPassages, getReadableText, labelCitations, replaceMarks, SourceList } from "./citations.js";
import { getImageIds, getText, isActive } from "./conversation.js";
import { showMoment } from "./days.js";
import { arrange, el, icon, setText } from "./dom.js";
import { FileChip } from "./files.js";
import { getCreatedFileIds, linkFiles } from "./made.js";
import { Markdown } from "./markdown.js";
import { t } from "./page-data.js";
import { PictureView } from "./pictures.js";
import { PlainText, tryDraw } from "./plain.js";
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
    this.shownText = "";
    this.finished = null;
    this.citations = [];
    this.plain = false;
  }

  update(message, conversation) {
    this.#updateArtifacts(message);
    // A finished message object is never mutated, only replaced.
    if (message === this.finished) return;
    const text = getText(message);
    const growing = message.status === "in_progress";
    // A replayed answer starts empty: keep the text on screen until the replay is longer.
    if (growing && text.length < this.shownText.length && this.shownText.startsWith(text)) return;
    if (!text.startsWith(this.shownText)) {
      this.prose.replaceChildren();
      this.markdown = new Markdown(this.prose);
      this.plain = false;
    }
    this.shownText = text;
    const { source, marks } = replaceMarks(text);
    this.citations = getCitations(message, marks, () => getPassages(conversation));
    this.#renderText(source, growing);
    labelCitations(this.prose, this.citations);
    linkFiles(this.prose, message, () => getCreatedFileIds(conversation));
    this.sources.update(growing ? [] : this.citations);
    this.finished = growing ? null : message;
  }

  // Falls back to plain text if Markdown rendering fails, and retries once the text is complete.
  #renderText(source, growing) {
    if (this.plain && !growing) {
      this.plain = false;
      this.prose.replaceChildren();
      this.markdown = new Markdown(this.prose);
    }
    if (!this.plain) {
      this.plain = tryDraw(() => this.markdown.update(source, !growing), () => true) ?? false;
    }
    this.prose.classList.toggle("plain-text", this.plain);
    if (this.plain) this.prose.textContent = this.copyText;
  }

  #updateArtifacts(message) {
    const pictures = getImageIds(message);
    const files = (message.attachments ?? []).map(({ file_id: id }) => id);
    const view = (id, make) => {
      if (!this.views.has(id)) this.views.set(id, make());
      this.views.get(id).update();
      return this.views.get(id).node;
    };
    arrange(this.pictures, pictures.map((id) => view(id, () => new PictureView(id))));
    arrange(this.files, files.map((id) => view(id, () => new FileChip(id))));
  }

  /** The text for the clipboard. */
  get copyText() {
    return getReadableText(this.shownText, this.citations);
  }
}

const END_KEYS = {
  cancelled: "answer_stopped", incomplete: "answer_cut", failed: "answer_failed", expired: "answer_late",
};

function getEndText(run) {
  const key = END_KEYS[run?.status];
  if (!key) return null;
  return run.atrium?.sentence || t(key);
}

// Local arrival time of each run object with `retry_in`; the server's clock may differ from ours.
const arrivals = new WeakMap();

/** Return the seconds until the next request to the model server, null if no retry is scheduled. */
function getRetrySeconds(run) {
  const wait = run.atrium?.retry_in ?? null;
  if (wait === null) return null;
  if (!arrivals.has(run)) arrivals.set(run, performance.now());
  return Math.max(0, Math.ceil(wait - (performance.now() - arrivals.get(run)) / 1000));
}

function getActivity(run, pieces) {
  if (run?.status === "queued") return t("starting");
  if (run?.status === "cancelling") return t("stopping");
  if (run?.status !== "in_progress") return null;
  const seconds = getRetrySeconds(run);
  if (seconds !== null) return seconds > 0 ? t("retrying_in", { seconds }) : t("retrying");
  const last = pieces.at(-1);
  if (last?.kind === "text" && getText(last.message) !== "") return null;
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
    this.retryButton = el("button", { type: "button", class: "button", on: { click: () => retry(this.run) } },
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
    const pieces = conversation.listPieces(entry);
    this.run = run;
    this.#updateHead(run, pieces, entry);
    this.#updatePieces(pieces, conversation);
    this.approvals.update(run);
    const status = getActivity(run, pieces);
    this.busy.hidden = status === null;
    setText(this.busy.lastElementChild, status ?? "");
    this.#countDown(run, pieces);
    this.#updateEnd(run, last);
    const texts = pieces.filter((piece) => piece.kind === "text");
    this.text = texts.map((piece) => this.views.get(piece.message.id).copyText).filter(Boolean).join("\n\n");
    const lastMessage = pieces.findLast((piece) => piece.kind === "text")?.message;
    if (lastMessage) showMoment(this.when, lastMessage.created_at);
    this.actions.hidden = this.text === "" || isActive(run);
  }

  // Updates only the status line, every second while the run waits for its model server.
  #countDown(run, pieces) {
    clearTimeout(this.countdown);
    if (run?.status !== "in_progress" || !getRetrySeconds(run)) return;
    this.countdown = setTimeout(() => {
      if (!this.node.isConnected || this.run !== run) return;
      setText(this.busy.lastElementChild, getActivity(run, pieces) ?? "");
      this.#countDown(run, pieces);
    }, 1000);
  }

  #updateHead(run, pieces, entry) {
    const message = pieces.findLast((piece) => piece.kind === "text")?.message ?? entry.lone;
    const assistant = message?.atrium?.assistant ?? run?.atrium?.assistant ?? null;
    setText(this.name, assistant?.name ?? t("assistant"));
    this.badge.hidden = !assistant?.demonstration;
  }

  #updatePieces(pieces, conversation) {
    const nodes = [];
    for (const piece of pieces) {
      const key = piece.kind === "tools" ? piece.step.id : piece.message.id;
      if (!this.views.has(key)) this.views.set(key, piece.kind === "tools" ? new StepView() : new TextView());
      const part = piece.kind === "tools" ? piece.step : piece.message;
      tryDraw(() => this.views.get(key).update(part, conversation), () => this.#showPlainText(key, piece));
      nodes.push(this.views.get(key).node);
    }
    // Steps of a replayed answer arrive one by one: keep the old nodes until the first one is here.
    if (nodes.length > 0 || this.run?.status !== "in_progress") arrange(this.body, nodes);
  }

  // If rendering fails, a step keeps its content and a text is shown as plain text.
  #showPlainText(key, { kind, message }) {
    if (kind !== "text") return;
    this.views.set(key, new PlainText());
    this.views.get(key).update(message);
  }

  #updateEnd(run, last) {
    const sentence = getEndText(run);
    this.end.hidden = sentence === null;
    if (sentence === null) return;
    const bad = run.status === "failed" || run.status === "expired";
    this.end.dataset.kind = bad ? "bad" : "quiet";
    const line = el("p", {}, bad ? icon("alert") : "", sentence);
    const parts = last && run.status !== "completed" ? [line, this.retryButton] : [line];
    if (this.end.textContent !== parts.map((part) => part.textContent).join("")) this.end.replaceChildren(...parts);
  }

  /** The finished answer as text for screen readers. */
  get announcement() {
    const parts = [...this.body.querySelectorAll(".prose")].map((prose) => prose.innerText);
    if (!this.end.hidden) parts.push(this.end.firstElementChild.textContent);
    return parts.join("\n").trim();
  }
}
