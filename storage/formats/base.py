"""What a trainer's format is, and what formats share: which steps of a trace can be trained on."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from stepmark.records import NO_ERROR, Label, Problem, Trace, Verdict, first_error_of
from stepmark.steps import SEPARATOR, listed

__all__ = [
    "Example",
    "Format",
    "LeftOut",
    "Row",
    "Valued",
    "list_in",
    "number_in",
    "supervised_steps",
    "written_steps",
]

Row = Mapping[str, Any]
N = TypeVar("N", int, float)
BIGGEST_NUMBER = 2**63
"""What a column of whole numbers holds is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A labelled trace and the problem it answers. The label has one entry per step of the trace."""

    problem: Problem
    trace: Trace
    label: Label


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An example that is not exported; `reason` is one of a few fixed texts, so that it can be counted."""

    reason: str


class Format(Protocol):
    """A trainer's format, written as Parquet under `schema`."""

    version: ClassVar[int]
    schema: ClassVar[pa.Schema]
    split: ClassVar[str]
    """The split that its rows are published as: "train", or "test" for a benchmark."""

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows, lazily; an example that the format cannot say honestly is a `LeftOut` in its place."""
        ...


def number_in(noted: Mapping[str, str], name: str, kind: Callable[[str], N]) -> N | None:
    """The number that an import noted under a name; None where there is none that a column could hold."""
    try:
        number = kind(noted[name])
    except (KeyError, ValueError):
        return None
    return number if abs(number) < BIGGEST_NUMBER else None


def list_in(noted: Mapping[str, str], name: str, kind: pa.DataType) -> list[Any] | None:
    """The list of this Arrow type that an import noted as JSON under a name; None where there is nothing, or something else."""
    try:
        found: list[Any] | None = pa.array([json.loads(noted[name])], type=kind).to_pylist()[0]
    except (
        KeyError,
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
    ):  # Arrow's own errors are of these kinds
        return None
    return found


@runtime_checkable
class Valued(Protocol):
    """A format that says the steps' values; the others say their labels alone."""

    value_column: ClassVar[str]


def written_steps(trace: Trace) -> list[str]:
    """The steps one by one: as they were listed where an import found them in a list, else without the white space around them."""
    separator = trace.metadata.get(SEPARATOR)
    return (
        [step.strip() for step in trace.steps]
        if separator is None
        else listed(trace.steps, separator)
    )


def supervised_steps(
    example: Example, *, cut_after_error: bool
) -> list[tuple[str, bool]] | LeftOut:
    """The steps to train on, as `written_steps` has them, and whether each is right.

    With `cut_after_error` the trace ends at its first wrong step: what is built on a mistake is neither right nor wrong
    (Qwen, arXiv 2501.07301). An undecided step trains nothing, and a trace is not taught with a hole in it.
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
    return [
        (text, verdict is Verdict.CORRECT) for text, verdict in zip(texts, verdicts, strict=True)
    ]
