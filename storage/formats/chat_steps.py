"""Chats of one turn per step: the user's turn is a step, the assistant's turn is its verdict.

The format of RLHFlow's generative PRM (+ and -) and of FoVer (arXiv 2505.15960: correct and
incorrect), which is plain fine-tuning. The first turn is the question, a space and the first step.
Every message has `loss`: whether it trains. Read by ms-swift 4.6, which knows this key, by axolotl
0.19 with `message_field_training: loss`, and by the SFT trainer of TRL 1.16, which ignores the key
and trains on all turns of the assistant with `assistant_only_loss`. All are tried with `make
consumers`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa

from storage.formats.base import (
    AfterError,
    Example,
    LeftOut,
    Row,
    SupervisedStep,
    supervised_steps,
)
from storage.formats.texts.training_texts import Chat

__all__ = ["ChatSteps"]

# The turns for a correct and for an incorrect step.
TURNS: Mapping[str, tuple[str, str]] = {"signs": ("+", "-"), "words": ("correct", "incorrect")}


@dataclass(frozen=True, kw_only=True)
class ChatSteps:
    """One row per trace."""

    after_error: AfterError = "drop"
    """Drop the steps after the first wrong one, mask them, or keep their turns."""
    wording: Literal["signs", "words"] = "signs"
    """The verdicts: + and -, or correct and incorrect."""
    mask: Literal["join", "loss"] = "join"
    """How a masked step is represented, for instance an undecided one. `join`: its text begins the
    next turn of the user, so no trainer can learn a verdict from it. `loss`: it has the turns of a
    correct step, with `loss` false, only for trainers that know the key."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = "count(*) FILTER (is_supervised_with_mask)"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "messages": pa.list_(
                pa.struct({"role": pa.string(), "content": pa.string(), "loss": pa.bool_()})
            )
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; a trace without a decided step is left out."""
        steps = supervised_steps(example, after_error=self.after_error, can_mask=True)
        if isinstance(steps, LeftOut):
            yield steps
        else:
            yield {"messages": self._messages(example.problem.question, steps)}

    def training_texts(self, row: Row) -> Sequence[Chat]:
        """Return the chat, whose trained turns are labels."""
        return [Chat(row["messages"], [message["loss"] for message in row["messages"]])]

    def _messages(self, question: str, steps: Sequence[SupervisedStep]) -> list[dict[str, Any]]:
        correct, incorrect = TURNS[self.wording]
        messages = list[dict[str, Any]]()
        unanswered = [f"{question} {steps[0].text}"]
        for number, step in enumerate(steps):
            if number:
                unanswered.append(step.text)
            if step.target is None and self.mask == "join":
                continue
            verdict = incorrect if step.target == 0 else correct
            messages.append({"role": "user", "content": "\n".join(unanswered), "loss": False})
            messages.append(
                {"role": "assistant", "content": verdict, "loss": step.target is not None}
            )
            unanswered = []
        return messages
