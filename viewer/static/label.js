// Labels by hand: keys and buttons send entries, and the page shows what the server has saved.
"use strict";

const HEADERS = { "Content-Type": "application/json", "X-Stepmark": "1" };

const TOGGLES = new Set(["mark", "unsure", "bad_problem"]);

async function post(address, values) {
  const response = await fetch(address, {
    method: "POST",
    headers: HEADERS,
    body: JSON.stringify(values),
  });
  let answer = {};
  try {
    answer = await response.json();
  } catch {
    answer = { message: `the server answers with status ${response.status}` };
  }
  return { isSaved: response.ok, answer };
}

// The name of the rater.
const raterForm = document.querySelector("[data-rater-form]");
raterForm?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = raterForm.querySelector("[data-message]");
  try {
    const { isSaved, answer } = await post("/label/rater", { rater: raterForm.rater.value });
    if (isSaved) {
      location.reload();
      return;
    }
    message.textContent = answer.message;
  } catch {
    message.textContent = "The server does not answer.";
  }
});

const root = document.getElementById("labelling");
if (root) {
  startLabelling(root);
}

function startLabelling(root) {
  let state = JSON.parse(root.dataset.state);
  const rows = [...root.querySelectorAll("tr.step")];
  const message = root.querySelector("[data-message]");
  const status = root.querySelector("[data-status]");
  const commentDialog = document.getElementById("comment-dialog");
  const commentText = document.getElementById("comment-text");
  let current = -1;
  let commentedStep = null;
  // Entries are sent one after the other, in the order of the keys.
  let queue = Promise.resolve(true);
  // After an entry that was not saved, the next ones could mean something else: they are not sent.
  let failures = 0;
  let waiting = 0;
  // What the last entry was about that was not saved; "" if there is none. It must be repeated
  // before the trace can be finished: "rest is right" would fill a step whose mark was lost.
  let unsaved = "";
  let isLeaving = false;
  // Comments that were not saved, by step: their texts must not be lost.
  const unsavedComments = new Map();

  function showStep(row, index) {
    for (const button of row.querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mark === state.marks[index]));
    }
    const isFirstError = state.first_error === index;
    row.classList.toggle("first-error", isFirstError);
    row.querySelector("[data-flag]").hidden = !isFirstError;
    const comment = row.querySelector("[data-comment]");
    comment.textContent = state.comments[index];
    comment.hidden = !state.comments[index];
  }

  function statusText() {
    let text = "not finished";
    if (state.is_finished) {
      text = state.is_changed ? "changed since it was finished" : "finished";
    }
    if (state.decision) {
      return `${state.decision}, ${text}`;
    }
    if (state.first_error === null) {
      const count = state.missing.length;
      return `${count} ${count === 1 ? "step needs" : "steps need"} a label, ${text}`;
    }
    const error = state.first_error < 0 ? "no error" : `first error in step ${state.first_error + 1}`;
    return `${error}, ${text}`;
  }

  function show() {
    rows.forEach(showStep);
    for (const kind of ["unsure", "bad_problem"]) {
      const button = root.querySelector(`[data-kind="${kind}"]`);
      button.setAttribute("aria-pressed", String(isDecision(kind)));
    }
    root.querySelector('[data-kind="undo"]').disabled = !state.can_undo;
    const comment = root.querySelector("[data-trace-comment]");
    comment.textContent = state.comment;
    comment.hidden = !state.comment;
    status.textContent = statusText();
  }

  function isDecision(kind) {
    return state.decision === kind.replace("_", " ");
  }

  function setCurrent(index, scrolls = true) {
    if (!rows[index]) {
      return;
    }
    rows[current]?.classList.remove("current");
    current = index;
    rows[index].classList.add("current");
    rows[index].focus({ preventScroll: true });
    if (scrolls) {
      rows[index].scrollIntoView({ block: "nearest" });
    }
  }

  function markMissing(steps) {
    rows.forEach((row, index) => row.classList.toggle("missing", steps.includes(index)));
    if (steps.length) {
      setCurrent(steps[0]);
    }
  }

  function subjectOf(values) {
    if (values.kind === "mark" || values.kind === "first_error") {
      return `the mark of step ${values.step + 1}`;
    }
    if (values.kind === "comment") {
      return values.step === null ? "the comment" : `the comment on step ${values.step + 1}`;
    }
    return `"${values.kind.replace("_", " ")}"`;
  }

  function reminder() {
    return unsaved && `Not saved: ${unsaved}. Repeat it, or reload the page.`;
  }

  function missingText() {
    const numbers = state.missing.map((step) => step + 1).join(", ");
    return `not finished: no mark on ${state.missing.length === 1 ? "step" : "steps"} ${numbers}`;
  }

  async function save(values) {
    if (isLeaving) {
      return false;
    }
    if (values.kind === "finish" && unsaved && unsaved !== subjectOf(values)) {
      message.textContent = reminder();
      return false;
    }
    // The server refuses it too, but browsers report each refused request as an error.
    if (values.kind === "finish" && state.missing.length) {
      message.textContent = missingText();
      markMissing(state.missing);
      return false;
    }
    try {
      const { isSaved, answer } = await post(root.dataset.save, {
        ...values,
        steps_id: state.steps_id,
        seen: state.draft_id,
        rater: root.dataset.rater,
      });
      if (!isSaved) {
        message.textContent = answer.message;
        if (answer.state) {
          state = answer.state;
          show();
        }
        markMissing(answer.missing ?? []);
        if (!answer.missing) {
          failures += 1;
          unsaved = answer.state ? "" : subjectOf(values);
        }
        return false;
      }
      state = answer;
      if (unsaved === subjectOf(values)) {
        unsaved = "";
      }
      message.textContent = reminder() || (answer.waiting ? answer.reason : "");
      markMissing([]);
      show();
      return true;
    } catch {
      failures += 1;
      unsaved = subjectOf(values);
      message.textContent = "Not saved: the server does not answer. Repeat your last entry.";
      return false;
    }
  }

  // `values` is called when all entries before have been saved.
  function send(values) {
    const failuresBefore = failures;
    waiting += 1;
    queue = queue
      .then(() => (failures === failuresBefore ? save(values()) : false))
      .finally(() => {
        waiting -= 1;
      });
    return queue;
  }

  // A page that is left does not send the entries that wait.
  async function follow(selector) {
    const link = document.querySelector(selector);
    const failuresBefore = failures;
    await queue;
    if (failures === failuresBefore) {
      link?.click();
    }
  }

  window.addEventListener("beforeunload", (event) => {
    if ((waiting && !isLeaving) || unsavedComments.size) {
      event.preventDefault();
    }
  });

  // The browser shows a page of the past, which does not know what was saved since.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      location.reload();
    }
  });

  async function finish() {
    if (await send(() => ({ kind: "finish" }))) {
      isLeaving = true;
      location.assign(root.dataset.next);
    }
  }

  async function accept(button) {
    if (!button) {
      return;
    }
    const values = {
      kind: "accept",
      source: button.dataset.source,
      first_error: Number(button.dataset.firstError),
    };
    if (await send(() => values)) {
      await finish();
    }
  }

  function sendStep(values) {
    const step = current;
    if (step >= 0) {
      send(() => ({ ...values, step }));
    }
  }

  function mark(name) {
    sendStep({ kind: "mark", mark: name });
    setCurrent(current + 1);
  }

  function toggle(kind) {
    send(() => ({ kind, is_set: !isDecision(kind) }));
  }

  function comment(step) {
    commentedStep = step;
    const saved = step === null ? state.comment : state.comments[step];
    commentText.value = unsavedComments.get(step) ?? saved;
    document.getElementById("comment-title").textContent =
      step === null ? "Comment on the trace" : `Comment on step ${step + 1}`;
    commentDialog.returnValue = "cancel";
    commentDialog.showModal();
  }

  commentDialog.addEventListener("close", () => {
    if (commentDialog.returnValue === "save") {
      const values = { kind: "comment", step: commentedStep, text: commentText.value };
      unsavedComments.set(values.step, values.text);
      send(() => values).then((isSaved) => isSaved && unsavedComments.delete(values.step));
    }
    if (current >= 0) {
      rows[current].focus({ preventScroll: true });
    }
  });
  commentText.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      commentDialog.close("save");
    }
  });

  const actions = {
    // A second click removes the mark.
    mark: (button) => {
      const isSet = button.getAttribute("aria-pressed") === "true";
      sendStep({ kind: "mark", mark: isSet ? "" : button.dataset.mark });
    },
    first_error: () => sendStep({ kind: "first_error" }),
    no_error: () => send(() => ({ kind: "no_error" })),
    unsure: () => toggle("unsure"),
    bad_problem: () => toggle("bad_problem"),
    comment: (button) => comment(button.closest("tr.step") ? current : null),
    undo: () => send(() => ({ kind: "undo" })),
    accept,
    finish,
  };

  root.addEventListener("click", (event) => {
    const row = event.target.closest("tr.step");
    const button = event.target.closest("button[data-kind]");
    if (row && !event.target.closest("a, summary")) {
      setCurrent(rows.indexOf(row), false);
    }
    // The second click of a double click must not take back what the first one did.
    const isRepeated = event.detail > 1 && TOGGLES.has(button?.dataset.kind);
    if (button && !isRepeated) {
      actions[button.dataset.kind](button);
      // The focus stays where a keyboard or a screen reader has it.
      button.focus({ preventScroll: true });
    }
  });

  root.addEventListener("focusin", (event) => {
    const index = rows.indexOf(event.target.closest("tr.step"));
    if (index >= 0 && index !== current) {
      rows[current]?.classList.remove("current");
      current = index;
      rows[index].classList.add("current");
    }
  });

  const keys = {
    j: () => setCurrent(current + 1),
    k: () => setCurrent(Math.max(0, current - 1)),
    1: () => mark("right"),
    0: () => mark("neutral"),
    "-": () => mark("wrong"),
    e: () => sendStep({ kind: "first_error" }),
    r: () => send(() => ({ kind: "no_error" })),
    u: () => toggle("unsure"),
    b: () => toggle("bad_problem"),
    z: () => send(() => ({ kind: "undo" })),
    n: () => follow('a[rel="next"]'),
    p: () => follow('a[rel="prev"]'),
    a: () => accept(root.querySelector("[data-kind=accept]")),
    c: () => current >= 0 && comment(current),
    C: () => comment(null),
    s: finish,
    Enter: finish,
  };

  // Before the keys of all pages.
  document.addEventListener(
    "keydown",
    (event) => {
      const isField = event.target.closest("input, textarea, select, dialog") !== null;
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isField) {
        return;
      }
      // Enter on a button or a link is a click.
      if (event.key === "Enter" && event.target.closest("button, a, summary")) {
        return;
      }
      const action = keys[event.key];
      if (action) {
        event.preventDefault();
        event.stopImmediatePropagation();
        action();
      }
    },
    { capture: true },
  );

  show();
  const unmarked = state.missing.length ? state.missing[0] : 0;
  setCurrent(unmarked, false);
}
