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

// A dollar sign is money far more often than math: no space inside, no digit after the end.
const INLINE = [/^\\\(([^\n]+?)\\\)/, /^\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?![\d$])/];
const BLOCK = [/^\\\[([\s\S]+?)\\\](?:\n|$)/, /^\$\$([\s\S]+?)\$\$(?:\n|$)/];

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

/** Top-level tokens; each has `raw`, its exact source, and the list has `links`. */
export const lex = (source) => marked.lexer(source);

/** HTML text of some tokens of `lex`. */
export const toHtml = (tokens) => marked.parser(tokens);
