// Browser storage with a key prefix per membership; disabled storage is not an error.
import { data } from "./page-data.js";

let disabled = false;
const prefix = `atrium.${data.membership}.`;

function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

function createStore(area) {
  return {
    read: (key) => attempt(() => JSON.parse(area().getItem(prefix + key))),
    write: (key, value) => disabled || attempt(() => area().setItem(prefix + key, JSON.stringify(value))),
    remove: (key) => attempt(() => area().removeItem(prefix + key)),
    clear() {
      attempt(() => {
        for (const key of Object.keys(area())) if (key.startsWith(prefix)) area().removeItem(key);
      });
    },
  };
}

export const perBrowser = createStore(() => localStorage);
export const perTab = createStore(() => sessionStorage);

/** Delete this member's stored data and store nothing until the page is closed (shared devices). */
export function clearMemberData() {
  disabled = true;
  perBrowser.clear();
  perTab.clear();
}
