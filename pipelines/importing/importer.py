"""Read existing solutions as problems, traces and annotations by the methods that labelled them.

Labels made by people become annotations of the method `human`; other labels become annotations of
a method that is named after the dataset. Nothing is graded here: a trace whose row has no outcome
gets the outcome unknown with the reason "not graded".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from problems.solution_formats.base import HUMAN, ImportedSolution, SolutionFormat
from problems.tabular.columns import UnusableError, require_columns
from problems.tabular.plain_columns import LABEL_BASES, LabelEvidence, PlainColumns
from problems.tabular.problem_formats import problem_format_of
from problems.tabular.readers import Row, expand, read
from stepmark import plugins
from stepmark import steps as splitting
from stepmark.errors import ConfigError, InputError
from stepmark.final_answers import final_answer
from stepmark.identity import content_id
from stepmark.plugin_files import is_file
from stepmark.records import (
    NO_ERROR,
    Annotation,
    Problem,
    Rejected,
    Trace,
    Verdict,
    first_error_of,
)
from storage.dataset.tables import is_method

__all__ = ["OTHER_LABELS", "Imported", "import_traces", "label_base", "reader_of"]

SHAPES = "problems.shapes"
OTHER_LABELS = "other labels than the same trace has"
"""The start of the reason for which a repeated trace with other labels is rejected."""
UNKNOWN_MODEL = "unknown"
# The part of a rejected method name that an error message quotes.
QUOTED_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One imported solution. Solutions of the same problem have equal problem records."""

    problem: Problem
    trace: Trace
    annotations: tuple[Annotation, ...]
    """One annotation per method that labelled the solution."""


def import_traces(
    paths: Sequence[str],
    *,
    shape: str = "",
    fields: Mapping[str, str] = MappingProxyType({}),
    split: str = "line",
    min_step_chars: int = 0,
    domain: str = "",
    license: str = "",
    labels_by: str = HUMAN,
    labels_from: int | None = None,
) -> Iterator[Imported | Rejected]:
    """Read the solutions in files, in order.

    Args:
        paths: Files or glob patterns.
        shape: A plugin of `problems.shapes`, a shape of `problems.files`, or "" for plain columns.
        fields: Maps Stepmark fields to columns, as for `problems.files`, and in addition
            `solution`, `steps`, `label`, `step_labels`, `correct`, `model`, `final_answer` and
            `metadata.NAME` of the trace.
        split: How a solution text is split into steps.
        min_step_chars: A step of a text with fewer characters is joined with another one.
        domain: The domain of problems whose rows name none; "" for that of the shape.
        license: The licence of problems whose rows name none.
        labels_by: The method that made the labels in mapped columns.
        labels_from: The number of the first step in mapped labels, 0 or 1; None to find it out.

    Yields:
        The solutions. A row or solution that cannot be used is `Rejected`, and so is a repeated
        trace.

    Raises:
        UserError: An argument is invalid or a file cannot be read; mostly before the first row.
    """
    reader = reader_of(
        shape, fields, split=split, min_step_chars=min_step_chars, labels_by=labels_by
    )
    files = expand(paths)
    base = label_base(reader, files, labels_from)
    if isinstance(reader, PlainColumns) and base is not None:
        reader = replace(reader, labels_from=base)
    importer = _Importer(reader=reader, domain=domain or reader.domain, license=license)
    return importer.read_files(files)


def label_base(
    reader: SolutionFormat | PlainColumns, files: Sequence[Path], labels_from: int | None = None
) -> int | None:
    """Return the number that the labels in files have for the first step.

    None for a reader whose format defines it.

    Args:
        reader: The reader of the files.
        files: The files.
        labels_from: The number that the user states.

    Raises:
        ConfigError: The user states a number that the reader does not accept.
        InputError: The labels may be counted from 0 or from 1.
    """
    if labels_from is not None:
        if not isinstance(reader, PlainColumns):
            raise ConfigError(
                "this shape defines how its labels are counted: leave out --labels-from"
            )
        if labels_from not in LABEL_BASES:
            raise ConfigError(f"--labels-from {labels_from}: labels are counted from 0 or 1")
        return labels_from
    if not isinstance(reader, PlainColumns):
        return None
    if not reader.has_unknown_base:
        return reader.labels_from
    evidence = LabelEvidence()
    for path in files:
        for row in read(path):
            if isinstance(row, Row):
                reader.add_evidence(row, evidence)
    base = evidence.base()
    if base is None:
        raise InputError(
            f"the labels in {', '.join(map(str, files))} may be counted from 0 or from 1 "
            f"({evidence.description()}): add --labels-from 0 or --labels-from 1"
        )
    return base


def reader_of(
    shape: str,
    fields: Mapping[str, str],
    *,
    split: str,
    min_step_chars: int = 0,
    labels_by: str,
) -> SolutionFormat | PlainColumns:
    """Return the reader that turns rows into solutions.

    Raises:
        ConfigError: An argument is invalid, or the shape does not accept it.
    """
    splitter = splitting.Splitter(split, min_step_chars)
    if not is_method(labels_by):
        raise ConfigError(
            f"{labels_by[:QUOTED_CHARACTERS]!r} cannot name the method that made the labels; "
            "use a-z, 0-9 and _, at most 63, a letter first"
        )
    if shape not in plugins.available(SHAPES) and not is_file(shape):
        flat = problem_format_of(shape, fields, with_solutions=True)
        return PlainColumns(
            shape=replace(flat, domain=""),
            fields=fields,
            splitter=splitter,
            labels_by=labels_by,
            domain=flat.domain,
        )
    if fields or labels_by != HUMAN:
        raise ConfigError(
            f"the shape {shape} defines its columns and the method of its labels: "
            "leave out --map and --labels-by"
        )
    # The user has named a plugin file in the command, so it may be executed.
    reader: SolutionFormat = plugins.build(SHAPES, {"use": shape}, code_folder=Path())
    return reader


