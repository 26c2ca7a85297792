"""An engine without a model: it solves sums step by step at the pace of a real engine.

Its completions take almost no CPU time, so that a run measures the driver.
"""

import asyncio
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from engines.base import Completion, Prompt, Scored
from stepmark.errors import EngineError
from stepmark.identity import digest
from stepmark.records import Problem, Sampling

__all__ = ["PacedEngine", "Sums"]

TERMS = 7
LARGEST_TERM = 99
# The probability of a wrong sum in a step: four in ten solutions have a wrong answer.
MISTAKE_RATE = 0.08
# The errors of wrong sums. Few, because the wrong answers of a model to a problem differ little.
MISTAKES = (1, -1, 10)
CHARACTERS_PER_TOKEN = 4
# The time of one token of one sequence, which limits its speed even on an idle engine.
SECONDS_PER_TOKEN = 0.02
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Sums:
    """A source of sums, whose questions contain all that the engine needs to solve them."""

    version: ClassVar[int] = 1
    count: int

    def problems(self) -> Iterator[Problem]:
        """Yield sums of `TERMS` numbers."""
        for index in range(self.count):
            rng = random.Random(index)
            terms = [rng.randint(1, LARGEST_TERM) for _ in range(TERMS)]
            question = f"Problem {index}. What is {' + '.join(map(str, terms))}?"
            yield Problem(
                problem_id=digest(question),
                question=question,
                answer=str(sum(terms)),
                domain="sums",
                source="sums",
            )


@dataclass(kw_only=True)
class PacedEngine:
    """An engine that writes `tokens_per_second` over all requests, first come, first served.

    A token is four characters.
    """

    tokens_per_second: float
    free_at: float = 0.0
    """When the tokens of all requests so far are written, on the clock `time.perf_counter`."""
    cpu_seconds: float = 0.0
    """CPU time of making the texts, which is not part of the driver's cost."""
    model_name: str = field(default="paced", init=False)
    identity: str = field(default="paced", init=False)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Continue the solution after the prefix, with the delay of a real engine."""
        cpu_started = time.thread_time()
        now = time.perf_counter()
        completions = list[Completion]()
        for index in range(sampling.n):
            completions.append(_completion(prompt, sampling.seed + index, is_first=index == 0))
        lengths = [completion.generated_tokens for completion in completions]
        self.free_at = max(now, self.free_at) + sum(lengths) / self.tokens_per_second
        self.cpu_seconds += time.thread_time() - cpu_started
        done_at = max(self.free_at, now + max(lengths) * SECONDS_PER_TOKEN)
        await asyncio.sleep(done_at - now)
        return completions

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Raise `EngineError`: this engine cannot score."""
        raise EngineError("this engine only completes", retryable=False)

    async def close(self) -> None:
        """Do nothing: there are no resources to release."""


def _completion(prompt: Prompt, seed: int, *, is_first: bool) -> Completion:
    text = _solution(prompt.user, prompt.prefix, random.Random(seed))
    # Only the first completion of a request counts the tokens of the prompt.
    prompt_tokens = 0
    if is_first:
        prompt_tokens = len(prompt.text) // CHARACTERS_PER_TOKEN
    return Completion(
        text=text,
        finish_reason="stop",
        prompt_tokens=prompt_tokens,
        cached_tokens=0,
        generated_tokens=-(-len(text) // CHARACTERS_PER_TOKEN),  # rounded up
    )


def _solution(question: str, prefix: str, rng: random.Random) -> str:
    """Return the steps after the prefix. After a mistake they continue with the wrong sum."""
    numbers = NUMBER.findall(question.partition("What is")[2])
    terms = [int(number) for number in numbers[:TERMS]]
    steps_done = prefix.count("\n")
    total = terms[0]
    if steps_done:
        total = int(NUMBER.findall(prefix)[-1])
    lines = list[str]()
    for step in range(steps_done + 1, TERMS):
        mistake = 0
        if rng.random() < MISTAKE_RATE:
            mistake = rng.choice(MISTAKES)
        before = total
        total = before + terms[step] + mistake
        equation = f"{before} + {terms[step]} = {total}"
        # The wording determines the number of tokens, and thereby the published figures.
        lines.append(
            f"Step {step}: to the {before} that we have so far we add number {step + 1}"
            f" of the question, so {equation}\n"
        )
    lines.append(f"All numbers of the question have been added. The answer is {total}.")
    return "".join(lines)
