"""Rollouts with their outcomes, for models of the value of a prefix.

A row is a problem with all its rollouts: the prefixes that they were given, what they add, and a
label. The classes are those of value-guided search (kaiwenw/value-guided-search at 848b3db, arXiv
2505.17373): 0 for an incorrect answer, 1 for a correct one, 2 for a rollout that was truncated
before its answer. Its trainer was read, not run. It needs token ids and as many rollouts in every
row:

    def to_ids(row):
        turns = [{"role": "user", "content": row["problem"]}]
        start = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        roll_ins = [start + text for text in row["roll_ins"]]
        encode = partial(tokenizer, add_special_tokens=False)
        return {
            "roll_in_ids": encode(roll_ins)["input_ids"],
            "roll_outs_ids": encode(row["roll_outs"])["input_ids"],
        }

with `--set per_problem=N` here and `--data_num_response N` there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from stepmark.records import Rollout, Verdict
from storage.formats.base import Example, ExportedRow, LeftOut, Row
from storage.formats.solutions.conversations import assistant_turn, user_turn
from storage.formats.texts.training_texts import Chat

__all__ = ["Rollouts"]

CLASSES = {Verdict.INCORRECT: 0, Verdict.CORRECT: 1}
TRUNCATED = 2


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """One row per problem; rollouts that are undecided for another reason are left out."""

    per_problem: Annotated[int, Field(ge=0)] = 0
    """The exact number of rollouts in a row: further ones, and problems with fewer, are left out.
    0 for all that there are."""
    but: tuple[str, ...] = ("prover",)
    """The methods whose rollouts are not used, because another model wrote them."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"rollouts"})
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "problem": pa.string(),
            "roll_ins": pa.list_(pa.string()),
            "roll_outs": pa.list_(pa.string()),
            "labels": pa.list_(pa.int64()),
            "prefix_steps": pa.list_(pa.int64()),
        }
    )

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the row of a problem, after what it leaves out."""
        labelled = []
        for example in examples:
            if not example.trace.steps:
                yield LeftOut("it has no steps")
            for rollout in example.rollouts:
                if rollout.method in self.but:
                    continue
                label = _class_of(rollout)
                if label is None:
                    yield LeftOut("a rollout is undecided")
                    continue
                labelled.append((example, rollout, label))
        if not labelled or len(labelled) < self.per_problem:
            yield LeftOut("its problem has too few rollouts")
            return
        if self.per_problem:
            for _ in labelled[self.per_problem :]:
                yield LeftOut("its problem has further rollouts")
            labelled = labelled[: self.per_problem]
        row = {
            "problem": examples[0].problem.question,
            "roll_ins": [_prefix(example, rollout) for example, rollout, _ in labelled],
            "roll_outs": [rollout.text for _, rollout, _ in labelled],
            "labels": [label for _, _, label in labelled],
            "prefix_steps": [rollout.prefix_steps for _, rollout, _ in labelled],
        }
        by_trace = {example.trace.trace_id: example for example, _, _ in labelled}
        yield ExportedRow(row, list(by_trace.values()))

    def training_texts(self, row: Row) -> Sequence[Chat]:
        """Return a chat for each rollout, with the prefix that it continues."""
        question = user_turn(row["problem"])
        chats = []
        for prefix, text in zip(row["roll_ins"], row["roll_outs"], strict=True):
            chats.append(Chat([*question, *assistant_turn(prefix + text)]))
        return chats


def _class_of(rollout: Rollout) -> int | None:
    if rollout.outcome is Verdict.UNKNOWN and rollout.finish_reason == "length":
        return TRUNCATED
    return CLASSES.get(rollout.outcome)


def _prefix(example: Example, rollout: Rollout) -> str:
    return "".join(example.trace.steps[: rollout.prefix_steps])
