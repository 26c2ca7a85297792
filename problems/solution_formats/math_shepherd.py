r"""Math-Shepherd: steps that end with the marker ки; a label has + or - instead (arXiv 2312.08935).

The dataset is peiyi9979/Math-Shepherd. An example row:

    {"input": "What is 2 + 2 * 3? Step 1: 2 * 3 = 6. ки\nStep 2: The answer is: 9 ки",
     "label": "What is 2 + 2 * 3? Step 1: 2 * 3 = 6. +\nStep 2: The answer is: 9 -",
     "task": "GSM8K"}

The labels are automatic: + means that at least one of a few sampled continuations of the step
reached the right answer. They are imported as annotations of method `math_shepherd`, for every step
as published, including those after the first -. The number of continuations is not published.

Some published rows are damaged. A row is rejected, never repaired, if `label` is not `input` with
signs instead of markers, if there is not exactly one "Step 1:" between question and solution, if
the steps are not numbered consecutively, or if text follows the last marker.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems.solution_formats.base import (
    ImportedSolution,
    annotation_of,
    metadata_at,
    problem_of,
)
from problems.tabular.columns import UnusableError, text_of, value_at
from problems.tabular.readers import Row
from stepmark.records import Verdict

__all__ = ["MathShepherd"]

METHOD = "math_shepherd"
# Two Cyrillic letters, the step tag of the dataset.
MARKER = "ки"
FIRST_STEP = "Step 1:"
SEPARATOR = "\n"
SIGNS = {"+": Verdict.CORRECT, "-": Verdict.INCORRECT}


@dataclass(frozen=True, kw_only=True)
class MathShepherd:
    """One trace per row, annotated as `math_shepherd`."""

    version: ClassVar[int] = 1
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("input",), ("label",))

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the trace of a row, without the white space that the format puts around markers.

        Raises:
            UnusableError: A column is missing, or the row is damaged (see the module).
        """
        # The texts between markers: the question with the first step, the other steps, and what
        # follows the last marker.
        parts = text_of(value_at(row.value, "input"), "input").split(MARKER)
        label = text_of(value_at(row.value, "label"), "label")
        verdicts = _verdicts(parts, label)
        question, steps = _question_and_steps(parts)
        separated_steps = [step + SEPARATOR for step in steps[:-1]]
        yield ImportedSolution(
            problem=problem_of(question, None, **metadata_at(row.value, "task")),
            column="input",
            steps=(*separated_steps, steps[-1]),
            separator=SEPARATOR,
            annotations={METHOD: tuple(annotation_of(verdict) for verdict in verdicts)},
        )


def _verdicts(parts: Sequence[str], label: str) -> Sequence[Verdict]:
    """Return a verdict for each step, from the sign in `label` where the input has a marker.

    Args:
        parts: The texts of the input between its markers.
        label: The label, which must be the input with signs in place of the markers.

    Raises:
        UnusableError: The label differs from the input in anything else.
    """
    mismatch = "not the input with + or - for its markers: it differs"
    verdicts: list[Verdict] = []
    start = 0
    for part in parts[:-1]:
        sign_position = start + len(part)
        sign = label[sign_position : sign_position + 1]
        if sign not in SIGNS or not label.startswith(part, start):
            raise UnusableError("label", f"{mismatch} at marker {len(verdicts) + 1}")
        verdicts.append(SIGNS[sign])
        start = sign_position + 1
    if label[start:] != parts[-1]:
        raise UnusableError("label", f"{mismatch} after the last marker")
    return verdicts


def _question_and_steps(parts: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the question and the steps of an input, from the texts between its markers.

    Raises:
        UnusableError: A marker or a step number is missing or repeated, or text follows the last
            marker.
    """
    *marked_parts, rest = parts
    if not marked_parts:
        raise UnusableError("input", f"without the marker {MARKER}")
    if rest.strip():
        raise UnusableError("input", "text after the last marker")
    question, first_step_label, first_step = marked_parts[0].partition(FIRST_STEP)
    if not first_step_label or FIRST_STEP in first_step:
        raise UnusableError("input", f'not exactly one "{FIRST_STEP}" before the first marker')
    texts = [first_step_label + first_step, *marked_parts[1:]]
    steps = [_checked_step(number, text) for number, text in enumerate(texts, start=1)]
    return text_of(question.removesuffix(" "), "input"), steps


def _checked_step(number: int, text: str) -> str:
    """Return the text of a step, stripped of the white space around markers.

    Raises:
        UnusableError: The text does not start with `number` (from 1), or has the next step, too.
    """
    step = text.lstrip().removesuffix(" ")
    if not re.match(rf"Step {number}\s*:", step):
        raise UnusableError("input", f"marked step {number} does not start with its number")
    # Two steps in one part: a marker is missing between them.
    if re.search(rf"^Step {number + 1}\s*:", step, re.MULTILINE):
        raise UnusableError("input", f"no marker between step {number} and step {number + 1}")
    return step
