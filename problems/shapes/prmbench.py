"""PRMBench: right solutions, and what a model made of them when it was told to plant an error of a kind (arXiv 2501.03124).

A row is two traces: `original_process`, in which every step is right, and `modified_process`, in which the steps of `error_steps`
(counted from 1) are wrong and the others right. The labels were planned by the model that planted them and checked by people: they
are annotations of method `human`. The kind of error is kept as `classification`; a `redundency` is a step too many rather than a false
one, and leaving such classes out is the reader's choice. Rows share originals, which become one trace.

Step numbers that the process does not have (about 3 of 100 published rows) set the modified trace aside, not the original one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems._columns import UnusableError, at, number_or_text_at, text_of
from problems._rows import Row
from problems.shapes.base import HUMAN, Solution, list_at, noted, problem_of, said_of, texts_at
from stepmark.records import Verdict
from stepmark.steps import joinable

__all__ = ["PrmBench"]

ERRORS = "error_steps"


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """Two traces a row, annotated as `human`."""

    version: ClassVar[int] = 1
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("original_process",), ("modified_process",), (ERRORS,))

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The original trace, and the modified one."""
        for kind in ("original", "modified"):
            try:
                yield _solution(row, kind)
            except UnusableError as error:
                yield error


def _solution(row: Row, kind: str) -> Solution:
    original = kind == "original"
    question = text_of(at(row.value, f"{kind}_question"), f"{kind}_question")
    steps, separator = joinable(texts_at(row.value, f"{kind}_process"))
    wrong = frozenset() if original else _errors(row, len(steps))
    said = (said_of(Verdict.INCORRECT if index in wrong else Verdict.CORRECT) for index in range(len(steps)))
    return Solution(
        problem=problem_of(question, number_or_text_at(row.value, "ground_truth")),
        column=f"{kind}_process",
        steps=steps,
        separator=separator,
        annotations={HUMAN: tuple(said)},
        metadata={"process": kind, **noted(row.value, *(("idx",) if original else ("idx", "classification", "reason")))},
        repeats=original,
    )


def _errors(row: Row, count: int) -> frozenset[int]:
    given = list_at(row.value, ERRORS)
    for index, number in enumerate(given):
        if isinstance(number, bool) or number not in range(1, count + 1):
            raise UnusableError(f"{ERRORS}.{index}", f"not the number of one of {count} steps, counted from 1")
    return frozenset(int(number) - 1 for number in given)
