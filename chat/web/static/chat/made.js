// Files written by code: resolves links in an answer by file name.
import { contentOf } from "./files.js";

export const LINK = "sandbox:/mnt/data/";

/** Return the ids of files written by code in a chat, by name; the newest wins. */
export function madeIn(conversation) {
  const found = new Map();
  for (const call of conversation.toolCalls()) {
    for (const file of call.atrium?.files ?? []) found.set(file.name, file.file_id);
  }
  return found;
}

/** Make file links in an answer's `node` download the file; unresolved links stay text. */
export function linkFiles(node, message, made) {
  const links = [...node.querySelectorAll("a.made-file")];
  if (links.length === 0) return;
  const known = made();
  for (const part of message.content) {
    for (const { type, text, file_path: path } of part.text?.annotations ?? []) {
      if (type === "file_path") known.set(text.slice(LINK.length), path.file_id);
    }
  }
  for (const link of links) {
    const id = known.get(link.dataset.name);
    if (!id) continue;
    link.href = contentOf(id);
    link.download = link.dataset.name;
  }
}
