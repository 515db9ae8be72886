// Drafts: unsent text and attachments per chat.
import { perBrowser } from "./storage.js";

const getDraftKey = (thread) => `draft.${thread ?? "new"}`;

export const readDraft = (thread) => perBrowser.read(getDraftKey(thread)) ?? "";

export function saveDraft(thread, text) {
  if (text.trim() === "") perBrowser.remove(getDraftKey(thread));
  else perBrowser.write(getDraftKey(thread), text);
}

const getFilesKey = (thread) => `files.${thread ?? "new"}`;

export const readFiles = (thread) => perBrowser.read(getFilesKey(thread)) ?? [];

export function saveFiles(thread, files) {
  if (files.length === 0) perBrowser.remove(getFilesKey(thread));
  else perBrowser.write(getFilesKey(thread), files);
}
