// The button beside a secret that is shown once.
const button = document.getElementById("copy-secret");
const field = document.getElementById("secret");

async function copy() {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(field.value);
  } else {
    // Plain http in a local network has no clipboard interface.
    field.select();
    document.execCommand("copy");
  }
  button.textContent = button.dataset.copied;
}

button.hidden = false;
button.addEventListener("click", copy);
field.addEventListener("focus", () => field.select());
