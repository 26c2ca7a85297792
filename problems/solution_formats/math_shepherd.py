"""Math-Shepherd: a solution with the marker ки behind every step, and + or - in its place (arXiv 2312.08935; peiyi9979/Math-Shepherd).

No person made these labels: + says that one of a few sampled continuations of the step came out right. They are annotations of
method `math_shepherd`, as published for every step, those after the first - too. How many continuations there were is not published.

The published rows are not all whole. A row is set aside, never mended, when `label` is not `input` with signs for markers, when no
single "Step 1:" tells the question from the solution, when steps are not numbered one by one, and when text stands behind the last marker.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems.solution_formats.base import Solution, noted, problem_of, said_of
from problems.tabular.columns import UnusableError, at, text_of
from problems.tabular.readers import Row
from stepmark.records import Verdict

__all__ = ["MathShepherd"]

METHOD = "math_shepherd"
MARKER = "ки"
FIRST_STEP = "Step 1:"
SEPARATOR = "\n"
SIGNS = {"+": Verdict.CORRECT, "-": Verdict.INCORRECT}


@dataclass(frozen=True, kw_only=True)
class MathShepherd:
    """One trace a row, annotated as `math_shepherd`."""

    version: ClassVar[int] = 1
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("input",), ("label",))

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The row's trace; the white space around a marker is the format's own and is not kept."""
        parts = text_of(at(row.value, "input"), "input").split(MARKER)
        verdicts = _verdicts(parts, text_of(at(row.value, "label"), "label"))
        question, steps = _cut(parts)
        task = noted(row.value, "task")
        yield Solution(
            problem=problem_of(question, None, **task),
            column="input",
            steps=(*(step + SEPARATOR for step in steps[:-1]), steps[-1]),
            separator=SEPARATOR,
            annotations={METHOD: tuple(map(said_of, verdicts))},
        )


def _verdicts(parts: Sequence[str], label: str) -> Sequence[Verdict]:
    """The signs that stand in the label where the input has its markers."""
    verdicts: list[Verdict] = []
    place = 0
    for part in parts[:-1]:
        place += len(part)
        sign = label[place : place + 1]
        if sign not in SIGNS or not label.startswith(part, place - len(part)):
            raise UnusableError(
                "label",
                f"not the input with + or - for its markers: it differs at marker {len(verdicts) + 1}",
            )
        verdicts.append(SIGNS[sign])
        place += 1
    if label[place:] != parts[-1]:
        raise UnusableError(
            "label", "not the input with + or - for its markers: it differs behind the last"
        )
    return verdicts


def _cut(parts: Sequence[str]) -> tuple[str, Sequence[str]]:
    *marked, rest = parts
    if not marked:
        raise UnusableError("input", f"without the marker {MARKER}")
    if rest.strip():
        raise UnusableError("input", "text behind the last marker")
    question, first, begin = marked[0].partition(FIRST_STEP)
    if not first or FIRST_STEP in begin:
        raise UnusableError("input", f'not one "{FIRST_STEP}" before the first marker')
    steps = [
        _step(number, text) for number, text in enumerate([first + begin, *marked[1:]], start=1)
    ]
    return text_of(question.removesuffix(" "), "input"), steps


def _step(number: int, text: str) -> str:
    step = text.lstrip().removesuffix(" ")
    if not re.match(rf"Step {number}\s*:", step):
        raise UnusableError("input", f"what is marked as step {number} does not begin as such")
    if re.search(rf"^Step {number + 1}\s*:", step, re.MULTILINE):
        raise UnusableError("input", f"no marker between step {number} and step {number + 1}")
    return step
