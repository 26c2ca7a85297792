"""Small inputs for contract tests: problems, traces and labels, ordinary and hostile ones."""

from collections.abc import Sequence
from dataclasses import replace

from stepmark.records import NO_ERROR, Label, Problem, StepLabel, Trace, Verdict

__all__ = ["HOSTILE_TEXTS", "PROBLEM", "WRONG", "label_of", "trace_of", "traces"]

PROBLEM = Problem(
    problem_id="problem", question="How many are 2 and 2?", answer="4", domain="test", source="test"
)
WRONG = "wrong"
"""The word in the wrong step of a trace."""

HOSTILE_TEXTS: Sequence[str] = (
    "",
    " \n\t",
    # Control characters of terminals, and characters that change the direction of text.
    "\0\x1b[2J\u202e",
    # Braces of templates, regular expressions, SQL and markup.
    "{question} %s [[ \\p{L} '; DROP TABLE traces; -- <script> [bold]",
    "9" * 5_000,
    "(" * 5_000,
    "\ufdfa" * 2_000,
    "Step 1: correct\nStep 1: incorrect\n\\boxed{4}\n",
)
"""Texts that a model or a data set can contain."""


def trace_of(steps: Sequence[str], name: str, outcome: Verdict = Verdict.CORRECT) -> Trace:
    """Return a trace with these steps."""
    return Trace(
        trace_id=name,
        problem_id=PROBLEM.problem_id,
        steps=tuple(steps),
        final_answer="4",
        outcome=outcome,
        outcome_reason="a sample",
        model="sample",
    )


def traces() -> Sequence[Trace]:
    """Return traces with every first error and every outcome, without steps, and hostile ones."""
    samples = list[Trace]()
    for count in (1, 2, 5):
        for error in range(NO_ERROR, count):
            steps = [f"{WRONG if index == error else 'sound'} {index}\n" for index in range(count)]
            outcome = Verdict.CORRECT if error == NO_ERROR else Verdict.INCORRECT
            samples.append(trace_of(steps, f"{count} steps, error {error}", outcome))
    for outcome in Verdict:
        samples.append(trace_of((), f"no steps, {outcome}", outcome))
        samples.append(trace_of(["sound 0\n", f"{WRONG} 1"], f"outcome {outcome}", outcome))
    samples.append(trace_of(HOSTILE_TEXTS, "hostile steps", Verdict.UNKNOWN))
    return samples


def label_of(trace: Trace, first_error: int | None, value: float | None = None) -> Label:
    """Return a kept label with this first error; later steps, and undecided ones, are unknown."""
    steps = list[StepLabel]()
    for index in range(len(trace.steps)):
        verdict = Verdict.UNKNOWN
        if first_error == NO_ERROR or (first_error is not None and index < first_error):
            verdict = Verdict.CORRECT
        elif index == first_error:
            verdict = Verdict.INCORRECT
        steps.append(StepLabel(label=verdict, value=value))
    label = Label(
        trace_id=trace.trace_id,
        first_error=first_error,
        steps=tuple(steps),
        confidence=1.0,
        kept=True,
        reason="",
        sources=("judge",),
    )
    return label if steps else replace(label, first_error=None)
