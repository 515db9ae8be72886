// Error messages for users. Error texts of the server may be written for API clients.
import { data, t } from "./page-data.js";

/** Return the message for an HttpError or SocketError; `fallback` is the key for unknown codes. */
export function getErrorMessage(error, fallback) {
  const key = `problem_${error.code}`;
  return t(key in data.words ? key : fallback);
}
