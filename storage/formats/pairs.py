"""Preference pairs of whole solutions: a right one against a wrong one of the same problem.

The format is read by TRL's `DPOTrainer` and `RewardTrainer` (TRL 1.16.0, tried with `make
consumers`). Right is a solution with a correct answer and no step that is labelled incorrect; wrong
is one with an incorrect answer. The best right solution is paired with the worst wrong one, the
second best with the second worst, and so on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from storage.formats.base import Example, ExportedRow, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.quality import ScoreBy, is_right, rank, score_of, solution_text

__all__ = ["Pairs"]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """At most `per_problem` rows per problem; no solution is in two of them."""

    per_problem: Annotated[int, Field(ge=1)] = 1
    """The largest number of pairs of a problem."""
    score_by: ScoreBy = "least"
    """How the values of the steps become the score of a solution. Solutions without values come
    after all others."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = """coalesce(len(list_intersect(
      list(problem_id) FILTER (is_right),
      list(problem_id) FILTER (has_text AND outcome = 'incorrect')
    )), 0)"""
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": MESSAGES,
            "chosen": MESSAGES,
            "rejected": MESSAGES,
            "chosen_score": pa.float64(),
            "rejected_score": pa.float64(),
        }
    )

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the pairs of a problem, and the reason for each solution that is in no pair."""
        right = []
        wrong = []
        for example in examples:
            verdict = is_right(example)
            if isinstance(verdict, LeftOut):
                yield verdict
            elif verdict:
                right.append(example)
            else:
                wrong.append(example)
        # The sorts are stable: solutions with equal scores keep their order, so that exports of
        # equal datasets are equal.
        right.sort(key=lambda example: rank(example, self.score_by))
        wrong.sort(key=lambda example: rank(example, self.score_by, lowest_first=True))
        count = min(len(right), len(wrong), self.per_problem)
        for chosen, rejected in zip(right[:count], wrong[:count], strict=True):
            yield ExportedRow(self._row(chosen, rejected), (chosen, rejected))
        for _ in [*right[count:], *wrong[count:]]:
            yield LeftOut("its problem has no further solution to pair it with")

    def _row(self, chosen: Example, rejected: Example) -> Row:
        return {
            "prompt": user_turn(chosen.problem.question),
            "chosen": assistant_turn(solution_text(chosen.trace)),
            "rejected": assistant_turn(solution_text(rejected.trace)),
            "chosen_score": score_of(chosen.label, self.score_by),
            "rejected_score": score_of(rejected.label, self.score_by),
        }
