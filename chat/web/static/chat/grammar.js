// Converts Markdown to HTML text. Raw HTML, images and unsafe URLs never become elements.
import { Marked } from "./vendor/markdown.js";
import { BEGIN, END } from "./citations.js";
import { FILE_LINK_PREFIX } from "./made.js";
import { t } from "./page-data.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);

export function escape(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function getSafeUrl(href) {
  try {
    const url = new URL(href);
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function decodeName(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

// Link to a file written by code; made.js resolves the file id when the link is on the page.
const renderFileLink = (name, inner) => `<a class="made-file" title="${escape(name)}">${inner}</a>`;

function renderLink(href, title, inner) {
  if (href.startsWith(FILE_LINK_PREFIX)) return renderFileLink(decodeName(href.slice(FILE_LINK_PREFIX.length)), inner);
  const address = getSafeUrl(href);
  if (address === null) return inner;
  const hint = title ? ` title="${escape(title)}"` : "";
  return `<a href="${escape(address)}"${hint}>${inner}</a>`;
}

const renderer = {
  html({ raw }) {
    return /^<br\s*\/?>$/i.test(raw.trim()) ? "<br>" : escape(raw);
  },
  link({ href, title, tokens }) {
    return renderLink(href, title, this.parser.parseInline(tokens));
  },
  // Loading an image would reveal to another server that this chat was read: render a link instead.
  image({ href, title, text }) {
    return renderLink(href, title, escape(t("image", { name: text || href })));
  },
  checkbox({ checked }) {
    return checked ? "☑ " : "☐ ";
  },
};

// A dollar sign is usually money: math has no space inside the delimiters and no digit after them.
// The length bound avoids scanning to the end of the text for each opening sign.
const INLINE = [/^\\\(([^\n]{1,4000}?)\\\)/, /^\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?![\d$])/];
const BLOCK = [/^\\\[([\s\S]{1,4000}?)\\\](?:\n|$)/, /^\$\$([\s\S]{1,4000}?)\$\$(?:\n|$)/];

function matchFirst(patterns, source, type) {
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
  tokenizer: (source) => matchFirst(INLINE, source, "mathInline"),
  renderer: ({ text }) => `<code class="math-inline">${escape(text)}</code>`,
};

const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (source) => source.match(/\$\$|\\\[/)?.index,
  tokenizer: (source) => matchFirst(BLOCK, source, "mathBlock"),
  renderer: ({ text }) => `<code class="math-block">${escape(text)}</code>`,
};

const place = {
  name: "place",
  level: "inline",
  start: (source) => source.indexOf(BEGIN),
  tokenizer: (source) => matchFirst([new RegExp(`^${BEGIN}(\\d+)${END}`)], source, "place"),
  renderer: ({ text }) => `<code class="cite-place">${text}</code>`,
};

const madeFile = {
  name: "madeFile",
  level: "inline",
  start: (source) => source.indexOf(FILE_LINK_PREFIX),
  tokenizer: (source) => matchFirst([/^sandbox:\/mnt\/data\/([^\s()<>[\]"'`]*[^\s()<>[\]"'`.,;:!?*_])/], source, "madeFile"),
  renderer: ({ text }) => renderFileLink(text, escape(text)),
};

const marked = new Marked({ gfm: true, renderer, extensions: [mathBlock, mathInline, place, madeFile] });

// Deeper nesting is rendered as text: the parser, morphdom and layout are recursive.
const MAX_NESTING = 50;
// Matching emphasis and URLs takes time quadratic in the length of a paragraph.
const MAX_INLINE = 4000;
// More than MAX_NESTING list and quote markers at the beginning of a line.
const TOO_DEEP = new RegExp(`^(?:[ \\t]*(?:>|(?:[-+*]|\\d{1,9}[.)])(?=[ \\t\\n]))){${MAX_NESTING + 1}}`);

class BoundedTokenizer extends marked.Tokenizer {
  #depth = 0;

  blockquote(source) {
    return this.#nest(source, () => super.blockquote(source));
  }

  list(source) {
    return this.#nest(source, () => super.list(source));
  }

  // Reject a line with too many markers at its first one: each depth would parse all of them again.
  #nest(source, read) {
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
      for (const part of splitText(source)) super.inlineTokens(part, tokens);
    } finally {
      this.#depth -= 1;
    }
    return tokens;
  }
}

/** Yield parts of `source` of at most MAX_INLINE characters, split after a space if possible. */
function* splitText(source) {
  let at = 0;
  while (source.length - at > MAX_INLINE) {
    const space = source.slice(at, at + MAX_INLINE).search(/\s\S*$/);
    // Do not split a surrogate pair.
    const full = /[\ud800-\udbff]/.test(source[at + MAX_INLINE - 1]) ? MAX_INLINE - 1 : MAX_INLINE;
    const end = at + (space > 0 ? space + 1 : full);
    yield source.slice(at, end);
    at = end;
  }
  yield source.slice(at);
}

/** Return the top-level tokens; each has `raw`, its exact source, and the list has `links`. */
export const lex = (source) => new BoundedLexer({ ...marked.defaults, tokenizer: new BoundedTokenizer() }).lex(source);

/** Return the HTML text of tokens of `lex`. */
export const toHtml = (tokens) => marked.parser(tokens);
