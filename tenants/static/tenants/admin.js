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

// The theme writes the chosen file's name into a text field of its own, which ours has not.
document.addEventListener("change", (event) => {
  if (event.target.matches(".admin-files input")) event.stopPropagation();
}, { capture: true });
