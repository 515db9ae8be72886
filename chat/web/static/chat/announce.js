// Screen readers hear a finished answer once; the growing text itself is not a live region.
const region = document.getElementById("announcer");

export function announce(text) {
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}
