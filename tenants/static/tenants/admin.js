// Copy button next to a secret that is shown once.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copies);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = button.dataset.copied;
  } catch {
    // Without clipboard permission the text stays selected, to be copied with the keyboard.
    field.focus();
  }
});

// Reject files that are too large before the upload. The theme's own listener is stopped: it
// writes the file name into a neighbouring text field, which our form does not have.
document.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.matches(".admin-files input")) return;
  event.stopPropagation();
  const size = [...field.files].reduce((sum, file) => sum + file.size, 0);
  field.setCustomValidity(size > Number(field.dataset.most) ? field.dataset.tooLarge : "");
  field.reportValidity();
}, { capture: true });
