"""Procedural deduction problems: true, false or unprovable, with gold steps and an oracle for every step."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from problems.base import problem_id_of
from problems.logic_domain.language import World, judge_lines
from problems.logic_domain.world import draw
from stepmark.errors import ConfigError
from stepmark.records import Problem, Rejected, Verdict

__all__ = ["Logic"]

FEWEST, MOST = 1, 8


@dataclass(frozen=True, kw_only=True)
class Logic:
    """`count` problems of `min_steps` to `max_steps` deductions, all different, fixed by `seed`; the answers in equal shares.

    Facts and rules about a few people (after FLD: Morishita et al. 2023, arXiv 2308.07336), some of them distracting, and a hypothesis that
    follows, whose opposite follows, or that cannot be decided. `metadata` keeps what is given, the gold solution and the number of steps.
    """

    count: Annotated[int, Field(ge=1)] = 100
    seed: int = 1
    min_steps: int = 1
    max_steps: int = 6

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not FEWEST <= self.min_steps <= self.max_steps <= MOST:
            raise ConfigError(
                f"logic: min_steps = {self.min_steps}, max_steps = {self.max_steps}; they must satisfy"
                f" {FEWEST} <= min_steps <= max_steps <= {MOST}"
            )

    def problems(self) -> Iterator[Problem | Rejected]:
        """The problems, the same for the same fields, each drawn from a stream of its own."""
        seen: set[str] = set()
        index = 0
        while len(seen) < self.count:
            problem = self._problem(index)
            index += 1
            if problem.problem_id not in seen:
                seen.add(problem.problem_id)
                yield problem

    def judge(self, problem: Problem, steps: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
        """The oracle: the truth of every step, with the kind of mistake (see `_logic_language.judge_lines`)."""
        return judge_lines(World.of(problem), steps)

    def _problem(self, index: int) -> Problem:
        random = Random(f"logic:{self.seed}:{index}")
        story = draw(random, random.randint(self.min_steps, self.max_steps))
        return Problem(
            problem_id=problem_id_of(story.question, story.world.answer),
            question=story.question,
            answer=story.world.answer,
            domain="logic",
            source="logic",
            license="Apache-2.0",
            metadata={
                "steps": str(len(story.gold) - 1),
                "gold": "".join(story.gold),
                "world": json.dumps(asdict(story.world)),
            },
        )
