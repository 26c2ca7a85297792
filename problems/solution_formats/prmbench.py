"""PRMBench: correct solutions, each with a variant into which a model injected an error.

Source: arXiv 2501.03124. An example row (shortened):

    {"original_question": "…", "modified_question": "…", "ground_truth": "8",
     "original_process": ["2 * 3 = 6", "2 + 6 = 8"],
     "modified_process": ["2 * 3 = 6", "2 + 6 = 9"],
     "modified_steps": [2], "error_steps": [2], "classification": "confidence", "idx": "…"}

A row contains two traces. All steps of `original_process` are correct. In `modified_process` the
steps in `error_steps` (counted from 1) are incorrect, the others correct. The labels were planned
by the model that injected the errors and checked by people, so they are annotations of method
`human`. `classification` stores the kind of error. A `redundency` is a superfluous step rather than
a false one; excluding such classes is left to the user.

Several rows share an original, which becomes one trace. The modified trace stores in its metadata
what belongs to its row, including the original.

About 2 of 100 published rows (53 of 3,096) have `error_steps` beyond the last step of
`modified_process`, which is shorter than the process that was numbered. The other numbers of these
rows cannot be trusted either, so the modified trace is rejected; the original one is kept. A few
rows have two equal processes, one without and one with errors: the second one is rejected as a
trace with other labels.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems.solution_formats.base import (
    HUMAN,
    ImportedSolution,
    annotation_of,
    list_at,
    metadata_at,
    problem_of,
    texts_at,
)
from problems.tabular.columns import (
    MAX_CHARACTERS,
    UnusableError,
    text_of,
    value_at,
)
from problems.tabular.readers import Row
from problems.tabular.references import reference_at
from stepmark.records import StepAnnotation, Verdict
from stepmark.steps import append_separator

__all__ = ["PrmBench"]

ORIGINAL = "original"
MODIFIED = "modified"
ERROR_STEPS = "error_steps"
# The columns that a modified trace stores in its metadata.
METADATA_COLUMNS = (
    "idx",
    "question",
    "original_question",
    "classification",
    "reason",
    "original_response",
)


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """Two traces per row, annotated as `human`."""

    version: ClassVar[int] = 3
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (
        ("original_process",),
        ("modified_process",),
        (ERROR_STEPS,),
    )

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the original trace, then the modified one."""
        for kind in (ORIGINAL, MODIFIED):
            try:
                yield _solution(row, kind)
            except UnusableError as error:
                yield error


def _solution(row: Row, kind: str) -> ImportedSolution:
    question_column = f"{kind}_question"
    question = text_of(value_at(row.value, question_column), question_column)
    steps, separator = append_separator(texts_at(row.value, f"{kind}_process"))
    wrong_steps: frozenset[int] = frozenset()
    if kind == MODIFIED:
        wrong_steps = _error_steps(row, len(steps))
    annotations: list[StepAnnotation] = []
    for index in range(len(steps)):
        if index in wrong_steps:
            annotations.append(annotation_of(Verdict.INCORRECT))
        else:
            annotations.append(annotation_of(Verdict.CORRECT))
    return ImportedSolution(
        problem=problem_of(question, reference_at(row.value, "ground_truth")),
        column=f"{kind}_process",
        steps=steps,
        separator=separator,
        annotations={HUMAN: tuple(annotations)},
        metadata={"process": kind, **_metadata(row, kind)},
        repeats=kind == ORIGINAL,
    )


def _metadata(row: Row, kind: str) -> Mapping[str, str]:
    """Return the metadata of a trace, lists as JSON; values that cannot be read are left out."""
    if kind == ORIGINAL:
        return metadata_at(row.value, "idx")
    metadata = dict(metadata_at(row.value, *METADATA_COLUMNS))
    original = _original_process(row)
    if original is not None:
        metadata["original_process"] = json.dumps(original)
    modified_steps = value_at(row.value, "modified_steps")
    if _is_list_of_step_numbers(modified_steps):
        metadata["modified_steps"] = json.dumps(modified_steps)
    return metadata


def _original_process(row: Row) -> Sequence[str] | None:
    try:
        return texts_at(row.value, "original_process")
    except UnusableError:
        return None


def _is_list_of_step_numbers(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    # `type`, because a boolean is an instance of int. No solution has more steps than characters.
    return all(type(number) is int and 0 <= number <= MAX_CHARACTERS for number in value)


def _error_steps(row: Row, count: int) -> frozenset[int]:
    """Return the indices (0-based) of the wrong ones of `count` steps."""
    indices: set[int] = set()
    for position, number in enumerate(list_at(row.value, ERROR_STEPS)):
        if isinstance(number, bool) or number not in range(1, count + 1):
            reason = f"{number!r:.20}, not the number of one of {count} steps, counted from 1"
            if type(number) is int and number > count:
                reason += (
                    ": modified_process is shorter than the process that the errors were numbered "
                    "in, so that no number of this row can be trusted"
                )
            raise UnusableError(f"{ERROR_STEPS}.{position}", reason)
        indices.add(int(number) - 1)
    return frozenset(indices)
