// Citations: markers such as 【k3f9:1†Policy.md】 become numbered buttons that open the source.
import { el, setText } from "./dom.js";
import { t } from "./page-data.js";

const ADDRESS = /[a-z0-9]{4}:\d{1,3}/;
const MARK = new RegExp(`【(${ADDRESS.source})(?:†[^【】\\n]*)?】`, "g");
// A marker with the space before it, so that the number stays with the preceding word.
const MARK_WITH_SPACE = new RegExp(` ?(${MARK.source})`, "g");
// Delimiters around a placeholder's index, passed through Markdown. Removed from model text first.
export const [BEGIN, END] = ["\ue000", "\ue001"];

/** Return {source, marks}: the text with placeholders instead of markers, and the markers. */
export function replaceMarks(text) {
  const marks = [];
  const plain = text.replaceAll(BEGIN, "").replaceAll(END, "");
  const source = plain.replace(MARK_WITH_SPACE, (_, mark, address) => {
    const index = marks.push({ mark, address }) - 1;
    return `${BEGIN}${index}${END}`;
  });
  return { source, marks };
}

/** Return the passages found by searches of a chat, keyed by marker address. */
export function getPassages(conversation) {
  const found = new Map();
  for (const call of conversation.toolCalls()) {
    for (const passage of call.atrium?.passages ?? []) {
      found.set(ADDRESS.exec(passage.mark)?.[0], { ...passage, quote: null });
    }
  }
  return found;
}

const getAnnotations = (message) => message.content.flatMap((part) => part.text?.annotations ?? []);

/**
 * Return the citation of each marker in order, null if unknown: {number, file_id, file_name, page,
 * store_file, start, end, quote}. `passages()` is used while the answer has no annotations yet.
 */
export function getCitations(message, marks, passages) {
  if (marks.length === 0) return [];
  const annotations = getAnnotations(message).filter((annotation) => annotation.type === "file_citation");
  const known = message.status === "in_progress" || annotations.length === 0 ? passages() : null;
  const numbers = new Map();
  return marks.map(({ mark, address }) => {
    const at = annotations.findIndex((annotation) => annotation.text === mark);
    if (at >= 0) {
      const { file_citation: cited, atrium } = annotations.splice(at, 1)[0];
      return { ...atrium, ...cited };
    }
    const passage = known?.get(address);
    if (!passage) return null;
    const place = `${passage.store_file} ${passage.start} ${passage.end}`;
    if (!numbers.has(place)) numbers.set(place, numbers.size + 1);
    return { ...passage, number: numbers.get(place) };
  });
}

// Return one citation per number, sorted by number.
function listDistinct(citations) {
  const found = new Map();
  for (const citation of citations) if (citation && !found.has(citation.number)) found.set(citation.number, citation);
  return [...found.values()].sort((first, second) => first.number - second.number);
}

const formatLocation = ({ file_name: name, page }) => (page ? t("source_page", { name, page }) : name);

/** Set number, label and citation of an answer's citation buttons. */
export function labelCitations(node, citations) {
  for (const button of node.querySelectorAll(".cite")) {
    const citation = citations[Number(button.dataset.place)] ?? null;
    button.citation = citation;
    button.hidden = citation === null;
    if (citation === null) continue;
    button.setAttribute("aria-label", t("source_of", { number: citation.number, name: formatLocation(citation) }));
    button.title = formatLocation(citation);
    setText(button.querySelector(".cite-number"), String(citation.number));
  }
}

/** Return the citation button for a placeholder; `labelCitations` sets its number. */
export function createCitationButton(place) {
  // Invisible, but read by screen readers and included in selections.
  const bracket = (sign) => el("span", { class: "cite-bracket" }, sign);
  return el("button", { type: "button", class: "cite", "data-place": place, "data-source": true },
    bracket("["), el("span", { class: "cite-number" }), bracket("]"));
}

/** Return a list item with a button that opens the source of `citation`. */
export function createSourceItem(citation, ...children) {
  const button = el("button", { type: "button", class: "source-link", "data-source": true }, ...children);
  button.citation = citation;
  return el("li", {}, button);
}

/** List of sources below an answer. */
export class SourceList {
  constructor() {
    this.node = el("ol", { class: "sources", "aria-label": t("sources"), hidden: true });
    this.shown = "";
  }

  update(citations) {
    const sources = listDistinct(citations);
    this.node.hidden = sources.length === 0;
    const shown = JSON.stringify(sources);
    if (shown === this.shown) return;
    this.shown = shown;
    this.node.replaceChildren(...sources.map((citation) => createSourceItem(citation,
      el("span", { class: "source-number" }, String(citation.number)),
      el("span", { class: "source-name" }, formatLocation(citation)))));
  }
}

/** Return the text of an answer for the clipboard: markers as [1], then the list of sources. */
export function getReadableText(text, citations) {
  let at = 0;
  const numbered = text.replace(MARK, () => {
    const citation = citations[at++];
    return citation ? `[${citation.number}]` : "";
  });
  const plain = numbered.replace(/\[([^\]\n]*)\]\(sandbox:\/mnt\/data\/([^)\s]+)\)/g, "$1 ($2)");
  const lines = listDistinct(citations).map((citation) => `[${citation.number}] ${formatLocation(citation)}`);
  return lines.length > 0 ? `${plain}\n\n${lines.join("\n")}` : plain;
}
