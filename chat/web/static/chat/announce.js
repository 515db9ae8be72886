// Announces each finished answer to screen readers once. The streaming text is not a live region.
const region = document.getElementById("announcer");

export function announce(text) {
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}
