// What the pages need beyond htmx: mathematics, keys, the theme and folding of evidence.
"use strict";

// Mathematics. Only text nodes of the server are read, and KaTeX creates elements, not markup.
// What KaTeX cannot read stays as text.
const MATH = {
  delimiters: [
    { left: "$$", right: "$$", display: true },
    { left: "\\[", right: "\\]", display: true },
    { left: "\\(", right: "\\)", display: false },
    { left: "$", right: "$", display: false },
  ],
  throwOnError: true,
  errorCallback: () => {},
  strict: "ignore",
  trust: false,
  maxExpand: 200,
  maxSize: 20,
  // These two set a style attribute, which the content security policy forbids.
  macros: { "\\pmb": "\\boldsymbol{#1}", "\\fcolorbox": "\\boxed{#3}" },
};
// Formulas of a longer text are not rendered: they would block the page for seconds.
const MAX_MATH_CHARS = 20000;

function renderMath(element) {
  const text = element.textContent;
  if (text.length <= MAX_MATH_CHARS && /[$\\]/.test(text)) {
    renderMathInElement(element, { ...MATH, macros: { ...MATH.macros } });
  }
}

// Texts are rendered when they come into view.
const mathObserver = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        mathObserver.unobserve(entry.target);
        renderMath(entry.target);
      }
    }
  },
  { rootMargin: "400px" },
);

function observeMath(root) {
  for (const element of root.querySelectorAll("[data-math]")) {
    mathObserver.observe(element);
  }
}

// Evidence. htmx loads it once; the button folds and unfolds its row.
function toggleEvidence(button) {
  const row = button.closest("tr").nextElementSibling;
  row.hidden = !row.hidden;
  button.setAttribute("aria-expanded", String(!row.hidden));
}

// Keys.
function moveFocus(items, direction) {
  const current = items.findIndex((item) => item.contains(document.activeElement));
  let next = current + direction;
  if (current < 0) {
    next = direction > 0 ? 0 : items.length - 1;
  }
  if (items[next]) {
    items[next].focus();
    items[next].scrollIntoView({ block: "nearest" });
  }
}

// A report has several traces, each with links to the next and the previous one.
function follow(selector) {
  const part = document.activeElement.closest("[data-trace]") ?? document;
  part.querySelector(selector)?.click();
}

const KEYS = {
  j: () => moveFocus([...document.querySelectorAll("tr.step, a.row-link")], 1),
  k: () => moveFocus([...document.querySelectorAll("tr.step, a.row-link")], -1),
  n: () => follow('a[rel="next"]'),
  p: () => follow('a[rel="prev"]'),
  l: () => follow(".to-list"),
  Enter: () => document.activeElement.querySelector?.(".evidence-button")?.click(),
  "?": () => document.getElementById("help").showModal(),
};

function isTyping(target) {
  return target.closest("input, textarea, select, dialog") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) {
    return;
  }
  const isStep = event.target.matches?.("tr.step");
  if (event.key === "Enter" && !isStep) {
    return;
  }
  const action = KEYS[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest(".evidence-button");
  if (button) {
    toggleEvidence(button);
  }
});

// The theme.
document.getElementById("theme-button").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("stepmark-theme", root.dataset.theme);
  } catch {
    // The theme then lasts until the page is closed.
  }
});
document.getElementById("help-button").addEventListener("click", KEYS["?"]);

// On paper nothing can be unfolded or comes into view.
window.addEventListener("beforeprint", () => {
  for (const element of document.querySelectorAll("[data-math]:not(:has(.katex))")) {
    renderMath(element);
  }
  for (const rest of document.querySelectorAll("details.rest")) {
    rest.open = true;
  }
});

observeMath(document);
document.addEventListener("htmx:after:swap", () => observeMath(document));