@dataclass(kw_only=True)
class _Importer:
    """A reader of files that stores the problems and the traces that it has read."""

    reader: SolutionFormat | PlainColumns
    domain: str
    license: str
    problems: dict[str, Problem] = field(default_factory=dict)
    first_rows: dict[str, tuple[Row, Imported]] = field(default_factory=dict)
    """The solution of each trace id, and the row that it is from."""

    def read_files(self, paths: Sequence[Path]) -> Iterator[Imported | Rejected]:
        for path in paths:
            for row in require_columns(read(path), self.reader.needed):
                if isinstance(row, Rejected):
                    yield row
                else:
                    yield from self._read_row(row, source=path.name)

    def _read_row(self, row: Row, source: str) -> Iterator[Imported | Rejected]:
        """Yield the solutions of one row; one unusable solution does not affect the others."""
        try:
            for solution in self.reader.solutions(row):
                if isinstance(solution, UnusableError):
                    yield solution.rejected(row)
                    continue
                item = self._imported(solution, source)
                trace_id = item.trace.trace_id
                if trace_id not in self.first_rows:
                    # Without the content of the row, which may be large.
                    self.first_rows[trace_id] = (row._replace(value={}), item)
                    yield item
                    continue
                reason = _repetition(*self.first_rows[trace_id], item)
                # Repetitions that the format intends (`repeats`) are skipped silently.
                if reason.startswith(OTHER_LABELS) or not solution.repeats:
                    yield UnusableError(solution.column, reason).rejected(row)
        except UnusableError as error:
            yield error.rejected(row)

    def _imported(self, solution: ImportedSolution, source: str) -> Imported:
        problem = self._problem(solution.problem, source)
        model = solution.model or UNKNOWN_MODEL
        metadata = solution.metadata
        if solution.separator is not None:
            metadata = {**metadata, splitting.SEPARATOR: solution.separator}
        trace = Trace(
            # The text and not the steps: another split of the same solution is the same trace.
            trace_id=content_id(
                "trace", "imported", problem.problem_id, model, "".join(solution.steps)
            ),
            problem_id=problem.problem_id,
            steps=solution.steps,
            final_answer=solution.final_answer or final_answer("".join(solution.steps)),
            outcome=solution.outcome,
            outcome_reason=solution.outcome_reason,
            model=model,
            metadata=metadata,
        )
        annotations = list[Annotation]()
        for method, steps in solution.annotations.items():
            annotations.append(
                Annotation(
                    trace_id=trace.trace_id,
                    method=method,
                    first_error=first_error_of([step.verdict for step in steps]),
                    steps=steps,
                    neutral_steps=tuple(solution.neutral_steps.get(method, ())),
                )
            )
        return Imported(problem=problem, trace=trace, annotations=tuple(annotations))

    def _problem(self, problem: Problem, source: str) -> Problem:
        """Return the record of a problem: the one of the first row that contains it."""
        if problem.problem_id not in self.problems:
            self.problems[problem.problem_id] = replace(
                problem,
                source=problem.source or source,
                domain=problem.domain or self.domain,
                license=problem.license or self.license,
            )
        return self.problems[problem.problem_id]


def _repetition(first_row: Row, first: Imported, repeated: Imported) -> str:
    """Return why a solution is rejected that repeats an earlier one.

    Args:
        first_row: The row of the earlier solution.
        first: The earlier solution, whose labels are kept.
        repeated: The solution with the same text.
    """
    differences = _differences(first, repeated)
    trace_id = first.trace.trace_id
    if not differences:
        return f"the same trace as an earlier one ({trace_id})"
    return (
        f"{OTHER_LABELS} in row {first_row.number} of {first_row.file}, whose labels are kept: "
        f"{'; '.join(differences)} ({trace_id})"
    )


def _differences(first: Imported, repeated: Imported) -> Sequence[str]:
    """Return how the labels and outcomes of two solutions with the same text differ."""
    differences = list[str]()
    labels = {annotation.method: annotation for annotation in first.annotations}
    for annotation in repeated.annotations:
        earlier = labels.get(annotation.method)
        if earlier is None:
            differences.append(f"{annotation.method} has labelled only this row")
        elif _verdicts(earlier) != _verdicts(annotation):
            differences.append(
                f"the first error by {annotation.method} is {_described(annotation)} here, "
                f"{_described(earlier)} there"
            )
    outcomes = (repeated.trace.outcome, first.trace.outcome)
    if Verdict.UNKNOWN not in outcomes and outcomes[0] is not outcomes[1]:
        differences.append(f"the answer is {outcomes[0]} here, {outcomes[1]} there")
    return differences


def _verdicts(annotation: Annotation) -> Sequence[tuple[Verdict, float | None]]:
    return [(step.verdict, step.value) for step in annotation.steps]


def _described(annotation: Annotation) -> str:
    """Return the first error of an annotation in words: step indices start at 0."""
    if annotation.first_error is None:
        return "undecided"
    if annotation.first_error == NO_ERROR:
        return "none"
    return f"step {annotation.first_error}"
