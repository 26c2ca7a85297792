"""Procedural word problems in the style of GSM8K, with gold steps and a step oracle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import ClassVar

from problems.arithmetic_domain.step_language import (
    ArithmeticWorld,
    Derived,
    judge_lines,
    solve,
)
from problems.arithmetic_domain.stories import draw
from problems.base import problem_id_of
from problems.sources.base import GeneratedSource
from stepmark.records import Problem, Verdict

__all__ = ["WordProblems"]


@dataclass(frozen=True, kw_only=True)
class WordProblems(GeneratedSource):
    """`count` different problems of `min_steps` to `max_steps` dependent steps, fixed by `seed`.

    The steps use +, -, * and exact /. `metadata` contains the quantities as JSON for the oracle
    (`world`), the gold solution (`gold`) and the number of steps (`steps`).
    """

    min_steps: int = 2
    """Fewest steps of a gold solution, 2 or more."""

    version: ClassVar[int] = 1
    plugin_name: ClassVar[str] = "word_problems"
    fewest_steps: ClassVar[int] = 2
    most_steps: ClassVar[int] = 8

    def judge(self, problem: Problem, steps: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
        """Return the truth of every step, with the kind of mistake; see `judge_lines`."""
        return judge_lines(arithmetic_world_of(problem), steps)

    def _problem(self, index: int) -> Problem:
        # Unlike that of `logic`, this seed has no prefix: it is older, and a prefix would change
        # every problem.
        random = Random(f"{self.seed}:{index}")
        steps = random.randint(self.min_steps, self.max_steps)
        story = draw(random, steps)
        answer = str(story.world.value(story.world.target))
        return Problem(
            problem_id=problem_id_of(story.question, answer),
            question=story.question,
            answer=answer,
            domain="word_problems",
            source="word_problems",
            license="Apache-2.0",
            metadata={
                "steps": str(len(story.world.needed())),
                "gold": "".join(solve(story.world)),
                "world": json.dumps(asdict(story.world)),
            },
        )


def arithmetic_world_of(problem: Problem) -> ArithmeticWorld:
    """Return the quantities in the metadata of a problem of this source."""
    stored = json.loads(problem.metadata["world"])
    derived = {}
    for holder, definition in stored["derived"].items():
        derived[holder] = Derived(**definition)
    return ArithmeticWorld(given=stored["given"], derived=derived, target=stored["target"])
