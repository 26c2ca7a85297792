"""Solutions that exist already become problems, traces and, where people marked the first wrong step, `human` annotations.

Steps given as a list stay the steps. Where no step but the last ends in a line break, the list holds paragraphs, and each but
the last gets the blank line back that stood behind it, so that the joined steps are a text again; otherwise they are kept as they are.
A solution given as one text is cut by `split`; a label beside it counts the steps of that very cut.

Nothing is graded here: a trace whose row does not say whether it ends right has the outcome unknown, "not graded".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from problems._columns import MAX_CHARACTERS, UnusableError, at, number_or_text_at, text_of, with_columns
from problems._rows import Row, expand, read
from problems._shapes import Shape, metadata_of, needed_columns, shape_of
from stepmark import steps as splitting
from stepmark.answers import final_answer
from stepmark.identity import digest
from stepmark.records import NO_ERROR, Annotation, Problem, Rejected, StepAnnotation, Trace, Verdict

__all__ = ["NOT_GRADED", "Imported", "import_traces"]

NOT_GRADED = "not graded"
HUMAN = "human"
NO_MODEL = "unknown"
PARAGRAPH_BREAK = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One solution. Solutions of the same problem carry equal `problem_id`s; the annotation is there when the row has a label."""

    problem: Problem
    trace: Trace
    annotation: Annotation | None


def import_traces(
    paths: Sequence[str],
    *,
    shape: str = "",
    fields: Mapping[str, str] = MappingProxyType({}),
    split: str = "line",
    domain: str = "",
    license: str = "",
) -> Iterator[Imported | Rejected]:
    """Read the solutions in files, in order; a row, or a solution, that cannot be used is `Rejected`, and so is a repeated trace.

    `shape` and `fields` are those of `problems.files`, and `fields` maps solution, steps, label, correct, model and final_answer
    too (`metadata.NAME` goes to the trace). Wrong arguments and unreadable files are a `UserError`, most of them before the first row.
    """
    splitting.validate(split)
    known = replace(shape_of(shape, fields, with_solutions=True), license=license)
    known = replace(known, domain=domain or known.domain)
    return _of_files(expand(paths), known, needed_columns(known, fields), split)


def _of_files(paths: Sequence[Path], shape: Shape, needed: Sequence[Sequence[str]], split: str) -> Iterator[Imported | Rejected]:
    seen: set[str] = set()
    needed = [*needed, [shape.solutions[name] for name in ("solution", "steps") if name in shape.solutions]]
    for path in paths:
        of_file = replace(shape, source=path.name)
        for row in with_columns(read(path), needed):
            if isinstance(row, Rejected):
                yield row
            else:
                yield from _of_row(row, of_file, split, seen)


def _of_row(row: Row, shape: Shape, split: str, seen: set[str]) -> Iterator[Imported | Rejected]:
    try:
        problem = shape.problem(row)
    except UnusableError as error:
        yield error.rejected(row)
        return
    solutions = list(_solutions(row, shape.solutions))
    if not solutions:
        yield UnusableError(shape.solutions.get("solution", shape.solutions.get("steps", "")), "no solution in this row").rejected(row)
    for columns, model in solutions:
        try:
            yield _imported(row, problem, columns, model, split, seen)
        except UnusableError as error:
            yield error.rejected(row)


def _solutions(row: Row, columns: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], str]]:
    """The columns of each solution of the row, and the model that a `*` stands for."""
    starred = next((column for name in ("solution", "steps") if (column := columns.get(name, "")).startswith("*.")), "")
    if not starred:
        yield columns, NO_MODEL
        return
    for model, value in row.value.items():
        if isinstance(value, Mapping) and at(value, starred[2:]) is not None:
            yield {ours: f"{model}{theirs[1:]}" if theirs.startswith("*.") else theirs for ours, theirs in columns.items()}, model


