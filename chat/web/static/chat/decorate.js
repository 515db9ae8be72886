// Converts HTML text to elements. Sanitises it (second line of defence after grammar.js), then adds
// code headers, scrollable tables, links in new tabs, heading levels and math.
import { DOMPurify } from "./vendor/markdown.js";
import { BEGIN, createCitationButton, END } from "./citations.js";
import { el, icon } from "./dom.js";
import { highlight } from "./highlight.js";
import { typeset } from "./math.js";
import { t } from "./page-data.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "strong", "em", "del", "a", "table", "thead", "tbody", "tr", "th", "td",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** Add a header to a code block that has a parent; `open` means that it is still streaming. */
export function wrapCodeBlock(pre, open) {
  const code = pre.firstElementChild;
  if (!code) return;
  const language = /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";
  code.className = "";
  highlight(code, language, open);
  const name = language || t("code");
  pre.tabIndex = 0;
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", t("code_in", { language: name }));
  const copy = el("button", { type: "button", class: "quiet-button", "data-copy": "code" });
  copy.append(icon("copy"), el("span", {}, t("copy")));
  const box = el("div", { class: "code-block" }, el("div", { class: "code-head" }, el("span", {}, name), copy));
  pre.replaceWith(box);
  box.append(pre);
}

function wrapTable(table) {
  const scroller = el("div", {
    class: "table-scroll", tabindex: "0", role: "group", "aria-label": t("table"),
  });
  table.replaceWith(scroller);
  scroller.append(table);
}

// Keep a citation number on the same line as the word before it.
function keepToWord(button) {
  const before = button.previousSibling;
  if (before?.nodeType === Node.ELEMENT_NODE && before.className === "cite-word") {
    before.append(button);
    return;
  }
  const word = before?.nodeType === Node.TEXT_NODE ? /\S{1,30}$/.exec(before.data) : null;
  if (word === null || (word.index > 0 && /\S/.test(before.data[word.index - 1]))) return;
  const wrapper = el("span", { class: "cite-word" });
  button.before(wrapper);
  wrapper.append(before.splitText(word.index), button);
}

// Remove placeholders inside code: a citation cannot be clicked there.
function dropPlaces(fragment) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const places = new RegExp(`${BEGIN}\\d*${END}?`, "g");
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replace(places, "");
}

function setFileName(link) {
  link.dataset.name = link.title;
  link.removeAttribute("title");
}

export const NO_HEADINGS = { top: 6, last: 2 };

// The answer's heading is level 2; headings of the model start at 3 and never skip a level.
function adjustHeadings(fragment, { top, last }) {
  for (const heading of [...fragment.querySelectorAll("h1,h2,h3,h4,h5,h6")]) {
    const depth = Number(heading.localName[1]);
    top = Math.min(top, depth);
    last = Math.min(3 + depth - top, last + 1, 6);
    const same = document.createElement(`h${last}`);
    same.append(...heading.childNodes);
    heading.replaceWith(same);
  }
  return { top, last };
}

/**
 * Return {fragment, headings}: sanitised, decorated elements of `html`, current heading levels.
 * `open` means that more text will follow, so expensive work can wait.
 */
export function decorate(html, { headings = NO_HEADINGS, open = false } = {}) {
  const fragment = DOMPurify.sanitize(html, ALLOWED);
  for (const place of fragment.querySelectorAll("code.cite-place")) {
    const button = createCitationButton(place.textContent);
    place.replaceWith(button);
    keepToWord(button);
  }
  if (html.includes(BEGIN)) dropPlaces(fragment);
  for (const link of fragment.querySelectorAll("a.made-file")) setFileName(link);
  for (const link of fragment.querySelectorAll("a:not(.made-file)")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const pre of [...fragment.querySelectorAll("pre")]) wrapCodeBlock(pre, open);
  for (const table of [...fragment.querySelectorAll("table")]) wrapTable(table);
  for (const code of [...fragment.querySelectorAll("code.math-inline, code.math-block")]) typeset(code);
  return { fragment, headings: adjustHeadings(fragment, headings) };
}
