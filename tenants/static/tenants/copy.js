// Copy button next to a secret that is shown once.
const button = document.getElementById("copy-secret");
const field = document.getElementById("secret");

async function copy() {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(field.value);
  } else {
    // The Clipboard API needs HTTPS; plain HTTP in a local network has none.
    field.select();
    document.execCommand("copy");
  }
  button.textContent = button.dataset.copied;
}

button.hidden = false;
button.addEventListener("click", copy);
field.addEventListener("focus", () => field.select());
