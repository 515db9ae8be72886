// Details of built-in tool calls: results of a document search, code and its output.
import { createSourceItem } from "./citations.js";
import { wrapCodeBlock } from "./decorate.js";
import { el } from "./dom.js";
import { createCaption, createResultBlock } from "./facts.js";
import { FileChip } from "./files.js";
import { t } from "./page-data.js";
import { PictureView } from "./pictures.js";

function renderFileList(passages) {
  const files = new Map();
  for (const passage of passages) {
    if (!files.has(passage.file_id)) files.set(passage.file_id, []);
    files.get(passage.file_id).push(passage);
  }
  const rows = [...files.values()].map((filePassages) => {
    const [first] = filePassages;
    const pages = [...new Set(filePassages.flatMap(({ page }) => page ?? []))].sort((a, b) => a - b);
    const where = pages.length > 0 ? t("pages", { pages: pages.join(", ") }) : "";
    return createSourceItem({ ...first, quote: null },
      el("span", { class: "source-name" }, first.file_name), where && el("span", { class: "source-where" }, where));
  });
  return el("ul", { class: "sources" }, ...rows);
}

function renderSearch(call) {
  const passages = call.atrium?.passages ?? [];
  if (passages.length === 0) return [createCaption("found_nothing")];
  return [createCaption("found_in"), renderFileList(passages)];
}

function renderCode(call, views) {
  const { input = "", outputs = [] } = call.code_interpreter ?? {};
  const code = el("div", {}, el("pre", {}, el("code", { class: "language-python" }, input)));
  if (input) wrapCodeBlock(code.firstElementChild, false);
  const nodes = input ? [code] : [];
  const logs = outputs.flatMap((output) => output.logs ?? []).join("");
  if (logs) nodes.push(createCaption("result"), createResultBlock(logs));
  const error = call.atrium?.error;
  if (error) nodes.push(createCaption("code_error"), createResultBlock(error, "code_error"));
  for (const output of outputs) if (output.image) views.push(new PictureView(output.image.file_id));
  const shown = new Set(outputs.flatMap((output) => output.image?.file_id ?? []));
  nodes.push(...views.map((view) => view.node));
  const chips = (call.atrium?.files ?? [])
    .filter((file) => !shown.has(file.file_id))
    .map((file) => new FileChip(file.file_id, { name: file.name }));
  views.push(...chips);
  if (chips.length > 0) nodes.push(el("div", { class: "made-files" }, ...chips.map((chip) => chip.node)));
  return nodes;
}

const LABELS = { file_search: ["searching", "searched"], code_interpreter: ["running_code", "ran_code"] };

/** Return the label of a built-in tool's line, null for other tools. */
export function getToolLabel(call, working) {
  const label = LABELS[call.type]?.[working ? 0 : 1];
  return label ? t(label, { query: call.atrium?.query ?? "" }) : null;
}

/** Return the details of a built-in tool call; adds views that depend on file data to `views`. */
export function renderBuiltinDetails(call, views) {
  const nodes = call.type === "file_search" ? renderSearch(call) : renderCode(call, views);
  return el("div", { class: "step-body" }, ...nodes);
}
