// The theme that the user chose, set before the page is drawn.
let stored = null;
try {
  stored = localStorage.getItem("stepmark-theme");
} catch {
  // A browser can forbid storage, as in a frame of another site.
}
if (stored === "light" || stored === "dark") {
  document.documentElement.dataset.theme = stored;
}
