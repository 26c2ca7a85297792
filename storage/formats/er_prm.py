"""ER-PRM's training rows: a solution with the marker ки after every step, and a value for each.

The format is read by `prm/kl_math_reward_ce.py` of ER-PRM (hanningzhang/ER-PRM at 5a996d4, a file
of JSON, arXiv 2412.11006): its preprocessing was read, and is repeated in the tests. The values are
those of the labels; those of the paper are `--values er_prm`. A text that already contains the
marker is left out, because the reader would assign the values to other steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, SupervisedStep, supervised_steps
from storage.formats.texts.training_texts import MarkedText

__all__ = ["ErPrm"]

MARKER = "ки"


@dataclass(frozen=True, kw_only=True)
class ErPrm:
    """One row per trace whose steps all have a value."""

    after_error: Literal["drop", "keep"] = "keep"
    """What happens to the steps after the first error: a value cannot be masked."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    soft: ClassVar[bool] = True
    row_count: ClassVar[str] = (
        "count(*) FILTER (len(texts) > 0 AND NOT has_blank_step"
        " AND NOT list_bool_or([value IS NULL FOR value IN step_values])"
        f" AND NOT contains(question, '{MARKER}')"
        f" AND NOT list_bool_or([contains(text, '{MARKER}') FOR text IN texts]))"
    )
    schema: ClassVar[pa.Schema] = pa.schema({"text": pa.string(), "value": pa.list_(pa.float64())})

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        steps = supervised_steps(example, after_error=self.after_error, soft=True)
        yield steps if isinstance(steps, LeftOut) else _row(example, steps)

    def training_texts(self, row: Row) -> Sequence[MarkedText]:
        """Return the text with its markers, after which the reader removes the line feed."""
        text = row["text"].replace(f" {MARKER}\n", f" {MARKER}")
        return [MarkedText(text, MARKER, len(row["value"]))]


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row | LeftOut:
    question = example.problem.question
    if any(MARKER in text for text in (question, *(step.text for step in steps))):
        return LeftOut(f"its text holds the marker {MARKER}")
    lines = [f"{step.text} {MARKER}" for step in steps]
    return {"text": f"{question}\n" + "\n".join(lines), "value": [step.target for step in steps]}
