"""The protocol of trainer formats, and the functions that formats share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

import pyarrow as pa

from stepmark.records import (
    Annotation,
    Critique,
    Label,
    Problem,
    Rollout,
    Trace,
    Verdict,
    first_error_of,
)
from stepmark.steps import SEPARATOR, remove_separator

__all__ = [
    "NOT_BLANK",
    "AfterError",
    "Example",
    "ExportedRow",
    "Format",
    "HasFileType",
    "HasRowCount",
    "HasSoftLabels",
    "LeftOut",
    "ProblemFormat",
    "ReadsEvidence",
    "Row",
    "SupervisedStep",
    "TakesMergedSteps",
    "TraceFormat",
    "decided_first_error",
    "exported_rows",
    "list_in",
    "number_in",
    "supervised_steps",
    "written_steps",
]

Row = Mapping[str, Any]
Number = TypeVar("Number", int, float)
# Columns of whole numbers are signed 64-bit integers.
NUMBER_LIMIT = 2**63
NOT_BLANK = r"[^\s\x0b\x1c-\x1f\x85\p{Z}]"
"""A character that is not white space, as `str.strip` finds it, in the patterns of DuckDB."""
HARD_TARGETS: Mapping[Verdict, float | None] = {
    Verdict.CORRECT: 1.0,
    Verdict.INCORRECT: 0.0,
    Verdict.UNKNOWN: None,
}


AfterError: TypeAlias = Literal["drop", "mask", "keep"]
"""What happens to the steps after the first error: the trace ends there, or they are in the text
and train nothing, or they train with their own labels.

