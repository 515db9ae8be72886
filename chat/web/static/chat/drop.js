// Drag and drop of files onto the chat, and pasting of files.

const main = document.getElementById("main");
const target = document.getElementById("drop");
const box = document.getElementById("message");

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Call `take(files)` with dropped and pasted files. */
export function attachDrop(take) {
  let inside = 0;
  const hideTarget = () => {
    inside = 0;
    target.hidden = true;
  };
  main.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    inside += 1;
    target.hidden = false;
  });
  main.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    inside -= 1;
    if (inside <= 0) hideTarget();
  });
  // A file dropped outside the chat must not navigate the page to it.
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hideTarget();
    const files = [...event.dataTransfer.files];
    if (main.contains(event.target) && files.length > 0) take(files);
  });
  box.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    // Office programs also put an image of the copied text on the clipboard: prefer the text.
    if (files.length === 0 || event.clipboardData.getData("text/plain") !== "") return;
    event.preventDefault();
    take(files);
  });
}
