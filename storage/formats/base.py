"""The protocol of trainer formats, and the functions that formats share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from stepmark.records import NO_ERROR, Label, Problem, Trace, Verdict, first_error_of
from stepmark.steps import SEPARATOR, remove_separator

__all__ = [
    "Example",
    "Format",
    "HasRowCount",
    "HasValues",
    "LeftOut",
    "Row",
    "list_in",
    "number_in",
    "supervised_steps",
    "written_steps",
]

Row = Mapping[str, Any]
Number = TypeVar("Number", int, float)
# Columns of whole numbers are signed 64-bit integers.
NUMBER_LIMIT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A labelled trace with its problem; the label has one entry per step of the trace."""

    problem: Problem
    trace: Trace
    label: Label
    neutral_steps: tuple[int, ...] = ()
    """The indices of the steps that the source of the label rates as neutral. The label has the
    verdict that they are mapped to."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An example that is not exported.

    `reason` is one of a few fixed texts, so that exports can count the reasons.
    """

    reason: str


class Format(Protocol):
    """A trainer's format, written as Parquet with the schema `schema`."""

    version: ClassVar[int]
    schema: ClassVar[pa.Schema]
    split: ClassVar[str]
    """The split of the exported rows: "train", or "test" for a benchmark."""

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """Yield the rows of the examples, and a `LeftOut` for each that cannot be represented."""
        ...


@runtime_checkable
class HasRowCount(Protocol):
    """A format whose rows can be counted by SQL, for the summary of a run."""

    row_count: ClassVar[str]
    """An aggregate over the kept labels: the number of rows with the default parameters.

    The columns are those of `storage.queries.format_rows`.
    """


@runtime_checkable
class HasValues(Protocol):
    """A format that contains the values of the steps; other formats contain only their labels."""

    value_column: ClassVar[str]


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
    example: Example, *, cut_after_error: bool
) -> list[tuple[str, bool]] | LeftOut:
    """Return the steps to train on, as (text, is correct).

    Args:
        example: A labelled trace.
        cut_after_error: Whether the trace ends at its first error. Steps that build on an error
            cannot be judged as correct or incorrect (Qwen, arXiv 2501.07301).

    Returns:
        The steps, or the reason to leave the trace out: a trace with an undecided step would have a
        gap.
    """
    verdicts = [step.label for step in example.label.steps]
    first_error = first_error_of(verdicts)
    if cut_after_error and first_error is not None and first_error != NO_ERROR:
        verdicts = verdicts[: first_error + 1]
    if not verdicts:
        return LeftOut("it has no steps")
    if Verdict.UNKNOWN in verdicts:
        return LeftOut("a step is undecided")
    texts = written_steps(example.trace)[: len(verdicts)]
    if not all(text.strip() for text in texts):
        return LeftOut("a step is blank")
    correct = [verdict is Verdict.CORRECT for verdict in verdicts]
    return list(zip(texts, correct, strict=True))
