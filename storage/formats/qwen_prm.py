"""The chats of Qwen's process reward models: the separator <extra_0> after every step.

The rows are read by the template `qwen2_5_math_prm` of ms-swift 4.6, and by the step pooling of
vLLM 0.32 for `Qwen2ForProcessRewardModel`: both give one score to each separator, and the labels
have one entry for each (tried with `make consumers` and the tests). A text that contains the
separator is left out, because it would have more scores than labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import (
    AfterError,
    Example,
    LeftOut,
    Row,
    SupervisedStep,
    supervised_steps,
)
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.texts.training_texts import MarkedChat

__all__ = ["QwenPrm"]

SEPARATOR = "<extra_0>"


@dataclass(frozen=True, kw_only=True)
class QwenPrm:
    """One row per trace; the labels are 1 for correct, 0 for incorrect, and null if masked."""

    after_error: AfterError = "drop"
    """Drop the steps after the first wrong one, mask their labels, or keep them."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = (
        f"count(*) FILTER (is_supervised_with_mask AND NOT contains(question, '{SEPARATOR}')"
        f" AND NOT list_bool_or([contains(text, '{SEPARATOR}')"
        " FOR text IN texts[1:first_incorrect]]))"
    )
    schema: ClassVar[pa.Schema] = pa.schema({"messages": MESSAGES, "labels": pa.list_(pa.int64())})

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; a trace without a decided step is left out."""
        steps = supervised_steps(example, after_error=self.after_error, can_mask=True)
        yield steps if isinstance(steps, LeftOut) else _row(example, steps)

    def training_texts(self, row: Row) -> Sequence[MarkedChat]:
        """Return the chat with its separators."""
        return [MarkedChat(row["messages"], SEPARATOR, len(row["labels"]))]


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row | LeftOut:
    question = example.problem.question
    if any(SEPARATOR in text for text in (question, *(step.text for step in steps))):
        return LeftOut(f"its text holds the separator {SEPARATOR}")
    solution = "".join(step.text + SEPARATOR for step in steps)
    return {
        "messages": [*user_turn(question), *assistant_turn(solution)],
        "labels": [None if step.target is None else int(step.target) for step in steps],
    }
