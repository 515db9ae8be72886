// Renders a passage of a document. The nodes contain the extracted text character for character, so
// that quote offsets stay valid; Markdown markup of headings, lists and strong text is styled.
import { el } from "./dom.js";

// A code block, a heading, a list marker, strong text.
const MARKDOWN = /^```[^]*?(?:^```|$(?![^]))|^(#{1,6}[ \t]+)(.+)$|^[ \t]*([-*+])(?=[ \t])|(\*\*)(?=\S)([^*\n]+)\*\*/gm;

/** Return the styled ranges of a Markdown text in order: [{start, end, look}]. */
function findStyles(text) {
  const found = [];
  let at = 0;
  const add = (part, style) => found.push({ start: at, end: (at += part.length), look: style });
  for (const match of text.matchAll(MARKDOWN)) {
    const [whole, sign, heading, item, stars, strong] = match;
    at = match.index;
    if (heading) {
      add(sign, "sign");
      add(heading, "heading");
    } else if (item) {
      at += whole.length - item.length;
      add(item, "item");
    } else if (strong) {
      add(stars, "sign");
      add(strong, "strong");
      add(stars, "sign");
    }
  }
  return found;
}

function renderSlice(text, found, from, to) {
  const nodes = [];
  let at = from;
  for (const range of found) {
    const [start, end] = [Math.max(range.start, from), Math.min(range.end, to)];
    if (start >= end) continue;
    nodes.push(text.slice(at, start), el("span", { class: `source-${range.look}` }, text.slice(start, end)));
    at = end;
  }
  return [...nodes, text.slice(at, to)];
}

/** Return three elements: the text before a quote, the quote, and the text after it. */
export function renderPassage({ before = "", quote, after = "", markdown = false }) {
  const text = before + quote + after;
  const found = markdown ? findStyles(text) : [];
  const [start, end] = [before.length, before.length + quote.length];
  return [
    el("span", {}, ...renderSlice(text, found, 0, start)),
    el("mark", { id: "source-quote" }, ...renderSlice(text, found, start, end)),
    el("span", {}, ...renderSlice(text, found, end, text.length)),
  ];
}
