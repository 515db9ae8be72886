// The two dialogs of the page: renaming a chat, and "this page is out of date".
import { t } from "./page-data.js";

const rename = document.getElementById("rename");
const title = document.getElementById("rename-title");
const lost = document.getElementById("lost");

/** Ask for a title; resolves with the text or null. */
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

/** Cover the page for good: `kind` is "signed_out" or "company_changed". */
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
