// From HTML text to the elements of the page: the second wall against markup, then code heads,
// tables that scroll in themselves, links that open apart, heading levels and math.
import { DOMPurify } from "./vendor/markdown.js";
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

function codeBlock(pre, open) {
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

function tableBlock(table) {
  const scroller = el("div", {
    class: "table-scroll", tabindex: "0", role: "group", "aria-label": t("table"),
  });
  table.replaceWith(scroller);
  scroller.append(table);
}

// The answer's own heading is level 2; a level is never skipped below it.
function levelled(fragment, level) {
  let last = level;
  for (const heading of [...fragment.querySelectorAll("h1,h2,h3,h4,h5,h6")]) {
    last = Math.min(Number(heading.localName[1]) + 2, last + 1, 6);
    const same = document.createElement(`h${last}`);
    same.append(...heading.childNodes);
    heading.replaceWith(same);
  }
  return last;
}

/**
 * Returns {fragment, level}: safe, decorated elements of `html` and the last heading level.
 * `open` says that more text is coming, so costly work may wait.
 */
export function decorate(html, { level = 2, open = false } = {}) {
  const fragment = DOMPurify.sanitize(html, ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const pre of [...fragment.querySelectorAll("pre")]) codeBlock(pre, open);
  for (const table of [...fragment.querySelectorAll("table")]) tableBlock(table);
  for (const code of [...fragment.querySelectorAll("code.math-inline, code.math-block")]) typeset(code);
  return { fragment, level: levelled(fragment, level) };
}
