// A place in a document as nodes. They hold what was read of the file, sign for sign, so that the
// offsets of a quote hold; in Markdown the signs of headings and lists give way to what they mean.
import { el } from "./dom.js";

// A block of code, a heading, the sign of a list's item, strong words.
const MARKDOWN = /^```[^]*?(?:^```|$(?![^]))|^(#{1,6}[ \t]+)(.+)$|^[ \t]*([-*+])(?=[ \t])|(\*\*)(?=\S)([^*\n]+)\*\*/gm;

/** What looks different in a Markdown text: [{start, end, look}], in order. */
function looks(text) {
  const found = [];
  let at = 0;
  const add = (part, look) => found.push({ start: at, end: (at += part.length), look });
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

function cut(text, found, from, to) {
  const nodes = [];
  let at = from;
  for (const one of found) {
    const [start, end] = [Math.max(one.start, from), Math.min(one.end, to)];
    if (start >= end) continue;
    nodes.push(text.slice(at, start), el("span", { class: `source-${one.look}` }, text.slice(start, end)));
    at = end;
  }
  return [...nodes, text.slice(at, to)];
}

/** Returns three elements: the text before a quote, the quote, and what follows it. */
export function passageNodes({ before = "", quote, after = "", markdown = false }) {
  const text = before + quote + after;
  const found = markdown ? looks(text) : [];
  const [start, end] = [before.length, before.length + quote.length];
  return [
    el("span", {}, ...cut(text, found, 0, start)),
    el("mark", { id: "source-quote" }, ...cut(text, found, start, end)),
    el("span", {}, ...cut(text, found, end, text.length)),
  ];
}
