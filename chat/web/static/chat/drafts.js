// Drafts: unsent text and attachments per chat.
import { lasting } from "./storage.js";

const keyOf = (thread) => `draft.${thread ?? "new"}`;

export const readDraft = (thread) => lasting.read(keyOf(thread)) ?? "";

export function keepDraft(thread, text) {
  if (text.trim() === "") lasting.remove(keyOf(thread));
  else lasting.write(keyOf(thread), text);
}

const filesOf = (thread) => `files.${thread ?? "new"}`;

export const readFiles = (thread) => lasting.read(filesOf(thread)) ?? [];

export function keepFiles(thread, files) {
  if (files.length === 0) lasting.remove(filesOf(thread));
  else lasting.write(filesOf(thread), files);
}
