"""Solutions that exist already become problems, traces, and an annotation by each method that their rows hold labels of.

What people marked is an annotation of method `human`; labels that no person made are one of a method named after their data set.
Nothing is graded here: a trace whose row does not say whether it ends right has the outcome unknown, "not graded".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from problems.solution_formats.base import HUMAN, Shape, Solution
from problems.tabular.columns import UnusableError, with_columns
from problems.tabular.plain_columns import Flat
from problems.tabular.problem_formats import shape_of
from problems.tabular.readers import Row, expand, read
from stepmark import plugins
from stepmark import steps as splitting
from stepmark.errors import ConfigError
from stepmark.final_answers import final_answer
from stepmark.identity import digest
from stepmark.records import Annotation, Problem, Rejected, Trace, first_error_of
from storage.dataset.tables import is_method

__all__ = ["Imported", "import_traces", "reader_of"]

ROOM = "problems.shapes"
NO_MODEL = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One solution. Solutions of the same problem carry equal `problem_id`s; there is an annotation by each method that labelled it."""

    problem: Problem
    trace: Trace
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What the user says of all rows."""

    source: str = ""
    domain: str
    license: str


def import_traces(
    paths: Sequence[str],
    *,
    shape: str = "",
    fields: Mapping[str, str] = MappingProxyType({}),
    split: str = "line",
    domain: str = "",
    license: str = "",
    labels_by: str = HUMAN,
) -> Iterator[Imported | Rejected]:
    """Read the solutions in files, in order; a row, or a solution, that cannot be used is `Rejected`, and so is a repeated trace.

    `shape` is one of `problems/shapes/`, or it and `fields` are those of `problems.files`: `fields` maps solution, steps, label,
    step_labels, correct, model and final_answer too (`metadata.NAME` goes to the trace), and `labels_by` is the method that made the
    labels. Wrong arguments and unreadable files are a `UserError`, most of them before the first row.
    """
    reader = reader_of(shape, fields, split=split, labels_by=labels_by)
    return _of_files(
        expand(paths), reader, _Origin(domain=domain or reader.domain, license=license)
    )


def reader_of(shape: str, fields: Mapping[str, str], *, split: str, labels_by: str) -> Shape | Flat:
    """What reads the rows; `ConfigError` for what cannot be."""
    splitting.validate(split)
    if not is_method(labels_by):
        raise ConfigError(
            f"{labels_by[:80]!r} cannot name the method that made the labels; use a-z, 0-9 and _, at most 63, a letter first"
        )
    if shape not in plugins.available(ROOM):
        flat = shape_of(shape, fields, with_solutions=True)
        return Flat(
            shape=replace(flat, domain=""),
            fields=fields,
            split=split,
            labels_by=labels_by,
            domain=flat.domain,
        )
    if fields or labels_by != HUMAN:
        raise ConfigError(
            f"the shape {shape} knows its own columns and whose labels they hold: leave the map and the method out"
        )
    reader: Shape = plugins.build(ROOM, {"use": shape})
    return reader


def _of_files(
    paths: Sequence[Path], reader: Shape | Flat, said: _Origin
) -> Iterator[Imported | Rejected]:
    problems: dict[str, Problem] = {}
    seen: set[str] = set()
    for path in paths:
        origin = replace(said, source=path.name)
        for row in with_columns(read(path), reader.needed):
            if isinstance(row, Rejected):
                yield row
            else:
                yield from _of_row(row, reader, origin, problems, seen)


def _of_row(
    row: Row, reader: Shape | Flat, origin: _Origin, problems: dict[str, Problem], seen: set[str]
) -> Iterator[Imported | Rejected]:
    try:
        for found in reader.solutions(row):
            if isinstance(found, UnusableError):
                yield found.rejected(row)
                continue
            item = _imported(found, problems, origin)
            if item.trace.trace_id not in seen:
                seen.add(item.trace.trace_id)
                yield item
            elif not found.repeats:
                yield UnusableError(
                    found.column, f"the same trace as an earlier one ({item.trace.trace_id})"
                ).rejected(row)
    except UnusableError as error:
        yield error.rejected(row)


def _imported(found: Solution, problems: dict[str, Problem], origin: _Origin) -> Imported:
    # One record for all solutions of a problem, whatever row it was met in first.
    problem = problems.get(found.problem.problem_id) or problems.setdefault(
        found.problem.problem_id, _with_origin(found.problem, origin)
    )
    model = found.model or NO_MODEL
    trace = Trace(
        trace_id=digest("trace", "imported", problem.problem_id, model, found.steps),
        problem_id=problem.problem_id,
        steps=found.steps,
        final_answer=found.final_answer or final_answer("".join(found.steps)),
        outcome=found.outcome,
        outcome_reason=found.outcome_reason,
        model=model,
        metadata=found.metadata
        if found.separator is None
        else {**found.metadata, splitting.SEPARATOR: found.separator},
    )
    annotations = (
        Annotation(
            trace_id=trace.trace_id,
            method=method,
            first_error=first_error_of([step.verdict for step in steps]),
            steps=steps,
        )
        for method, steps in found.annotations.items()
    )
    return Imported(problem=problem, trace=trace, annotations=tuple(annotations))


def _with_origin(problem: Problem, origin: _Origin) -> Problem:
    return replace(
        problem,
        source=problem.source or origin.source,
        domain=problem.domain or origin.domain,
        license=problem.license or origin.license,
    )
