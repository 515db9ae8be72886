// What went wrong, in the reader's words. Texts of the server may be written for programs.
import { data, t } from "./page-data.js";

/** A sentence for `error` (of http.js or socket.js); `otherwise` names the one for unknown codes. */
export function sentence(error, otherwise) {
  const key = `problem_${error.code}`;
  return t(key in data.words ? key : otherwise);
}
