"""Procedural deduction problems: true, false or unprovable, with gold steps and a step oracle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import ClassVar

from problems.base import problem_id_of
from problems.logic_domain.language import LogicWorld, judge_lines
from problems.logic_domain.stories import draw
from problems.sources.base import GeneratedSource
from stepmark.records import Problem, Verdict

__all__ = ["Logic"]


@dataclass(frozen=True, kw_only=True)
class Logic(GeneratedSource):
    """`count` different problems of `min_steps` to `max_steps` deductions, fixed by `seed`.

    A problem states facts and rules about a few people, some of them distracting, and a hypothesis
    (after FLD: Morishita et al. 2023, arXiv 2308.07336). The hypothesis follows, its negation
    follows, or neither does; the three answers are equally frequent. `metadata` contains the
    statements as JSON (`world`), the gold solution (`gold`) and the number of steps (`steps`).
    """

    min_steps: int = 1
    """Fewest deductions of a gold solution, 1 or more."""

    version: ClassVar[int] = 1
    plugin_name: ClassVar[str] = "logic"
    fewest_steps: ClassVar[int] = 1
    most_steps: ClassVar[int] = 8

    def judge(self, problem: Problem, steps: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
        """Return the truth of every step, with the kind of mistake; see `judge_lines`."""
        return judge_lines(LogicWorld.of(problem), steps)

    def _problem(self, index: int) -> Problem:
        random = Random(f"logic:{self.seed}:{index}")
        steps = random.randint(self.min_steps, self.max_steps)
        story = draw(random, steps)
        return Problem(
            problem_id=problem_id_of(story.question, story.world.answer),
            question=story.question,
            answer=story.world.answer,
            domain="logic",
            source="logic",
            license="Apache-2.0",
            metadata={
                # The last gold line states the answer; it does not count as a deduction.
                "steps": str(len(story.gold) - 1),
                "gold": "".join(story.gold),
                "world": json.dumps(asdict(story.world)),
            },
        )
