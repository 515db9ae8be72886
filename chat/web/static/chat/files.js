// File data: name, size, kind and indexing state, cached and polled.
import { el, icon, setText } from "./dom.js";
import { get } from "./http.js";
import { data, locale, t } from "./page-data.js";

const POLL_DELAYS = [700, 1000, 1500, 2500, 4000];
// Polls without an indexing state after which a file is assumed not to be indexed.
const MAX_POLLS = 4;
const MAX_IDS = 50;

const factsById = new Map(); // id -> facts, null if the file was deleted
const requested = new Set();
const pollCounts = new Map(); // id -> number of polls
let listener = () => {};
let timer = null;
let round = 0;

/** Call `changed()` when file data changes. */
export function onFilesChange(changed) {
  listener = changed;
}

/** Store file data of the server: {id, name, bytes, kind, state, problem}. */
export function storeFacts(facts) {
  factsById.set(facts.id, facts);
}

/** Return the data of a file: undefined while it is loading, null if the file was deleted. */
export function getFacts(id) {
  if (!factsById.has(id) && !requested.has(id)) {
    requested.add(id);
    schedulePoll(0);
  }
  return factsById.get(id);
}

/** Poll this file until it is indexed. */
export function pollFile(id) {
  const state = factsById.get(id)?.state;
  if (pollCounts.has(id) || state === "ready" || state === "failed") return;
  pollCounts.set(id, 0);
  round = 0;
  schedulePoll(POLL_DELAYS[0]);
}

function schedulePoll(delay) {
  if (timer !== null) return;
  timer = setTimeout(poll, delay);
}

async function poll() {
  const ids = [...new Set([...requested, ...listUnread()])].slice(0, MAX_IDS);
  if (ids.length > 0) {
    try {
      const page = await get(`${data.urls.files}?ids=${ids.join(",")}`);
      applyFacts(ids, page.data);
    } catch (error) {
      // A rejected request would be rejected again.
      if (error.status !== 0 && error.status < 500) for (const id of ids) giveUp(id);
    }
  }
  timer = null;
  if (requested.size > 0 || listUnread().length > 0) {
    schedulePoll(POLL_DELAYS[Math.min(round, POLL_DELAYS.length - 1)]);
    round += 1;
  }
}

function giveUp(id) {
  requested.delete(id);
  pollCounts.delete(id);
}

function applyFacts(ids, found) {
  const before = serialize(ids);
  const byId = new Map(found.map((facts) => [facts.id, facts]));
  for (const id of ids) {
    factsById.set(id, byId.get(id) ?? null);
    requested.delete(id);
    if (pollCounts.has(id)) pollCounts.set(id, pollCounts.get(id) + 1);
  }
  if (serialize(ids) !== before) listener();
}

// JSON alone would not distinguish unknown files from deleted ones.
const serialize = (ids) => ids.map((id) => (factsById.has(id) ? JSON.stringify(factsById.get(id)) : "")).join();

function listUnread() {
  return [...pollCounts.keys()].filter((id) => {
    const facts = factsById.get(id);
    if (facts === null) return false;
    return facts?.state === "reading" || (!facts?.state && pollCounts.get(id) < MAX_POLLS);
  });
}

export const getContentUrl = (id) => `${data.urls.files}/${id}/content`;
export const getImageUrl = (id) => `${getContentUrl(id)}?show=1`;

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

/** Format a size in bytes. */
export function formatSize(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const value = bytes / 1000 ** step;
  return new Intl.NumberFormat(locale, {
    style: "unit", unit: UNITS[step], unitDisplay: step === 0 ? "long" : "short", maximumFractionDigits: value < 10 && step > 0 ? 1 : 0,
  }).format(value);
}

const ICONS = { image: "picture", data: "table", table: "table" };
export const getIconName = (kind) => ICONS[kind] ?? "file";

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
    this.fallbackName = name;
    this.sign = el("span", { class: "file-sign" });
    this.name = el("span", { class: "file-name" });
    this.size = el("span", { class: "file-size" });
    this.node = el("a", { class: "file-chip", href: getContentUrl(id), download: "" }, this.sign, this.name, this.size);
  }

  update() {
    const facts = getFacts(this.id);
    const gone = facts === null;
    const name = facts?.name ?? this.fallbackName;
    this.sign.replaceChildren(icon(getIconName(facts?.kind)));
    showName(this.name, gone ? t("file_gone") : name || "…");
    setText(this.size, facts ? formatSize(facts.bytes) : "");
    this.node.classList.toggle("gone", gone);
    if (gone) this.node.removeAttribute("href");
    else if (name) this.node.title = t("download_file", { name });
  }
}