Steps that build on an error cannot be judged as correct or incorrect (Qwen, arXiv 2501.07301).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A labelled trace with its problem; the label has one entry per step of the trace."""

    problem: Problem
    trace: Trace
    label: Label
    neutral_steps: tuple[int, ...] = ()
    """The indices of the steps that the source of the label rates as neutral. The label has the
    verdict that they are mapped to."""
    critiques: Sequence[Critique] = ()
    """The replies of judges on the trace. Like the tables below, empty unless the format reads it
    (`ReadsEvidence`)."""
    rollouts: Sequence[Rollout] = ()
    """The rollouts from prefixes of the trace."""
    annotations: Sequence[Annotation] = ()
    """The annotations of the trace by all methods."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An example, or a part of one, that is not exported.

    `reason` is one of a few fixed texts, so that exports can count the reasons.
    """

    reason: str


class ExportedRow(NamedTuple):
    """A row, and the examples that it was made of: those whose text it contains."""

    row: Row
    examples: Sequence[Example]


class Format(Protocol):
    """A trainer's format, written as Parquet with the schema `schema`.

    A format is either a `TraceFormat` or a `ProblemFormat`. It can have these fields, which options
    of `stepmark export` set, with the types that restrict them to what the format can express:
    `after_error: AfterError` and `soft: bool`.
    """

    version: ClassVar[int]
    schema: ClassVar[pa.Schema]
    split: ClassVar[str]
    """The split of the exported rows: "train", or "test" for a benchmark."""


@runtime_checkable
class TraceFormat(Format, Protocol):
    """A format whose rows are each made of one trace."""

    def rows(self, example: Example) -> Iterable[Row | LeftOut]:
        """Return the rows of an example, and a `LeftOut` for each that cannot be represented."""
        ...


@runtime_checkable
class ProblemFormat(Format, Protocol):
    """A format whose rows are made of several traces of a problem, for instance of pairs."""

    def problem_rows(self, examples: Sequence[Example]) -> Iterable[ExportedRow | LeftOut]:
        """Return the rows of all examples of one problem; otherwise as `TraceFormat.rows`."""
        ...


@runtime_checkable
class ReadsEvidence(Protocol):
    """A format that needs more than the label: its examples contain the rows of these tables."""

    reads: ClassVar[frozenset[str]]
    """Some of "critiques", "rollouts" and "annotations"."""


@runtime_checkable
class HasRowCount(Protocol):
    """A format whose rows can be counted by SQL, for the summary of a run."""

    row_count: ClassVar[str]
    """An aggregate over the kept labels: the number of rows with the default parameters.

    The columns are those of `storage.queries.format_rows`.
    """


@runtime_checkable
class HasSoftLabels(Protocol):
    """A format that can contain the values of the steps; other formats contain only verdicts."""

    soft: bool
    """Whether it contains values: a field, or a constant if it never contains verdicts."""


@runtime_checkable
class TakesMergedSteps(Protocol):
    """A format for training on steps: a trace with merged steps gives a row of other steps.

    Other formats repeat the solution, whose merged label can lack an error of the solution, or they
    refer to the steps of the stored trace, as benchmarks and annotation tools do.
    """

    takes_merged_steps: ClassVar[bool]
    """True."""


@runtime_checkable
class HasFileType(Protocol):
    """A format for a tool that does not read Parquet."""

    file_type: ClassVar[str]
    """The ending of the files: "jsonl"."""


class SupervisedStep(NamedTuple):
    """A step of a training text."""

    text: str
    target: float | None
    """1 for a correct step and 0 for an incorrect one, or the value of the step as a soft label.
    None if the step is masked: it is a part of the text, and trains nothing."""


def exported_rows(exporter: Format, examples: Iterable[Example]) -> Iterator[ExportedRow | LeftOut]:
    """Yield the rows of a format; `examples` are all those of some problems."""
    if isinstance(exporter, ProblemFormat):
        by_problem: dict[str, list[Example]] = {}
        for example in examples:
            by_problem.setdefault(example.problem.problem_id, []).append(example)
        for problem_examples in by_problem.values():
            yield from exporter.problem_rows(problem_examples)
        return
    assert isinstance(exporter, TraceFormat), "a format has `rows` or `problem_rows`"
    for example in examples:
        for item in exporter.rows(example):
            yield item if isinstance(item, LeftOut) else ExportedRow(item, (example,))


def number_in(
    metadata: Mapping[str, str], name: str, kind: Callable[[str], Number]
) -> Number | None:
    """Parse a number from metadata; None if it is missing, invalid or too large for a column."""
    try:
        number = kind(metadata[name])
    except (KeyError, ValueError):
        return None
    return number if abs(number) < NUMBER_LIMIT else None


def list_in(metadata: Mapping[str, str], name: str, kind: pa.DataType) -> list[Any] | None:
    """Parse a JSON list of an Arrow type from metadata; None if it is missing or invalid."""
    try:
        # In a list of one, because an array has one value per row.
        array = pa.array([json.loads(metadata[name])], type=kind)
        items: list[Any] | None = array.to_pylist()[0]
    # Arrow's own errors are subclasses of these.
    except (KeyError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return items


def decided_first_error(label: Label) -> int | None:
    """Return the first error of a label, or -1; None if the label or its steps do not decide it.

    Methods can decide the two apart. The votes of a judge, for example, can name different first
    errors and agree on each step, or agree on the first error and not on a step before it.
    """
    first_error = first_error_of([step.label for step in label.steps])
    return first_error if first_error == label.first_error else None


def written_steps(trace: Trace) -> list[str]:
    """Return the steps as separate texts.

    Imported steps that were a list are returned as they were. Other steps are stripped of white
    space.
    """
    separator = trace.metadata.get(SEPARATOR)
    if separator is None:
        return [step.strip() for step in trace.steps]
    return remove_separator(trace.steps, separator)


def supervised_steps(
    example: Example,
    *,
    after_error: AfterError = "drop",
    soft: bool = False,
    can_mask: bool = False,
) -> list[SupervisedStep] | LeftOut:
    """Return the steps to train on.

    Args:
        example: A labelled trace.
        after_error: What happens to the steps after the first one that is labelled incorrect.
        soft: Whether the targets are the values of the label instead of its verdicts.
        can_mask: Whether the format can represent a step that trains nothing. Otherwise an
            undecided step would be a gap, so the trace is left out.

    Returns:
        The steps, or the reason to leave the trace out.
    """
    targets: list[float | None]
    verdicts = [step.label for step in example.label.steps]
    if soft:
        targets = [step.value for step in example.label.steps]
    else:
        targets = [HARD_TARGETS[verdict] for verdict in verdicts]
    if after_error != "keep" and Verdict.INCORRECT in verdicts:
        end = verdicts.index(Verdict.INCORRECT) + 1
        masked_steps = len(targets) - end if after_error == "mask" else 0
        targets[end:] = [None] * masked_steps
    if not targets:
        return LeftOut("it has no steps")
    if None in targets:
        if not can_mask:
            return LeftOut("a step has no value" if soft else "a step is undecided")
        if targets.count(None) == len(targets):
            return LeftOut("no step has a value" if soft else "no step is decided")
    texts = written_steps(example.trace)[: len(targets)]
    if not all(map(str.strip, texts)):
        return LeftOut("a step is blank")
    return list(map(SupervisedStep, texts, targets))
