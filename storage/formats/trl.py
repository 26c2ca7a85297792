"""TRL's stepwise supervision: prompt, completions and one boolean label per completion.

The format is read by `trl.experimental.prm.PRMTrainer` of TRL 1.13 and by `stepwise_supervised` of
axolotl 0.19; both are tried with `make consumers`. The trainer inserts its own `step_separator`
between steps, so steps are exported without their final line break. It truncates at `max_length`
tokens without a warning: increase `max_length`, or the labels of late steps of long traces are
lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from storage.formats.base import (
    Example,
    LeftOut,
    Row,
    SupervisedStep,
    supervised_steps,
)
from storage.formats.texts.training_texts import SeparatedSteps

__all__ = ["Trl"]


@dataclass(frozen=True, kw_only=True)
class Trl:
    """One row per trace."""

    after_error: Literal["drop", "keep"] = "drop"
    """End a trace at its first wrong step, or keep the later steps if all of them are decided."""

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = "count(*) FILTER (is_supervised)"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": pa.string(),
            "completions": pa.list_(pa.string()),
            "labels": pa.list_(pa.bool_()),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; labels are booleans, because the trainer would round soft values down."""
        steps = supervised_steps(example, after_error=self.after_error)
        yield steps if isinstance(steps, LeftOut) else _row(example, steps)

    def training_texts(self, row: Row) -> Sequence[SeparatedSteps]:
        """Return the steps, with the separator that the trainer has by default: a line feed."""
        has_label = [True] * len(row["labels"])
        return [SeparatedSteps(row["prompt"], row["completions"], has_label)]


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row:
    return {
        "prompt": example.problem.question,
        "completions": [step.text for step in steps],
        "labels": [step.target == 1 for step in steps],
    }
