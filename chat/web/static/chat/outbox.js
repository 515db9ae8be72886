// Outbox of unacknowledged messages, kept in session storage so that a reload sends them again.
// The client id is the idempotency key.
import { perTab } from "./storage.js";

const KEY = "outbox";

export function newClientId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // randomUUID needs a secure context: plain http in a local network has none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export const listPending = () => perTab.read(KEY) ?? [];

export function savePending(entry) {
  perTab.write(KEY, [...listPending().filter((other) => other.client_id !== entry.client_id), entry]);
}

export function removePending(clientId) {
  perTab.write(KEY, listPending().filter((entry) => entry.client_id !== clientId));
}
