// Markdown to HTML text. Raw HTML, images and unsafe addresses of a model never become elements.
import { Marked } from "./vendor/markdown.js";
import { BEGIN, END } from "./citations.js";
import { LINK } from "./made.js";
import { t } from "./page-data.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);

export function escape(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function safeAddress(href) {
  try {
    const url = new URL(href);
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

// A file that code wrote; which one it is, is found out when the link is on the page.
const fileLink = (name, inner) => `<a class="made-file" title="${escape(name)}">${inner}</a>`;

function anchor(href, title, inner) {
  if (href.startsWith(LINK)) return fileLink(decoded(href.slice(LINK.length)), inner);
  const address = safeAddress(href);
  if (address === null) return inner;
  const hint = title ? ` title="${escape(title)}"` : "";
  return `<a href="${escape(address)}"${hint}>${inner}</a>`;
}

const renderer = {
  html({ raw }) {
    return /^<br\s*\/?>$/i.test(raw.trim()) ? "<br>" : escape(raw);
  },
  link({ href, title, tokens }) {
    return anchor(href, title, this.parser.parseInline(tokens));
  },
  // An image would tell another server that this chat was read: it is offered as a link.
  image({ href, title, text }) {
    return anchor(href, title, escape(t("image", { name: text || href })));
  },
  checkbox({ checked }) {
    return checked ? "☑ " : "☐ ";
  },
};

// A dollar sign is money far more often than math: no space inside, no digit after the end. No
// formula is that long; without a bound each sign would be followed to the end of the text.
const INLINE = [/^\\\(([^\n]{1,4000}?)\\\)/, /^\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?![\d$])/];
const BLOCK = [/^\\\[([\s\S]{1,4000}?)\\\](?:\n|$)/, /^\$\$([\s\S]{1,4000}?)\$\$(?:\n|$)/];

function firstMatch(patterns, source, type) {
  for (const pattern of patterns) {
    const match = pattern.exec(source);
    if (match) return { type, raw: match[0], text: match[1].trim() };
  }
  return undefined;
}

const mathInline = {
  name: "mathInline",
  level: "inline",
  start: (source) => source.match(/\$|\\\(/)?.index,
  tokenizer: (source) => firstMatch(INLINE, source, "mathInline"),
  renderer: ({ text }) => `<code class="math-inline">${escape(text)}</code>`,
};

const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (source) => source.match(/\$\$|\\\[/)?.index,
  tokenizer: (source) => firstMatch(BLOCK, source, "mathBlock"),
  renderer: ({ text }) => `<code class="math-block">${escape(text)}</code>`,
};

const place = {
  name: "place",
  level: "inline",
  start: (source) => source.indexOf(BEGIN),
  tokenizer: (source) => firstMatch([new RegExp(`^${BEGIN}(\\d+)${END}`)], source, "place"),
  renderer: ({ text }) => `<code class="cite-place">${text}</code>`,
};

const madeFile = {
  name: "madeFile",
  level: "inline",
  start: (source) => source.indexOf(LINK),
  tokenizer: (source) => firstMatch([/^sandbox:\/mnt\/data\/([^\s()<>[\]"'`]*[^\s()<>[\]"'`.,;:!?*_])/], source, "madeFile"),
  renderer: ({ text }) => fileLink(text, escape(text)),
};

const marked = new Marked({ gfm: true, renderer, extensions: [mathBlock, mathInline, place, madeFile] });

// What stands in one another deeper than this is text: parser, morphdom and layout recurse.
const MAX_NESTING = 50;
// Emphasis and addresses are searched in time that grows with the square of a paragraph's length.
const MAX_INLINE = 4000;
// The markers of lists and quotes at the beginning of one line.
const TOO_DEEP = new RegExp(`^(?:[ \\t]*(?:>|(?:[-+*]|\\d{1,9}[.)])(?=[ \\t\\n]))){${MAX_NESTING + 1}}`);

class BoundedTokenizer extends marked.Tokenizer {
  #depth = 0;

  blockquote(source) {
    return this.#within(source, () => super.blockquote(source));
  }

  list(source) {
    return this.#within(source, () => super.list(source));
  }

  // A line of more markers is refused before its first one: each would be read anew at each depth.
  #within(source, read) {
    if (this.#depth >= MAX_NESTING || TOO_DEEP.test(source)) return undefined;
    this.#depth += 1;
    try {
      return read();
    } finally {
      this.#depth -= 1;
    }
  }
}

class BoundedLexer extends marked.Lexer {
  #depth = 0;

  inlineTokens(source, tokens = []) {
    if (this.#depth >= MAX_NESTING) {
      tokens.push({ type: "text", raw: source, text: source, escaped: false });
      return tokens;
    }
    this.#depth += 1;
    try {
      for (const part of parts(source)) super.inlineTokens(part, tokens);
    } finally {
      this.#depth -= 1;
    }
    return tokens;
  }
}

/** `source` in parts of at most MAX_INLINE characters, cut behind a space where there is one. */
function* parts(source) {
  let at = 0;
  while (source.length - at > MAX_INLINE) {
    const space = source.slice(at, at + MAX_INLINE).search(/\s\S*$/);
    // A pair of surrogates stays together.
    const full = /[\ud800-\udbff]/.test(source[at + MAX_INLINE - 1]) ? MAX_INLINE - 1 : MAX_INLINE;
    const end = at + (space > 0 ? space + 1 : full);
    yield source.slice(at, end);
    at = end;
  }
  yield source.slice(at);
}

/** Top-level tokens; each has `raw`, its exact source, and the list has `links`. */
export const lex = (source) => new BoundedLexer({ ...marked.defaults, tokenizer: new BoundedTokenizer() }).lex(source);

/** HTML text of some tokens of `lex`. */
export const toHtml = (tokens) => marked.parser(tokens);
