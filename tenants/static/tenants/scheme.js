// Loaded in <head> without defer, so that the colour scheme is set before the first paint.
(() => {
  let choice = null;
  try {
    choice = localStorage.getItem("atrium.scheme");
  } catch {
    // Storage may be disabled; the colour scheme of the system is used then.
  }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.scheme = choice;
})();
