// The copy button beside a secret that is shown once.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copies);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = button.dataset.copied;
  } catch {
    // Without the right to the clipboard the text stays selected, for the keyboard.
    field.focus();
  }
});

// Files that are too much are said to be before they are sent. The theme's own listener writes
// their name into a text field beside, which ours has not.
document.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.matches(".admin-files input")) return;
  event.stopPropagation();
  const size = [...field.files].reduce((sum, file) => sum + file.size, 0);
  field.setCustomValidity(size > Number(field.dataset.most) ? field.dataset.tooLarge : "");
  field.reportValidity();
}, { capture: true });
