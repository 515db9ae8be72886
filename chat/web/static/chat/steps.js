// Views of tool calls: one collapsible line each.
import { getToolLabel, renderBuiltinDetails } from "./calls.js";
import { el, icon, setText } from "./dom.js";
import { createCaption, createFactList, createResultBlock, humanize } from "./facts.js";
import { t } from "./page-data.js";
import { tryDraw } from "./plain.js";

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function renderOutput(call) {
  const text = call.function?.output;
  if (text === null || text === undefined) return null;
  const value = parseJson(text);
  if (isObject(value)) return createFactList(value);
  return createResultBlock(value === null ? text : JSON.stringify(value, null, 2));
}

const STATES = {
  proposed: "step_waiting",
  waiting: "step_waiting",
  approved: "step_working",
  started: "step_working",
  declined: "step_declined",
  failed: "step_failed",
  refused: "step_failed",
  outcome_unknown: "step_unknown",
  cancelled: "step_cancelled",
};

function getStateKey(call, step) {
  const known = STATES[call.atrium?.status];
  if (known && step.status === "in_progress") return known;
  // A running or pending call ended with its step.
  if (known && known !== "step_working" && known !== "step_waiting") return known;
  return { in_progress: "step_working", failed: "step_failed", cancelled: "step_cancelled", expired: "step_cancelled" }[
    step.status
  ] ?? "step_done";
}

const SIGNS = {
  step_working: "dots", step_waiting: "hand", step_done: "check", step_declined: "close", step_cancelled: "close",
};

function renderDetails(call, views) {
  if (call.type !== "function") return renderBuiltinDetails(call, views);
  const body = el("div", { class: "step-body" });
  const values = parseJson(call.function?.arguments || "{}");
  if (isObject(values) && Object.keys(values).length > 0) {
    body.append(createCaption("asked_with"), createFactList(values));
  }
  const result = renderOutput(call);
  if (result) body.append(createCaption("result"), result);
  if (!body.hasChildNodes()) body.append(createCaption("no_details"));
  return body;
}

// Return arguments and output as plain text.
function renderPlainDetails(call) {
  const { arguments: input, output: result } = call.function ?? {};
  const texts = [["asked_with", input], ["result", result]].filter(([, text]) => typeof text === "string");
  const nodes = texts.flatMap(([key, text]) => [createCaption(key), createResultBlock(text, key)]);
  return el("div", { class: "step-body" }, ...nodes);
}

class StepLine {
  constructor() {
    this.sign = el("span", { class: "step-sign" });
    this.label = el("span", { class: "step-label" });
    this.state = el("span", { class: "step-state" });
    this.fold = icon("chevron");
    this.node = el("details", { class: "step" }, el("summary", {}, this.sign, this.label, this.state, this.fold));
    this.seen = [];
    this.views = [];
  }

  update(call, step) {
    for (const view of this.views) view.update();
    // Changed objects are replaced, except arguments, which are extended in place.
    const seen = [call, call.function?.arguments.length, step.status];
    if (seen.every((value, index) => value === this.seen[index])) return;
    this.seen = seen;
    const key = getStateKey(call, step);
    this.node.dataset.state = key;
    this.sign.replaceChildren(icon(SIGNS[key] ?? "alert"));
    const builtinLabel = getToolLabel(call, key === "step_working");
    setText(this.label, builtinLabel ?? (call.atrium?.label || humanize(call.function?.name ?? call.type)));
    setText(this.state, key === "step_done" || (builtinLabel && key === "step_working") ? "" : t(key));
    this.node.querySelector(".step-body")?.remove();
    this.views = [];
    this.node.append(tryDraw(() => renderDetails(call, this.views), () => renderPlainDetails(call)));
    for (const view of this.views) view.update();
  }
}

/** Lines of one step, one for each tool call. */
export class StepView {
  constructor() {
    this.node = el("div", { class: "steps" });
    this.lines = [];
  }

  update(step) {
    const calls = step.step_details?.tool_calls ?? [];
    calls.forEach((call, index) => {
      if (!this.lines[index]) {
        this.lines[index] = new StepLine();
        this.node.append(this.lines[index].node);
      }
      this.lines[index].update(call, step);
    });
  }
}
