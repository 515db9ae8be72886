// Browser storage with a key prefix per membership; disabled storage is not an error.
import { data } from "./page-data.js";

let forgotten = false;
const prefix = `atrium.${data.membership}.`;

function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

function keyed(area) {
  return {
    read: (key) => attempt(() => JSON.parse(area().getItem(prefix + key))),
    write: (key, value) => forgotten || attempt(() => area().setItem(prefix + key, JSON.stringify(value))),
    remove: (key) => attempt(() => area().removeItem(prefix + key)),
    clear() {
      attempt(() => {
        for (const key of Object.keys(area())) if (key.startsWith(prefix)) area().removeItem(key);
      });
    },
  };
}

export const lasting = keyed(() => localStorage);
export const perTab = keyed(() => sessionStorage);

/** Delete this member's stored data and store nothing until the page is closed (shared devices). */
export function forgetPerson() {
  forgotten = true;
  lasting.clear();
  perTab.clear();
}
