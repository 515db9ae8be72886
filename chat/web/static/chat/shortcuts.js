// Keyboard shortcuts of the whole page.

const isTyping = (node) => node.matches?.("input, textarea, select, [contenteditable]");

/** Attach the shortcuts for starting a new chat, focusing the composer and stopping the answer. */
export function attachShortcuts({ newChat, focusBox, stop }) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog:modal")) return;
    if ((event.ctrlKey || event.metaKey) && event.shiftKey && event.key.toLowerCase() === "o") {
      event.preventDefault();
      newChat();
    } else if (event.key === "/" && !isTyping(event.target) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      focusBox();
    } else if (event.key === "Escape" && !document.body.classList.contains("drawer-open")) {
      stop();
    }
  });
}
