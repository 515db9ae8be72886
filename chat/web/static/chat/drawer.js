// On phones the chat list is a drawer over the page; on wide screens it is always there.
const side = document.getElementById("side");
const main = document.getElementById("main");
const shade = document.getElementById("shade");
const opener = document.getElementById("open-side");
const closer = document.getElementById("close-side");
const narrow = matchMedia("(max-width: 53.99rem)");

function set(open) {
  const covering = open && narrow.matches;
  document.body.classList.toggle("drawer-open", covering);
  side.inert = narrow.matches && !open;
  main.inert = covering;
  shade.hidden = !covering;
  opener.setAttribute("aria-expanded", String(covering));
}

export function closeDrawer({ refocus = false } = {}) {
  if (!narrow.matches) return;
  set(false);
  if (refocus) opener.focus();
}

export function attachDrawer() {
  opener.addEventListener("click", () => {
    set(true);
    closer.focus();
  });
  closer.addEventListener("click", () => closeDrawer({ refocus: true }));
  shade.addEventListener("click", () => closeDrawer());
  side.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && narrow.matches) closeDrawer({ refocus: true });
  });
  narrow.addEventListener("change", () => set(false));
  set(false);
}
