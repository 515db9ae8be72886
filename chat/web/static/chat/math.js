// Math rendering. The library and its fonts are loaded when the first formula appears.
import { data } from "./page-data.js";

// Limits for nested groups in the source and nested elements in the output: the library and the
// browser's layout are recursive.
const MAX_NESTING = 50;
const MAX_DEPTH = 500;
const GROUPS = /\\(?:begin|left)(?![a-zA-Z])|\\(?:end|right)(?![a-zA-Z])|\\[^]|[{}]/g;
const OPENING = new Set(["\\begin", "\\left", "{"]);
const CLOSING = new Set(["\\end", "\\right", "}"]);

let library = null;
let loading = null;

function getNesting(source) {
  let [depth, deepest] = [0, 0];
  for (const [sign] of source.matchAll(GROUPS)) {
    if (OPENING.has(sign)) deepest = Math.max(deepest, ++depth);
    else if (CLOSING.has(sign)) depth -= 1;
  }
  return deepest;
}

function getDepth(element) {
  let deepest = 0;
  const open = [[element, 0]];
  while (open.length > 0) {
    const [node, depth] = open.pop();
    deepest = Math.max(deepest, depth);
    for (const child of node.children) open.push([child, depth + 1]);
  }
  return deepest;
}

/** Render a formula into `place`; return false if it is nested too deeply. */
function render(source, place, displayMode) {
  if (getNesting(source) > MAX_NESTING) return false;
  try {
    library.render(source, place, {
      displayMode, throwOnError: false, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20,
    });
  } catch (error) {
    // Commands can also nest without groups: then the stack is the library's only limit.
    if (error instanceof RangeError) return false;
    throw error;
  }
  return getDepth(place) <= MAX_DEPTH;
}

// A formula that cannot be rendered stays as source text.
function draw(code) {
  const block = code.classList.contains("math-block");
  const place = document.createElement("span");
  place.className = block ? "math math-display" : "math";
  if (!render(code.textContent, place, block)) return;
  if (block) {
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", code.textContent);
  }
  code.replaceWith(place);
}

function load() {
  if (loading) return;
  const styles = document.createElement("link");
  styles.rel = "stylesheet";
  styles.href = data.urls.math_css;
  document.head.append(styles);
  loading = import("./vendor/math.js").then(
    ({ katex }) => {
      library = katex;
      for (const code of [...document.querySelectorAll("code.math-inline, code.math-block")]) draw(code);
    },
    () => {
      loading = null;
    },
  );
}

/** Replace the source in `code` by the rendered formula now, or when the library has loaded. */
export function typeset(code) {
  if (library === null) load();
  else draw(code);
}