def _imported(row: Row, problem: Problem, columns: Mapping[str, str], model: str, split: str, seen: set[str]) -> Imported:
    trace = _trace(row, problem, columns, model, split)
    label = _label(row, columns, len(trace.steps))
    if trace.trace_id in seen:
        field = columns.get("solution") or columns["steps"]
        raise UnusableError(field, f"the same trace as an earlier one ({trace.trace_id})")
    seen.add(trace.trace_id)
    return Imported(problem=problem, trace=trace, annotation=None if label is None else _annotation(trace, label))


def _trace(row: Row, problem: Problem, columns: Mapping[str, str], model: str, split: str) -> Trace:
    steps = _steps(row, columns, split)
    model = _text(row, columns, "model") or model
    outcome, reason = _outcome(row, columns)
    return Trace(
        trace_id=digest("trace", "imported", problem.problem_id, model, steps),
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=_text(row, columns, "final_answer") or final_answer("".join(steps)),
        outcome=outcome,
        outcome_reason=reason,
        model=model,
        metadata=metadata_of(row, columns),
    )


def _steps(row: Row, columns: Mapping[str, str], split: str) -> tuple[str, ...]:
    listed, column = _value(row, columns, "steps"), columns.get("steps", "")
    if listed is None:
        text = text_of(_value(row, columns, "solution"), columns.get("solution", column))
        return splitting.split(text, split)
    if not isinstance(listed, list | tuple) or not listed:
        raise UnusableError(column, "an empty list" if listed == [] else f"a {type(listed).__name__}, not a list of steps")
    steps = [text_of(step, f"{column}.{index}") for index, step in enumerate(listed)]
    if sum(map(len, steps)) > MAX_CHARACTERS:
        raise UnusableError(column, f"longer than {MAX_CHARACTERS:,} characters")
    return _joinable(steps)


def _joinable(steps: Sequence[str]) -> tuple[str, ...]:
    *before, last = steps
    if any(step.endswith("\n") for step in before):
        return tuple(steps)
    return (*(step + PARAGRAPH_BREAK for step in before), last)


def _outcome(row: Row, columns: Mapping[str, str]) -> tuple[Verdict, str]:
    value = _value(row, columns, "correct")
    if value is None:
        return Verdict.UNKNOWN, NOT_GRADED
    right = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
    if right is None:
        raise UnusableError(columns["correct"], "neither true nor false")
    return Verdict.CORRECT if right else Verdict.INCORRECT, f"as given: {columns['correct']} = {'true' if right else 'false'}"


def _label(row: Row, columns: Mapping[str, str], count: int) -> int | None:
    """The first wrong step that people marked, None where they marked nothing."""
    value = _text(row, columns, "label")
    if value is None:
        return None
    number = value.removesuffix(".0")
    if not number.removeprefix("-").isdecimal() or len(number) > len(str(MAX_CHARACTERS)):
        raise UnusableError(columns["label"], "not a step's index")
    label = int(number)
    if not NO_ERROR <= label < count:
        raise UnusableError(columns["label"], f"{label}, where the {count} steps are 0 to {count - 1} and {NO_ERROR} is none")
    return label


def _annotation(trace: Trace, label: int) -> Annotation:
    """Correct before the marked step, incorrect at it; what people stopped reading at is unknown."""
    count = len(trace.steps)
    right = count if label == NO_ERROR else label
    verdicts = [Verdict.CORRECT] * right + [Verdict.INCORRECT] * (right < count) + [Verdict.UNKNOWN] * (count - right - 1)
    return Annotation(
        trace_id=trace.trace_id,
        method=HUMAN,
        first_error=label,
        steps=tuple(StepAnnotation(verdict=verdict) for verdict in verdicts),
    )


def _value(row: Row, columns: Mapping[str, str], name: str) -> Any:
    return at(row.value, columns[name]) if name in columns else None


def _text(row: Row, columns: Mapping[str, str], name: str) -> str | None:
    return number_or_text_at(row.value, columns[name]) if name in columns else None
