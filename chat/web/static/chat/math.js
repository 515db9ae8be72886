// Formulas. The library and its fonts are fetched when the first formula appears.
import { data } from "./page-data.js";

let library = null;
let loading = null;

function draw(code) {
  const block = code.classList.contains("math-block");
  const place = document.createElement("span");
  place.className = block ? "math math-display" : "math";
  library.render(code.textContent, place, {
    displayMode: block, throwOnError: false, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20,
  });
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

/** Replace the source in `code` by a formula now, or as soon as the library is here. */
export function typeset(code) {
  if (library === null) load();
  else draw(code);
}
