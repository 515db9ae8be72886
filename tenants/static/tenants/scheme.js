// Loaded in <head> without defer: the chosen scheme is set before the first paint.
(() => {
  let choice = null;
  try {
    choice = localStorage.getItem("atrium.scheme");
  } catch {
    // Storage may be switched off; the system's scheme is then used.
  }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.scheme = choice;
})();
