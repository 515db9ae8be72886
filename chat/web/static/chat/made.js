// Files written by code: resolves links in an answer by file name.
import { getContentUrl } from "./files.js";

export const FILE_LINK_PREFIX = "sandbox:/mnt/data/";

/** Return the ids of files written by code in a chat, by name; the newest wins. */
export function getCreatedFileIds(conversation) {
  const found = new Map();
  for (const call of conversation.toolCalls()) {
    for (const file of call.atrium?.files ?? []) found.set(file.name, file.file_id);
  }
  return found;
}

/** Make file links in an answer's `node` download the file; unresolved links stay text. */
export function linkFiles(node, message, getFileIds) {
  const links = [...node.querySelectorAll("a.made-file")];
  if (links.length === 0) return;
  const known = getFileIds();
  for (const part of message.content) {
    for (const { type, text, file_path: path } of part.text?.annotations ?? []) {
      if (type === "file_path") known.set(text.slice(FILE_LINK_PREFIX.length), path.file_id);
    }
  }
  for (const link of links) {
    const id = known.get(link.dataset.name);
    if (!id) continue;
    link.href = getContentUrl(id);
    link.download = link.dataset.name;
  }
}
