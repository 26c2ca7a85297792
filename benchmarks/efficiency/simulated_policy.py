"""A simulated policy: sampling costs nothing, and its mistakes are known.

The parameters determine how difficult it is to find the mistakes. The policy depends on no method
and not on the first-error model that adaptive search fits.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.base import Completion, Prompt
from stepmark.records import NO_ERROR, Problem, Sampling, Trace

__all__ = ["ANSWER", "MISTAKE_PROBABILITIES", "WRONG_ANSWERS", "Policy"]

# The correct answer of every problem.
ANSWER = "0"
QUESTION = re.compile(r"Problem (\d+)")
# Marks a step with a mistake in the text of a solution.
MISTAKE = "?"
# The probabilities of the different mistakes that can be made in a step, given that one is made.
MISTAKE_PROBABILITIES = (0.6, 0.3, 0.1)
TOKENS_PER_STEP = 20
# The number of answers of solutions with several mistakes, large so that two are rarely equal.
WRONG_ANSWERS = 10_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy that solves problems in `steps` steps, each correct with its own probability.

    The probability of step j of a problem is drawn once from a Beta distribution. A correct
    solution has the answer 0. Each mistake has its own wrong answer, unless a second mistake is
    made. A solution with a mistake has the correct answer nevertheless with probability `harmless`.
    A step has one of `phrasings` wordings, so solutions rarely have the same text.
    """

    steps: int = 8
    reliability: float = 0.9
    """The mean of the Beta distribution."""
    spread: float = 10.0
    """The sum a + b of its parameters: the smaller it is, the more the steps differ."""
    harmless: float = 0.03
    phrasings: int = 1_000
    seed: int = 0

    def problems(self, count: int) -> Iterator[Problem]:
        """Yield `count` problems."""
        for number in range(count):
            yield Problem(
                problem_id=str(number),
                question=f"Problem {number}",
                answer=ANSWER,
                domain="simulated",
                source="policy",
            )

    def first_error(self, trace: Trace) -> int:
        """Return the index of the first step with a mistake, -1 for none."""
        for index, step in enumerate(trace.steps):
            if MISTAKE in step:
                return index
        return NO_ERROR

    def step_probabilities(self, problem_id: str) -> Sequence[float]:
        """Return the probability that each step of a problem is correct."""
        number = int(problem_id)
        return [self._step_probability(number, index) for index in range(self.steps)]

    def respond(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        """Continue a solution after its prefix; the function of a scripted engine."""
        question = QUESTION.search(prompt.user)
        assert question is not None, "the prompt is the question of one of its problems"
        problem = int(question[1])
        rng = random.Random(sampling.seed + index)
        steps = prompt.prefix.splitlines(keepends=True)
        start = len(steps)
        for step_index in range(start, self.steps):
            steps.append(self._sample_step(problem, step_index, rng))
        steps[-1] = f"{steps[-1].rstrip()} The answer is {self._sample_answer(steps, rng)}."
        return Completion(
            text="".join(steps[start:]),
            finish_reason="stop",
            prompt_tokens=0,
            cached_tokens=0,
            generated_tokens=TOKENS_PER_STEP * (self.steps - start),
        )

    def _sample_step(self, problem: int, index: int, rng: random.Random) -> str:
        # The kind of mistake is drawn for correct steps too, which keeps the random stream in step.
        has_mistake = rng.random() >= self._step_probability(problem, index)
        (mistake,) = rng.choices(range(len(MISTAKE_PROBABILITIES)), MISTAKE_PROBABILITIES)
        text = f"Step {index + 1}, put {rng.randrange(self.phrasings)}"
        if has_mistake:
            text += f", failed {MISTAKE}{mistake}"
        return f"{text}.\n"

    def _step_probability(self, problem: int, index: int) -> float:
        alpha = self.spread * self.reliability
        beta = self.spread * (1 - self.reliability)
        return random.Random(f"{self.seed}/{problem}/{index}").betavariate(alpha, beta)

    def _sample_answer(self, steps: Sequence[str], rng: random.Random) -> str:
        mistakes = list[tuple[int, int]]()
        for index, step in enumerate(steps):
            if MISTAKE in step:
                mistakes.append((index, int(step[step.index(MISTAKE) + 1])))
        if not mistakes or rng.random() < self.harmless:
            return ANSWER
        if len(mistakes) == 1:
            index, mistake = mistakes[0]
            return str(1 + index * len(MISTAKE_PROBABILITIES) + mistake)
        return str(WRONG_ANSWERS + rng.randrange(WRONG_ANSWERS))
