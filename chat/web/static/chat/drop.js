// Files dropped anywhere on the chat, or pasted into it.

const main = document.getElementById("main");
const target = document.getElementById("drop");
const box = document.getElementById("message");

const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Give dropped and pasted files to `take(files)`. */
export function attachDrop(take) {
  let inside = 0;
  const leave = () => {
    inside = 0;
    target.hidden = true;
  };
  main.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    inside += 1;
    target.hidden = false;
  });
  main.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    inside -= 1;
    if (inside <= 0) leave();
  });
  // A file that misses the chat must not take the page's place.
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    leave();
    const files = [...event.dataTransfer.files];
    if (main.contains(event.target) && files.length > 0) take(files);
  });
  box.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    // Office programs bring a picture of the text along: the text is what was meant.
    if (files.length === 0 || event.clipboardData.getData("text/plain") !== "") return;
    event.preventDefault();
    take(files);
  });
}
