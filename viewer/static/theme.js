// The theme that the user chose, set before the page is drawn.
const stored = localStorage.getItem("stepmark-theme");
if (stored === "light" || stored === "dark") {
  document.documentElement.dataset.theme = stored;
}
