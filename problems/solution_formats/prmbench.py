"""PRMBench: right solutions, and what a model made of them when it was told to plant an error of a kind (arXiv 2501.03124).

A row is two traces: `original_process`, in which every step is right, and `modified_process`, in which the steps of `error_steps`
(counted from 1) are wrong and the others right. The labels were planned by the model that planted them and checked by people: they
are annotations of method `human`. The kind of error is kept as `classification`; a `redundency` is a step too many rather than a false
one, and leaving such classes out is the reader's choice. Rows share originals, which become one trace; the modified one has what belongs to
its row alone in its metadata, its original too.

Step numbers that the process does not have (about 3 of 100 published rows) set the modified trace aside, not the original one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems.solution_formats.base import (
    HUMAN,
    Solution,
    list_at,
    noted,
    problem_of,
    said_of,
    texts_at,
)
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, at, number_or_text_at, text_of
from problems.tabular.readers import Row
from stepmark.records import Verdict
from stepmark.steps import joinable

__all__ = ["PrmBench"]

ERRORS = "error_steps"
KEPT = ("idx", "question", "original_question", "classification", "reason", "original_response")


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """Two traces a row, annotated as `human`."""

    version: ClassVar[int] = 2
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (
        ("original_process",),
        ("modified_process",),
        (ERRORS,),
    )

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
    said = (
        said_of(Verdict.INCORRECT if index in wrong else Verdict.CORRECT)
        for index in range(len(steps))
    )
    return Solution(
        problem=problem_of(question, number_or_text_at(row.value, "ground_truth")),
        column=f"{kind}_process",
        steps=steps,
        separator=separator,
        annotations={HUMAN: tuple(said)},
        metadata={"process": kind, **(noted(row.value, "idx") if original else _noted(row))},
        repeats=original,
    )


def _noted(row: Row) -> Mapping[str, str]:
    """What belongs to a row and neither to a problem nor to the steps: lists as JSON, and only what can be read."""
    lists = {"original_process": _original(row), "modified_steps": at(row.value, "modified_steps")}
    if not _is_whole(lists["modified_steps"]):
        del lists["modified_steps"]
    return {
        **noted(row.value, *KEPT),
        **{name: json.dumps(value) for name, value in lists.items() if value is not None},
    }


def _original(row: Row) -> Sequence[str] | None:
    try:
        return texts_at(row.value, "original_process")
    except UnusableError:
        return None


def _is_whole(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        type(number) is int and 0 <= number <= MAX_CHARACTERS for number in value
    )


def _errors(row: Row, count: int) -> frozenset[int]:
    given = list_at(row.value, ERRORS)
    for index, number in enumerate(given):
        if isinstance(number, bool) or number not in range(1, count + 1):
            raise UnusableError(
                f"{ERRORS}.{index}", f"not the number of one of {count} steps, counted from 1"
            )
    return frozenset(int(number) - 1 for number in given)
