// Colour scheme: light, dark or system. Stored per browser; scheme.js applies it before paint.
const KEY = "atrium.scheme";

function getScheme() {
  return document.documentElement.dataset.scheme ?? "system";
}

function setScheme(scheme) {
  if (scheme === "system") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = scheme;
  try {
    localStorage.setItem(KEY, scheme);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
}

function updateItems(items) {
  for (const item of items) item.setAttribute("aria-checked", String(item.dataset.scheme === getScheme()));
}

/** Attach the scheme items (`data-scheme`) of the account menu. */
export function attachAppearance(menu) {
  const items = [...menu.querySelectorAll("[data-scheme]")];
  for (const item of items) {
    item.addEventListener("click", () => {
      setScheme(item.dataset.scheme);
      updateItems(items);
    });
  }
  updateItems(items);
}
