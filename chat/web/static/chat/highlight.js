// Syntax highlighting. The library is loaded when the first code block appears.
const MAX_STREAMING_LENGTH = 6000;
let library = null;
let loading = null;

function colourCode(code, language) {
  const known = library.getLanguage(language);
  if (!known || code.dataset.lit) return;
  const source = code.textContent;
  // The library escapes the source; its output holds only spans with hljs- classes.
  code.innerHTML = library.highlight(source, { language, ignoreIllegals: true }).value;
  code.dataset.lit = "yes";
}

function load() {
  loading ??= import("./vendor/highlight.js").then(
    ({ hljs }) => {
      library = hljs;
      for (const code of document.querySelectorAll("code[data-language]:not([data-lit])")) {
        colourCode(code, code.dataset.language);
      }
    },
    () => {
      loading = null;
    },
  );
}

/** Highlight `code` now, or when the library has loaded. */
export function highlight(code, language, open) {
  if (!language) return;
  code.dataset.language = language;
  if (library === null) load();
  else if (!open || code.textContent.length < MAX_STREAMING_LENGTH) colourCode(code, language);
}
