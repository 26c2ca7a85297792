"""Math-Shepherd's format: the marker ки after every step, and the same text with + or - in the markers' places.

Introduced with peiyi9979/Math-Shepherd (arXiv 2312.08935), read by OpenRLHF and by TRL's conversion script. Readers find the steps
by the marker and the prompt by "Step 1:", so a text that holds either of its own accord would be read wrongly: it is left out.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, supervised_steps

__all__ = ["MathShepherd"]

MARKER = "ки"
FIRST_STEP = "Step 1:"


@dataclass(frozen=True, kw_only=True)
class MathShepherd:
    """One row per trace. Without `cut_after_error` the steps after the first wrong one are kept, if all are decided."""

    cut_after_error: bool = True

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    schema: ClassVar[pa.Schema] = pa.schema(
        {"input": pa.string(), "label": pa.string(), "task": pa.string()}
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows; `task` is the one that the problem was imported with, else its domain."""
        for example in examples:
            steps = supervised_steps(example, cut_after_error=self.cut_after_error)
            yield steps if isinstance(steps, LeftOut) else _row(example, steps)


def _row(example: Example, steps: list[tuple[str, bool]]) -> Row | LeftOut:
    question = example.problem.question
    if any(MARKER in text for text in (question, *(text for text, _ in steps))):
        return LeftOut(f"its text holds the marker {MARKER}")
    if FIRST_STEP in question:
        return LeftOut(f'its question holds "{FIRST_STEP}"')
    numbered = [_numbered(number, text) for number, (text, _) in enumerate(steps, start=1)]
    signs = ["+" if right else "-" for _, right in steps]
    return {
        "input": _joined(question, numbered, [MARKER] * len(steps)),
        "label": _joined(question, numbered, signs),
        "task": example.problem.metadata.get("task", example.problem.domain),
    }


def _numbered(number: int, text: str) -> str:
    return text if re.match(rf"Step {number}\s*:", text) else f"Step {number}: {text}"


def _joined(question: str, steps: list[str], marks: list[str]) -> str:
    lines = (f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))
    return f"{question} " + "\n".join(lines)
