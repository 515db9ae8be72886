// Dialogs: rename a chat, and the blocking "signed out" or "company changed" dialog.
import { t } from "./page-data.js";

const rename = document.getElementById("rename");
const title = document.getElementById("rename-title");
const lost = document.getElementById("lost");

/** Ask for a title; resolves to the text, or null if cancelled. */
export function askTitle(current) {
  title.value = current;
  rename.returnValue = "";
  rename.showModal();
  title.select();
  return new Promise((resolve) => {
    rename.addEventListener(
      "close",
      () => resolve(rename.returnValue === "save" ? title.value.trim() || null : null),
      { once: true },
    );
  });
}

/** Block the page permanently: `kind` is "signed_out" or "company_changed". */
export function coverPage(kind, address) {
  if (lost.open) return;
  document.getElementById("lost-title").textContent = t(kind);
  document.getElementById("lost-text").textContent = t(`${kind}_text`);
  const go = document.getElementById("lost-go");
  go.textContent = t(`${kind}_go`);
  go.href = address;
  lost.addEventListener("cancel", (event) => event.preventDefault());
  lost.showModal();
}

rename.querySelector("[data-cancel]").addEventListener("click", () => rename.close(""));
