"""Critiques for supervised fine-tuning of a verifier: a judge's request and its reply as a chat.

A row is one stored reply whose verdicts agree with the label (`--labels human` or `oracle`: with
gold). ThinkPRM (arXiv 2504.16828) keeps replies that agree on every step (`agreement=steps`).

Read by the SFT trainers of TRL 1.16 (with `assistant_only_loss`) and ms-swift 4.6, which ignore the
columns besides `messages`. Both are tried with `make consumers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from stepmark.records import Critique
from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn
from storage.formats.verifiers.agreement import (
    Agreement,
    agreement_with_label,
    request_messages,
)

__all__ = ["Verification"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """One row per reply that agrees with the label."""

    agreement: Agreement = "first_error"
    """What a reply must agree on: the verdict of each step with a decided label, the first error,
    or that there is one if and only if the final answer is incorrect."""
    prompt: str = ""
    """The prompt of the judge whose replies are exported; all prompts by default."""

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"critiques"})
    row_count: ClassVar[str] = (
        "coalesce(sum(len([agrees FOR agrees IN agreements IF agrees])), 0)::BIGINT"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "messages": MESSAGES,
            "step": pa.int64(),
            "verdicts": pa.list_(pa.string()),
            "judge": pa.string(),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the rows; `step` is null for a reply about all steps."""
        critiques = example.critiques
        if self.prompt:
            critiques = [critique for critique in critiques if critique.prompt == self.prompt]
        if not critiques:
            yield LeftOut("no judge replied")
        for critique in critiques:
            agrees = agreement_with_label(critique, example, self.agreement)
            if agrees is True:
                yield _row(critique)
            else:
                yield LeftOut(agrees or "the reply disagrees with the label")


def _row(critique: Critique) -> Row:
    return {
        "messages": [*request_messages(critique), *assistant_turn(critique.text)],
        "step": critique.step,
        "verdicts": [verdict.value for verdict in critique.verdicts],
        "judge": critique.model,
    }
