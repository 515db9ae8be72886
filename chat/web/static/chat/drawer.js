// On narrow screens the chat list is a drawer over the page; on wide screens it is always visible.
const side = document.getElementById("side");
const main = document.getElementById("main");
const shade = document.getElementById("shade");
const opener = document.getElementById("open-side");
const closer = document.getElementById("close-side");
const skip = document.querySelector(".skip");
const narrow = matchMedia("(max-width: 53.99rem)");
// Whether the list had the focus last: hidden elements lose it before scripts are notified.
let hadFocus = false;

const isOpen = () => document.body.classList.contains("drawer-open");

function setOpen(open) {
  const covering = open && narrow.matches;
  const { activeElement } = document;
  const focused = side.contains(activeElement) || (hadFocus && activeElement === document.body);
  document.body.classList.toggle("drawer-open", covering);
  side.inert = narrow.matches && !open;
  main.inert = skip.inert = covering;
  shade.hidden = !covering;
  opener.setAttribute("aria-expanded", String(covering));
  // Move the focus out of the hidden list.
  if (side.inert && focused) opener.focus({ preventScroll: true });
}

export function closeDrawer({ refocus = false } = {}) {
  if (!narrow.matches) return;
  setOpen(false);
  if (refocus) opener.focus({ preventScroll: true });
}

export function attachDrawer() {
  opener.addEventListener("click", () => {
    setOpen(true);
    closer.focus({ preventScroll: true });
  });
  closer.addEventListener("click", () => closeDrawer({ refocus: true }));
  shade.addEventListener("click", () => closeDrawer({ refocus: true }));
  // Listen on the document: after a click on empty space the focus is on the body.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !isOpen()) return;
    if (document.querySelector("dialog:modal")) return;
    event.preventDefault();
    closeDrawer({ refocus: true });
  });
  document.addEventListener("focusin", ({ target }) => {
    hadFocus = side.contains(target);
  });
  narrow.addEventListener("change", () => setOpen(false));
  setOpen(false);
}
