// Light, dark or the system's choice, kept for this browser; scheme.js applies it before painting.
const KEY = "atrium.scheme";

function chosen() {
  return document.documentElement.dataset.scheme ?? "system";
}

function choose(scheme) {
  if (scheme === "system") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = scheme;
  try {
    localStorage.setItem(KEY, scheme);
  } catch {
    // Without storage the choice holds until the page is left.
  }
}

function show(items) {
  for (const item of items) item.setAttribute("aria-checked", String(item.dataset.scheme === chosen()));
}

/** Wire the items of the account menu that carry data-scheme. */
export function attachAppearance(menu) {
  const items = [...menu.querySelectorAll("[data-scheme]")];
  for (const item of items) {
    item.addEventListener("click", () => {
      choose(item.dataset.scheme);
      show(items);
    });
  }
  show(items);
}
