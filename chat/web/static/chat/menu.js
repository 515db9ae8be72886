// ARIA menu button pattern: arrow keys, Home and End, type-ahead, Escape, focus return.

const ITEMS = '[role^="menuitem"]:not([hidden])';

function listItems(menu) {
  return [...menu.querySelectorAll(ITEMS)];
}

function findTarget(menu, event) {
  const items = listItems(menu);
  const at = items.indexOf(document.activeElement);
  const last = items.length - 1;
  const targets = { ArrowDown: at === last ? 0 : at + 1, ArrowUp: at <= 0 ? last : at - 1, Home: 0, End: last };
  if (event.key in targets) return items[targets[event.key]];
  if (event.key.length !== 1 || event.key === " " || event.ctrlKey || event.metaKey) return null;
  const letter = event.key.toLocaleLowerCase();
  const ring = [...items.slice(at + 1), ...items.slice(0, at + 1)];
  return ring.find((item) => item.textContent.trim().toLocaleLowerCase().startsWith(letter)) ?? null;
}

/** Attach `menu` to `button`; return {open, close}. `onOpen` may fill the menu. */
export function attachMenu(button, menu, { onOpen = () => {} } = {}) {
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  menu.setAttribute("role", "menu");

  function close(refocus = true) {
    if (menu.hidden) return;
    menu.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", closeOutside, true);
    if (refocus) button.focus();
  }

  function closeOutside(event) {
    if (!menu.contains(event.target) && !button.contains(event.target)) close(false);
  }

  function open(at = 0) {
    onOpen();
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", closeOutside, true);
    const items = listItems(menu);
    for (const item of items) item.tabIndex = -1;
    const choice = items.every((item) => item.getAttribute("role") === "menuitemradio");
    const checked = items.find((item) => item.getAttribute("aria-checked") === "true");
    ((choice && checked) || items.at(at))?.focus();
  }

  button.addEventListener("click", () => (menu.hidden ? open() : close()));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    open(event.key === "ArrowUp" ? -1 : 0);
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || event.key === "Tab") {
      if (event.key === "Escape") event.preventDefault();
      event.stopPropagation();
      close(event.key === "Escape");
      return;
    }
    const target = findTarget(menu, event);
    if (!target) return;
    event.preventDefault();
    target.focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) close(false);
  });
  return { open, close };
}
