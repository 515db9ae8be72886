// What was typed and not sent, per chat.
import { lasting } from "./storage.js";

const keyOf = (thread) => `draft.${thread ?? "new"}`;

export const readDraft = (thread) => lasting.read(keyOf(thread)) ?? "";

export function keepDraft(thread, text) {
  if (text.trim() === "") lasting.remove(keyOf(thread));
  else lasting.write(keyOf(thread), text);
}
