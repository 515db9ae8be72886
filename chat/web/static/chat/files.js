// File data: name, size, kind and indexing state, cached and polled.
import { el, icon, setText } from "./dom.js";
import { get } from "./http.js";
import { data, locale, t } from "./page-data.js";

const LOOK_AGAIN = [700, 1000, 1500, 2500, 4000];
// Polls without an indexing state after which a file is assumed not to be indexed.
const PATIENCE = 4;
const AT_ONCE = 50;

const known = new Map(); // id -> facts, null if the file was deleted
const asked = new Set();
const followed = new Map(); // id -> number of polls
let listener = () => {};
let due = null;
let round = 0;

/** Call `changed()` when file data changes. */
export function onFilesKnown(changed) {
  listener = changed;
}

/** Store file data of the server: {id, name, bytes, kind, state, problem}. */
export function learn(facts) {
  known.set(facts.id, facts);
}

/** Return the data of a file: undefined while it is loading, null if the file was deleted. */
export function factsOf(id) {
  if (!known.has(id) && !asked.has(id)) {
    asked.add(id);
    later(0);
  }
  return known.get(id);
}

/** Poll this file until it is indexed. */
export function follow(id) {
  const state = known.get(id)?.state;
  if (followed.has(id) || state === "ready" || state === "failed") return;
  followed.set(id, 0);
  round = 0;
  later(LOOK_AGAIN[0]);
}

function later(delay) {
  if (due !== null) return;
  due = setTimeout(look, delay);
}

async function look() {
  const ids = [...new Set([...asked, ...unread()])].slice(0, AT_ONCE);
  if (ids.length > 0) {
    try {
      const page = await get(`${data.urls.files}?ids=${ids.join(",")}`);
      note(ids, page.data);
    } catch (error) {
      // A rejected request would be rejected again.
      if (error.status !== 0 && error.status < 500) for (const id of ids) giveUp(id);
    }
  }
  due = null;
  if (asked.size > 0 || unread().length > 0) {
    later(LOOK_AGAIN[Math.min(round, LOOK_AGAIN.length - 1)]);
    round += 1;
  }
}

function giveUp(id) {
  asked.delete(id);
  followed.delete(id);
}

function note(ids, found) {
  const before = told(ids);
  const given = new Map(found.map((facts) => [facts.id, facts]));
  for (const id of ids) {
    known.set(id, given.get(id) ?? null);
    asked.delete(id);
    if (followed.has(id)) followed.set(id, followed.get(id) + 1);
  }
  if (told(ids) !== before) listener();
}

// JSON alone would not distinguish unknown files from deleted ones.
const told = (ids) => ids.map((id) => (known.has(id) ? JSON.stringify(known.get(id)) : "")).join();

function unread() {
  return [...followed.keys()].filter((id) => {
    const facts = known.get(id);
    if (facts === null) return false;
    return facts?.state === "reading" || (!facts?.state && followed.get(id) < PATIENCE);
  });
}

export const contentOf = (id) => `${data.urls.files}/${id}/content`;
export const pictureOf = (id) => `${contentOf(id)}?show=1`;

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

/** Format a size in bytes. */
export function sizeOf(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const value = bytes / 1000 ** step;
  return new Intl.NumberFormat(locale, {
    style: "unit", unit: UNITS[step], unitDisplay: step === 0 ? "long" : "short", maximumFractionDigits: value < 10 && step > 0 ? 1 : 0,
  }).format(value);
}

const ICONS = { image: "picture", data: "table", table: "table" };
export const iconOf = (kind) => ICONS[kind] ?? "file";

const END = 12;

/** Show a file name in `node`; if space is short, the middle is truncated instead of the end. */
export function showName(node, name) {
  if (node.textContent === name) return;
  const letters = [...name];
  node.replaceChildren(
    el("span", { class: "file-name-begin" }, letters.slice(0, -END).join("")),
    el("span", {}, letters.slice(-END).join("")),
  );
}

/** Download link of a file with its name and size, or a note that it was deleted. */
export class FileChip {
  constructor(id, { name = "" } = {}) {
    this.id = id;
    this.given = name;
    this.sign = el("span", { class: "file-sign" });
    this.name = el("span", { class: "file-name" });
    this.size = el("span", { class: "file-size" });
    this.node = el("a", { class: "file-chip", href: contentOf(id), download: "" }, this.sign, this.name, this.size);
  }

  update() {
    const facts = factsOf(this.id);
    const gone = facts === null;
    const name = facts?.name ?? this.given;
    this.sign.replaceChildren(icon(iconOf(facts?.kind)));
    showName(this.name, gone ? t("file_gone") : name || "…");
    setText(this.size, facts ? sizeOf(facts.bytes) : "");
    this.node.classList.toggle("gone", gone);
    if (gone) this.node.removeAttribute("href");
    else if (name) this.node.title = t("download_file", { name });
  }
}
