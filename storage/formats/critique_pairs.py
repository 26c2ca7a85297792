"""Preference pairs of critiques: two replies to one request, the chosen one agrees with the label.

Read by the DPO and reward trainers of TRL 1.16, which are tried with `make consumers`.
"""

from collections.abc import Iterator, Sequence
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

__all__ = ["CritiquePairs"]


@dataclass(frozen=True, kw_only=True)
class CritiquePairs:
    """One row per pair; every reply is in at most one pair.

    The first reply that agrees with the label is paired with the first one that disagrees, the
    second one with the second one, and so on.
    """

    agreement: Agreement = "first_error"
    """What the chosen reply agrees on; as for `verification`."""

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"critiques"})
    row_count: ClassVar[str] = """coalesce(sum(list_sum([
      least(
        len([true FOR reply, index IN replies IF reply = request AND agreements[index]]),
        len([true FOR reply, index IN replies IF reply = request AND NOT agreements[index]])
      ) FOR request IN list_distinct(replies)
    ])), 0)::BIGINT"""
    schema: ClassVar[pa.Schema] = pa.schema(
        {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES}
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the pairs; the replies without a partner are counted."""
        if not example.critiques:
            yield LeftOut("no judge replied")
        # The prompt and the step determine the request: its text need not be compared.
        by_request: dict[tuple[str, str, int | None], list[Critique]] = {}
        for critique in example.critiques:
            key = critique.method, critique.prompt, critique.step
            by_request.setdefault(key, []).append(critique)
        for critiques in by_request.values():
            yield from self._pairs(example, critiques)

    def _pairs(self, example: Example, critiques: Sequence[Critique]) -> Iterator[Row | LeftOut]:
        agreeing = list[Critique]()
        disagreeing = list[Critique]()
        for critique in critiques:
            agrees = agreement_with_label(critique, example, self.agreement)
            if isinstance(agrees, str):
                yield LeftOut(agrees)
            elif agrees:
                agreeing.append(critique)
            else:
                disagreeing.append(critique)
        pairs = min(len(agreeing), len(disagreeing))
        for chosen, rejected in zip(agreeing[:pairs], disagreeing[:pairs], strict=True):
            yield {
                "prompt": request_messages(chosen),
                "chosen": assistant_turn(chosen.text),
                "rejected": assistant_turn(rejected.text),
            }
        for _ in agreeing[pairs:]:
            yield LeftOut("no reply to this request disagrees")
        for _ in disagreeing[pairs:]:
            yield LeftOut("no reply to this request agrees")
