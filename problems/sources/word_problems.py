"""Procedural word problems in the manner of GSM8K, with gold steps and an oracle for every step."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from problems.arithmetic_domain.step_language import Derived, World, judge_lines, solve
from problems.arithmetic_domain.stories import draw
from problems.base import problem_id_of
from stepmark.errors import ConfigError
from stepmark.records import Problem, Rejected, Verdict

__all__ = ["WordProblems"]

FEWEST, MOST = 2, 8


@dataclass(frozen=True, kw_only=True)
class WordProblems:
    """`count` problems of `min_steps` to `max_steps` dependent steps with + - * and exact /, all different, fixed by `seed`.

    `metadata` keeps the world (for the oracle), the gold solution and the number of steps.
    """

    count: Annotated[int, Field(ge=1)] = 100
    seed: int = 1
    min_steps: int = 2
    max_steps: int = 6

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not FEWEST <= self.min_steps <= self.max_steps <= MOST:
            raise ConfigError(
                f"word_problems: min_steps = {self.min_steps}, max_steps = {self.max_steps}; they must satisfy"
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
        """The oracle: the truth of every step, with the kind of mistake (see `_step_language.judge_lines`)."""
        return judge_lines(_world_of(problem), steps)

    def _problem(self, index: int) -> Problem:
        random = Random(f"{self.seed}:{index}")
        story = draw(random, random.randint(self.min_steps, self.max_steps))
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


def _world_of(problem: Problem) -> World:
    raw = json.loads(problem.metadata["world"])
    derived = {holder: Derived(**definition) for holder, definition in raw["derived"].items()}
    return World(given=raw["given"], derived=derived, target=raw["target"])
