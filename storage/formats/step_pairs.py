"""Step-level preference pairs: the same prefix, a better and a worse next step.

A row is a conversation with two answers, as TRL's `DPOTrainer` and `RewardTrainer` read it (TRL
1.16.0, tried with `make consumers`). Both answers begin with the same prefix, so what it adds to
the two log-likelihoods is equal, and cancels in the loss of DPO. The pairs are those of the SQL
view `siblings`, from the traces with kept labels and their rollouts.

A trainer of policies ends an answer with a token for its end, also after a single step: for DPO
choose `whole`, so that both answers are complete solutions. Single steps suit reward models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, ExportedRow, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.siblings import PartOfSolution, SiblingPair, sibling_pairs

__all__ = ["StepPairs"]


@dataclass(frozen=True, kw_only=True)
class StepPairs:
    """One row per pair of steps."""

    pairs: Literal["every", "first_error"] = "every"
    """`first_error`: only a correct step against the first error of a trace, by their labels.
    `every`: also pairs of which the values alone decide."""
    min_gap: float | None = None
    """The smallest difference of the values. Empty for no limit: pairs that the labels alone decide
    have none."""
    whole: bool = False
    """Whether an answer goes on to the end: with the first solution of the step with a correct, or
    an incorrect answer. A pair without such solutions is left out."""
    but: tuple[str, ...] = ("prover",)
    """The methods whose rollouts are not used, because another model wrote them."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"rollouts"})
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": MESSAGES,
            "chosen": MESSAGES,
            "rejected": MESSAGES,
            "prefix": pa.string(),
            "at": pa.int64(),
            "gap": pa.float64(),
            "chosen_value": pa.float64(),
            "rejected_value": pa.float64(),
            "chosen_trials": pa.int64(),
            "rejected_trials": pa.int64(),
        }
    )

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the rows of a problem."""
        with_steps = []
        for example in examples:
            if example.trace.steps:
                with_steps.append(example)
            else:
                yield LeftOut("it has no steps")
        has_pair = False
        for pair in sibling_pairs(with_steps, self.but):
            if not self._is_selected(pair):
                continue
            has_pair = True
            yield self._row(pair)
        if with_steps and not has_pair:
            yield LeftOut("its problem has no such pair of steps")

    def _is_selected(self, pair: SiblingPair) -> bool:
        if self.min_gap is not None and (pair.gap is None or pair.gap < self.min_gap):
            return False
        # The labels are those up to the first error, so an incorrect step is the first one.
        is_first_error = (
            pair.chosen.verdict is Verdict.CORRECT and pair.rejected.verdict is Verdict.INCORRECT
        )
        return self.pairs == "every" or is_first_error

    def _row(self, pair: SiblingPair) -> ExportedRow | LeftOut:
        chosen = pair.chosen
        rejected = pair.rejected
        better: PartOfSolution | None = chosen.step
        worse: PartOfSolution | None = rejected.step
        if self.whole:
            better = chosen.endings.get(Verdict.CORRECT)
            worse = rejected.endings.get(Verdict.INCORRECT)
        if better is None or worse is None:
            return LeftOut("no solution goes on from a step to the end")
        prefix = "".join(pair.prefix)
        row: Row = {
            "prompt": user_turn(better.example.problem.question),
            "chosen": assistant_turn(prefix + better.text),
            "rejected": assistant_turn(prefix + worse.text),
            "prefix": prefix,
            "at": len(pair.prefix),
            "gap": pair.gap,
            "chosen_value": chosen.value,
            "rejected_value": rejected.value,
            "chosen_trials": len(chosen.outcomes),
            "rejected_trials": len(rejected.outcomes),
        }
        sources = [better.example]
        if worse.example is not better.example:
            sources.append(worse.example)
        return ExportedRow(row, sources)
