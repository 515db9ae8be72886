// Incremental Markdown: finished blocks are kept, only the last open block is re-rendered.
import { morphdom, remend } from "./vendor/markdown.js";
import { decorate, NO_HEADINGS } from "./decorate.js";
import { el } from "./dom.js";
import { lex, toHtml } from "./grammar.js";

// Closing unfinished markup of the open block takes time quadratic in its length.
const MAX_MENDED = 20_000;

// Formulas use inline styles set by script; the CSP forbids copying them as attributes.
const MORPH_OPTIONS = {
  onBeforeElUpdated(from, to) {
    if (!to.classList.contains("math")) return true;
    from.replaceWith(to);
    return false;
  },
};

// Render a streaming table from its header on, not as text until its second line is complete.
function completeTable(source) {
  if (/^\|[^\n]*$/.test(source)) return "";
  const head = /^(\|[^\n]*\|)[ \t]*\n[|:\- \t]*$/.exec(source)?.[1];
  return head ? `${head}\n${"|---".repeat(head.split("|").length - 2)}|` : source;
}

function findLastBlock(tokens) {
  let at = tokens.length - 1;
  while (at > 0 && tokens[at].type === "space") at -= 1;
  return at;
}

export class Markdown {
  #root;
  #settled = 0;
  #headings = NO_HEADINGS;
  #open = null;
  #rendered = null;

  constructor(root) {
    this.#root = root;
  }

  /** Show `text`; `final` means that it is complete. */
  update(text, final = true) {
    const source = text.replace(/\r\n?/g, "\n");
    if (this.#rendered === source + final) return;
    this.#rendered = source + final;
    if (final && /^ {0,3}\[[^\]\n]+\]:/m.test(source)) this.#restart();
    const tail = source.slice(this.#settled);
    const tokens = lex(tail);
    const open = final ? tokens.length : findLastBlock(tokens);
    let at = 0;
    for (const token of tokens.slice(0, open)) {
      this.#settle(token);
      at += token.raw.length;
    }
    this.#settled += at;
    if (final) this.#dropOpen();
    else this.#drawOpen(tail.slice(at));
  }

  // Link definitions at the end affect blocks that were settled before them.
  #restart() {
    this.#root.replaceChildren();
    this.#settled = 0;
    this.#headings = NO_HEADINGS;
    this.#open = null;
  }

  #draw(block, tokens, open) {
    const { fragment, headings } = decorate(toHtml(tokens), { headings: this.#headings, open });
    const wanted = el("div", { class: "block" });
    wanted.append(fragment);
    morphdom(block, wanted, MORPH_OPTIONS);
    return headings;
  }

  #getOpenBlock() {
    if (this.#open === null) {
      this.#open = el("div", { class: "block" });
      this.#root.append(this.#open);
    }
    return this.#open;
  }

  #settle(token) {
    if (token.type === "space" || token.type === "def") return;
    this.#headings = this.#draw(this.#getOpenBlock(), [token], false);
    this.#open = null;
  }

  #drawOpen(tail) {
    const source = completeTable(tail);
    if (source.trim() === "") {
      this.#dropOpen();
      return;
    }
    this.#draw(this.#getOpenBlock(), lex(source.length > MAX_MENDED ? source : remend(source)), true);
  }

  #dropOpen() {
    this.#open?.remove();
    this.#open = null;
  }
}
