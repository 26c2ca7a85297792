"""The page of one trace: a row for each step, and the evidence behind the verdicts on it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stepmark.records import (
    Annotation,
    Critique,
    Label,
    Rollout,
    StepAnnotation,
    StepLabel,
    Verdict,
)
from storage.dataset.tables import ORACLE, is_human
from viewer.trace_records import TraceRecords

__all__ = ["Cell", "Evidence", "MethodColumn", "StepRow", "evidence", "method_columns", "step_rows"]

# The quantile of the normal distribution for an interval of 95 %.
Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one method says about one step."""

    method: str
    verdict: str
    """A verdict, or "neutral"; "" if the method has no annotation of the step."""
    step: StepAnnotation | None = None
    low: float | None = None
    """The lower end of the 95 % interval of the share of successes; None without trials."""
    high: float | None = None
    probability: float | None = None
    """The posterior probability that this step is the first error; None if there is none."""
    is_first_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of a trace."""

    index: int
    text: str
    label: StepLabel | None
    is_first_error: bool
    """Whether the label, or without one a gold method, names this step."""
    cells: Sequence[Cell]
    disagrees: bool
    """Whether a method calls the step correct and another one incorrect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodColumn:
    """The annotation of a trace by one method, as the head of a column."""

    annotation: Annotation
    is_gold: bool
    no_error: float | None
    """The posterior probability that the trace has no error; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CritiqueView:
    """A reply of a judge, with the passage about one step."""

    critique: Critique
    verdict: str
    before: str
    quoted: str
    """The passage about the step; "" if the reply names no step."""
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the verdicts on one step are based on."""

    step: StepRow
    rollouts: Sequence[Rollout]
    """The rollouts that begin after this step."""
    critiques: Sequence[CritiqueView]
    rationales: Sequence[Cell]


def method_columns(records: TraceRecords) -> Sequence[MethodColumn]:
    """Return the columns of the methods: gold ones first."""
    columns = []
    for annotation in records.annotations:
        no_error: float | None = None
        if annotation.posterior:
            no_error = annotation.posterior[-1]
        columns.append(
            MethodColumn(
                annotation=annotation,
                is_gold=_is_gold(annotation.method),
                no_error=no_error,
            )
        )
    columns.sort(key=lambda entry: not entry.is_gold)
    return columns


def step_rows(records: TraceRecords) -> Sequence[StepRow]:
    """Return the rows of the steps."""
    columns = method_columns(records)
    first_error = _first_error(records.label, columns)
    rows = []
    for index, text in enumerate(records.trace.steps):
        cells = [_cell(column.annotation, index) for column in columns]
        verdicts = {cell.verdict for cell in cells}
        label: StepLabel | None = None
        # A label that is older than its trace can have fewer steps.
        if records.label is not None and index < len(records.label.steps):
            label = records.label.steps[index]
        rows.append(
            StepRow(
                index=index,
                text=text,
                label=label,
                is_first_error=index == first_error,
                cells=cells,
                disagrees={Verdict.CORRECT, Verdict.INCORRECT} <= verdicts,
            )
        )
    return rows


def evidence(
    records: TraceRecords, index: int, rollouts: Sequence[Rollout], critiques: Sequence[Critique]
) -> Evidence:
    """Return the evidence about one step.

    Args:
        records: The trace.
        index: The index of the step.
        rollouts: All rollouts of the trace.
        critiques: All critiques of the trace.
    """
    row = step_rows(records)[index]
    views = []
    for critique in critiques:
        if critique.step is None or critique.step == index:
            views.append(_critique_view(critique, index))
    return Evidence(
        step=row,
        rollouts=[rollout for rollout in rollouts if rollout.prefix_steps == index + 1],
        critiques=views,
        rationales=[cell for cell in row.cells if cell.step is not None and cell.step.rationale],
    )


def _is_gold(method: str) -> bool:
    return method == ORACLE or is_human(method)


def _first_error(label: Label | None, columns: Sequence[MethodColumn]) -> int | None:
    if label is not None:
        return label.first_error
    for column in columns:
        if column.is_gold:
            return column.annotation.first_error
    return None


def _cell(annotation: Annotation, index: int) -> Cell:
    if index >= len(annotation.steps):
        return Cell(method=annotation.method, verdict="")
    step = annotation.steps[index]
    verdict: str = step.verdict
    # Stored as correct, see `Annotation.neutral_steps`.
    if index in annotation.neutral_steps:
        verdict = "neutral"
    probability: float | None = None
    # The last entry is that of no error. A damaged dataset can have fewer entries than steps.
    if index < len(annotation.posterior) - 1:
        probability = annotation.posterior[index]
    low: float | None = None
    high: float | None = None
    if step.trials and 0 <= step.successes <= step.trials:
        low, high = _wilson_interval(step.successes, step.trials)
    return Cell(
        method=annotation.method,
        verdict=verdict,
        step=step,
        low=low,
        high=high,
        probability=probability,
        is_first_error=annotation.first_error == index,
    )


def _wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the Wilson score interval of 95 % (Wilson 1927, JASA 22:209)."""
    share = successes / trials
    scale = 1 + Z**2 / trials
    center = (share + Z**2 / (2 * trials)) / scale
    margin = Z / scale * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return max(0.0, center - margin), min(1.0, center + margin)


def _critique_view(critique: Critique, index: int) -> CritiqueView:
    """Return a reply with the passage about a step: from the line that names it to the next one."""
    verdict = ""
    if critique.step == index and critique.verdicts:
        verdict = critique.verdicts[0]
    elif critique.step is None and index < len(critique.verdicts):
        verdict = critique.verdicts[index]
    start = 0
    end = 0
    # A reply that is about one step has no other passages.
    if critique.step is None:
        start, end = _passage(critique.text, index)
    return CritiqueView(
        critique=critique,
        verdict=verdict,
        before=critique.text[:start],
        quoted=critique.text[start:end],
        after=critique.text[end:],
    )


def _passage(text: str, index: int) -> tuple[int, int]:
    """Return where the passage about a step begins and ends; both 0 if there is none.

    Prompts number the steps from 1.
    """
    start: int | None = None
    for match in re.finditer(r"(?im)^[^\w\n]*(?:step|paragraph)\W{0,3}(\d{1,6})\b", text):
        if start is not None:
            return start, match.start()
        if int(match[1]) == index + 1:
            start = match.start()
    if start is None:
        return 0, 0
    return start, len(text)
