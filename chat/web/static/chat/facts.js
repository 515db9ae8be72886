// Renders values of tool calls: objects as definition lists, lists of objects as tables.
import { el } from "./dom.js";
import { t } from "./page-data.js";

const isScalar = (value) => value === null || typeof value !== "object";
const isFlat = (value) => !isScalar(value) && !Array.isArray(value) && Object.values(value).every(isScalar);
const MAX_ROWS = 100;

export const humanize = (name) => {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toLocaleUpperCase() + words.slice(1);
};

function renderTable(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, humanize(name))));
  const body = rows.slice(0, MAX_ROWS).map((row) =>
    el("tr", {}, ...names.map((name) => el("td", {}, name in row ? escapeScalar(row[name]) : ""))));
  const whole = el("table", { class: "facts-table" }, el("thead", {}, head), el("tbody", {}, ...body));
  return el("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": names.map(humanize).join(", ") }, whole);
}

// Invisible and bidirectional control characters, which could make a value look like another one.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;

/** Return the text of a scalar with invisible characters escaped. */
function escapeScalar(value) {
  if (value === "") return '""';
  return String(value ?? "–").replace(HIDDEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function renderValue(value) {
  if (isScalar(value)) return escapeScalar(value);
  if (Array.isArray(value) && value.length > 0 && value.every(isFlat)) return renderTable(value);
  if (isFlat(value)) return createFactList(value);
  return escapeScalar(JSON.stringify(value, null, 2));
}

/** Return the caption above a part of a step. */
export const createCaption = (key) => el("p", { class: "step-caption" }, t(key));

/** Return the output of a call in a scrollable block labelled by `key`. */
export function createResultBlock(text, key = "result") {
  return el("pre", { class: "result", "data-kind": key, tabindex: "0", role: "group", "aria-label": t(key) }, text);
}

/** Return names and exact values as a definition list. */
export function createFactList(values) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of Object.entries(values)) {
    list.append(el("dt", {}, escapeScalar(humanize(name))), el("dd", {}, renderValue(value)));
  }
  return list;
}
