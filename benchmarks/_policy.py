"""A policy that costs nothing to sample and whose mistakes are known: problems of T steps, each failed at a rate of its own.

Its parameters say how hard the search for its mistakes is. Nothing here knows of any method, or of the model that one of them fits.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.base import Completion, Prompt
from stepmark.records import NO_ERROR, Problem, Sampling, Trace

__all__ = ["ANSWERS", "MISTAKES", "Policy"]

ANSWER = "0"
QUESTION = re.compile(r"Problem (\d+)")
MISTAKE = "?"
MISTAKES = (0.6, 0.3, 0.1)
"""How a step that fails is failed: in one of so many ways."""
TOKENS_PER_STEP = 20
ANSWERS = 10_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Takes `steps` steps; step j of a problem goes right with a chance drawn once from a Beta distribution.

    A right solution has the answer 0. A mistake has its own wrong answer, as long as no second one is made; with chance `harmless` a
    solution with a mistake ends right nevertheless. A step is put in one of `phrasings` ways, so solutions seldom share their letters.
    """

    steps: int = 8
    reliability: float = 0.9
    spread: float = 10.0
    """The Beta distribution's a + b: the smaller, the more steps differ."""
    harmless: float = 0.03
    phrasings: int = 1_000
    seed: int = 0

    def problems(self, count: int) -> Iterator[Problem]:
        """So many problems."""
        for number in range(count):
            yield Problem(
                problem_id=str(number),
                question=f"Problem {number}",
                answer=ANSWER,
                domain="simulated",
                source="policy",
            )

    def first_error(self, trace: Trace) -> int:
        """The truth."""
        return next((index for index, step in enumerate(trace.steps) if MISTAKE in step), NO_ERROR)

    def chances(self, problem_id: str) -> Sequence[float]:
        """How likely each step of a problem goes right."""
        return [self._chance(int(problem_id), place) for place in range(self.steps)]

    def respond(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        """Go on where the prefix ends; what the scripted engine says."""
        asked = QUESTION.search(prompt.user)
        assert asked is not None, "only its own problems are asked"
        number, draws = int(asked[1]), random.Random(sampling.seed + index)
        steps = prompt.prefix.splitlines(keepends=True)
        begun = len(steps)
        for place in range(begun, self.steps):
            steps.append(self._step(number, place, draws))
        steps[-1] = f"{steps[-1].rstrip()} The answer is {self._answer(steps, draws)}."
        text = "".join(steps[begun:])
        return Completion(
            text=text,
            finish_reason="stop",
            prompt_tokens=0,
            cached_tokens=0,
            generated_tokens=TOKENS_PER_STEP * (self.steps - begun),
        )

    def _step(self, number: int, place: int, draws: random.Random) -> str:
        failed = draws.random() >= self._chance(number, place)
        (way,) = draws.choices(range(len(MISTAKES)), MISTAKES)
        return f"Step {place + 1}, put {draws.randrange(self.phrasings)}{f', failed {MISTAKE}{way}' if failed else ''}.\n"

    def _chance(self, number: int, place: int) -> float:
        shape = self.spread * self.reliability, self.spread * (1 - self.reliability)
        return random.Random(f"{self.seed}/{number}/{place}").betavariate(*shape)

    def _answer(self, steps: list[str], draws: random.Random) -> str:
        mistakes = [
            (place, step[step.index(MISTAKE) + 1])
            for place, step in enumerate(steps)
            if MISTAKE in step
        ]
        if not mistakes or draws.random() < self.harmless:
            return ANSWER
        if len(mistakes) == 1:
            place, way = mistakes[0]
            return str(1 + place * len(MISTAKES) + int(way))
        return str(ANSWERS + draws.randrange(ANSWERS))
