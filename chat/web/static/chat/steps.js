// Views of tool calls: one collapsible line each.
import { builtinDetails, labelOf } from "./calls.js";
import { el, icon, setText } from "./dom.js";
import { caption, factList, readable, resultText } from "./facts.js";
import { t } from "./page-data.js";
import { drawOr } from "./plain.js";

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function output(call) {
  const text = call.function?.output;
  if (text === null || text === undefined) return null;
  const value = parsed(text);
  if (isObject(value)) return factList(value);
  return resultText(value === null ? text : JSON.stringify(value, null, 2));
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

function stateKey(call, step) {
  const own = STATES[call.atrium?.status];
  if (own && step.status === "in_progress") return own;
  // A running or pending call ended with its step.
  if (own && own !== "step_working" && own !== "step_waiting") return own;
  return { in_progress: "step_working", failed: "step_failed", cancelled: "step_cancelled", expired: "step_cancelled" }[
    step.status
  ] ?? "step_done";
}

const SIGNS = {
  step_working: "dots", step_waiting: "hand", step_done: "check", step_declined: "close", step_cancelled: "close",
};

function details(call, views) {
  if (call.type !== "function") return builtinDetails(call, views);
  const body = el("div", { class: "step-body" });
  const values = parsed(call.function?.arguments || "{}");
  if (isObject(values) && Object.keys(values).length > 0) {
    body.append(caption("asked_with"), factList(values));
  }
  const result = output(call);
  if (result) body.append(caption("result"), result);
  if (!body.hasChildNodes()) body.append(caption("no_details"));
  return body;
}

// Return arguments and output as plain text.
function plainDetails(call) {
  const { arguments: asked, output: found } = call.function ?? {};
  const texts = [["asked_with", asked], ["result", found]].filter(([, text]) => typeof text === "string");
  return el("div", { class: "step-body" }, ...texts.flatMap(([key, text]) => [caption(key), resultText(text, key)]));
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
    const key = stateKey(call, step);
    this.node.dataset.state = key;
    this.sign.replaceChildren(icon(SIGNS[key] ?? "alert"));
    const own = labelOf(call, key === "step_working");
    setText(this.label, own ?? (call.atrium?.label || readable(call.function?.name ?? call.type)));
    setText(this.state, key === "step_done" || (own && key === "step_working") ? "" : t(key));
    this.node.querySelector(".step-body")?.remove();
    this.views = [];
    this.node.append(drawOr(() => details(call, this.views), () => plainDetails(call)));
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
