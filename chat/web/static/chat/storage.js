// Browser storage under a prefix of the membership; switched-off storage is not an error.
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

/** Leave nothing of this person behind on a shared machine, from now until the page is left. */
export function forgetPerson() {
  forgotten = true;
  lasting.clear();
  perTab.clear();
}
