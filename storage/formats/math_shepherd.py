"""The Math-Shepherd format: a text with the marker ки after every step, and + or - in the labels.

The format is that of peiyi9979/Math-Shepherd (arXiv 2312.08935), which TRL's script
`examples/datasets/math_shepherd.py` converts (TRL 1.9; its code was read). OpenRLHF reads such
labels only before 0.5.0: later versions need a list of signs, and 0.9.6 has no PRM trainer.
Readers split the steps at the marker and the prompt at "Step 1:", so a text that already contains
either would be read incorrectly and is left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from storage.formats.base import (
    NOT_BLANK,
    Example,
    LeftOut,
    Row,
    SupervisedStep,
    supervised_steps,
)
from storage.formats.texts.training_texts import MarkedText

__all__ = ["MathShepherd"]

MARKER = "ки"
FIRST_STEP = "Step 1:"


@dataclass(frozen=True, kw_only=True)
class MathShepherd:
    """One row per trace."""

    after_error: Literal["drop", "keep"] = "drop"
    """End a trace at its first wrong step, or keep the later steps if all of them are decided."""

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = (
        "count(*) FILTER (is_supervised"
        f" AND NOT contains(question, '{FIRST_STEP}') AND NOT contains(question, '{MARKER}')"
        f" AND NOT regexp_matches(supervised_texts[1], '(?s){NOT_BLANK}.*{FIRST_STEP}')"
        f" AND NOT list_bool_or([contains(text, '{MARKER}') FOR text IN supervised_texts]))"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {"input": pa.string(), "label": pa.string(), "task": pa.string()}
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; `task` is the imported one, or the domain of the problem."""
        steps = supervised_steps(example, after_error=self.after_error)
        yield steps if isinstance(steps, LeftOut) else _row(example, steps)

    def training_texts(self, row: Row) -> Sequence[MarkedText]:
        """Return the input with its markers."""
        # In the column `label`, one character replaces each marker.
        labels = (len(row["input"]) - len(row["label"])) // (len(MARKER) - 1)
        return [MarkedText(row["input"], MARKER, labels)]


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row | LeftOut:
    question = example.problem.question
    # Readers would find more steps, or another end of the question.
    texts = [step.text for step in steps]
    if any(MARKER in text for text in (question, *texts)):
        return LeftOut(f"its text holds the marker {MARKER}")
    if FIRST_STEP in question:
        return LeftOut(f'its question holds "{FIRST_STEP}"')
    if FIRST_STEP in texts[0].lstrip()[1:]:
        return LeftOut(f'its first step holds "{FIRST_STEP}" in its text')
    numbered = [_with_number(number, text) for number, text in enumerate(texts, start=1)]
    signs = ["+" if step.target == 1 else "-" for step in steps]
    return {
        "input": _joined(question, numbered, [MARKER] * len(steps)),
        "label": _joined(question, numbered, signs),
        "task": example.problem.metadata.get("task", example.problem.domain),
    }


def _with_number(number: int, text: str) -> str:
    """Prepend "Step 1:" to a step unless the step already begins with it."""
    # Readers find the end of the question by the exact text.
    pattern = rf"\s*{FIRST_STEP}" if number == 1 else rf"Step {number}\s*:"
    return text if re.match(pattern, text) else f"Step {number}: {text}"


def _joined(question: str, steps: list[str], marks: list[str]) -> str:
    lines = [f"{step} {mark}" for step, mark in zip(steps, marks, strict=True)]
    return f"{question} " + "\n".join(lines)
