"""Right solutions for supervised fine-tuning, all or the best ones of each problem.

The format is read by TRL's `SFTTrainer` (TRL 1.16.0, tried with `make consumers`). A right solution
has a kept label, a correct answer, and no step that is labelled incorrect. With `best`, the rows
are those of rejection sampling, as in RAFT: the solutions with the highest scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from storage.formats.base import Example, ExportedRow, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.quality import ScoreBy, is_right, rank, score_of, solution_text

__all__ = ["Sft"]


@dataclass(frozen=True, kw_only=True)
class Sft:
    """One row per right solution."""

    best: Annotated[int, Field(ge=0)] = 0
    """How many solutions of a problem are exported: those with the highest score. 0 for all."""
    score_by: ScoreBy = "least"
    """How the values of the steps become the score of a solution. A solution without values comes
    after all others."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = "count(*) FILTER (is_right)"
    schema: ClassVar[pa.Schema] = pa.schema({"messages": MESSAGES, "score": pa.float64()})

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the rows of a problem; with `best` from the highest score down."""
        right = []
        for example in examples:
            verdict = is_right(example)
            if isinstance(verdict, LeftOut):
                yield verdict
            elif verdict:
                right.append(example)
            else:
                yield LeftOut("its final answer is incorrect")
        if self.best:
            # The sort is stable: of equal scores the first solution is better.
            right.sort(key=lambda example: rank(example, self.score_by))
            for _ in right[self.best :]:
                yield LeftOut("its problem has better solutions")
            right = right[: self.best]
        for example in right:
            yield ExportedRow(self._row(example), (example,))

    def _row(self, example: Example) -> Row:
        question = user_turn(example.problem.question)
        answer = assistant_turn(solution_text(example.trace))
        return {
            "messages": [*question, *answer],
            "score": score_of(example.label, self.score_by),
        }
