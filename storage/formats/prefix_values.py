"""Prefixes of solutions with their value, for models that regress on it.

A row is a prefix, as the value model of ReST-MCTS* reads it (THUDM/ReST-MCTS at 2d5f488,
`PRM/train_VM_mistral.py`, from lines of JSON; the code was read, not run): `prompt_answer` is the
question and the prefix in the form of its search, and `label` the value. The numbers of correct and
of all decided rollouts serve losses with weights, and models of quantiles.

With `--values rest_mcts` the values are those of its paper; otherwise those of the labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.trials import steps_by
from storage.formats.texts.training_texts import PlainText

__all__ = ["PrefixValues"]


@dataclass(frozen=True, kw_only=True)
class PrefixValues:
    """One row per step with a value, also after an error."""

    trials_by: str = "monte_carlo"
    """The method whose rollouts are counted. Where it has none, `successes` and `trials` are
    null."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    soft: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"annotations"})
    row_count: ClassVar[str] = (
        "coalesce(sum(len([value FOR value IN step_values IF value IS NOT NULL])), 0)::BIGINT"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt_answer": pa.string(),
            "label": pa.float64(),
            "step": pa.int64(),
            "successes": pa.int64(),
            "trials": pa.int64(),
            "domain": pa.string(),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the rows of a trace, by step."""
        if not example.trace.steps:
            yield LeftOut("it has no steps")
            return
        counts = steps_by(example, self.trials_by)
        text = f"Problem: {example.problem.question}\nSolution:\n"
        for index, (step, label) in enumerate(
            zip(example.trace.steps, example.label.steps, strict=True)
        ):
            text += step
            if label.value is None:
                yield LeftOut("a step has no value")
                continue
            yield {
                "prompt_answer": text,
                "label": label.value,
                "step": index,
                "successes": counts[index].successes if counts else None,
                "trials": counts[index].trials if counts else None,
                "domain": example.problem.domain,
            }

    def training_texts(self, row: Row) -> Sequence[PlainText]:
        """Return the prefix; its value belongs to the whole text."""
        return [PlainText(row["prompt_answer"])]
