"""A language model that only pretends: sums done step by step, at the pace of a real engine and at next to no cost."""

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

__all__ = ["Paced", "Sums"]

TERMS = 7
LARGEST = 99
SLIP = 0.08
"""Chance of a wrong sum in a step: four in ten solutions end wrong."""
SLIPS = (1, -1, 10)
"""What a wrong sum is off by: of a model's wrong answers to a problem few differ."""
CHARACTERS_PER_TOKEN = 4
SECONDS_PER_TOKEN = 0.02
"""Of one sequence, however idle the engine is."""
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Problems that are their own solution, so that a model needs no memory of them."""

    version: ClassVar[int] = 1
    count: int

    def problems(self) -> Iterator[Problem]:
        """Sums of seven numbers."""
        for index in range(self.count):
            chance = random.Random(index)
            terms = [chance.randint(1, LARGEST) for _ in range(TERMS)]
            question = f"Problem {index}. What is {' + '.join(map(str, terms))}?"
            yield Problem(
                problem_id=digest(question),
                question=question,
                answer=str(sum(terms)),
                domain="sums",
                source="sums",
            )


@dataclass(kw_only=True)
class Paced:
    """An engine that writes `tokens_per_second` over all requests, first come first served; a token is four characters."""

    tokens_per_second: float
    free_at: float = 0.0
    cpu_seconds: float = 0.0
    """What making the texts took of this process: no part of the driver's work."""
    model_name: str = field(default="paced", init=False)
    identity: str = field(default="paced", init=False)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Solutions that go on from the prefix, after as long as a real engine would have taken for them."""
        started, now = time.thread_time(), time.perf_counter()
        said = [
            _completion(prompt, sampling.seed + index, first=index == 0)
            for index in range(sampling.n)
        ]
        lengths = [completion.generated_tokens for completion in said]
        self.free_at = max(now, self.free_at) + sum(lengths) / self.tokens_per_second
        self.cpu_seconds += time.thread_time() - started
        await asyncio.sleep(max(self.free_at, now + max(lengths) * SECONDS_PER_TOKEN) - now)
        return said

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Not asked for here."""
        raise EngineError("this engine only completes", retryable=False)

    async def close(self) -> None:
        """Nothing to give back."""


def _completion(prompt: Prompt, seed: int, *, first: bool) -> Completion:
    text = _solution(prompt.user, prompt.prefix, random.Random(seed))
    return Completion(
        text=text,
        finish_reason="stop",
        prompt_tokens=len(prompt.text) // CHARACTERS_PER_TOKEN if first else 0,
        cached_tokens=0,
        generated_tokens=-(-len(text) // CHARACTERS_PER_TOKEN),
    )


def _solution(question: str, prefix: str, chance: random.Random) -> str:
    """The steps that are missing: whoever has slipped goes on from the wrong sum."""
    terms = [int(number) for number in NUMBER.findall(question.partition("What is")[2])[:TERMS]]
    done = prefix.count("\n")
    total = int(NUMBER.findall(prefix)[-1]) if done else terms[0]
    lines = list[str]()
    for step in range(done + 1, TERMS):
        slipped = chance.choice(SLIPS) if chance.random() < SLIP else 0
        before, total = total, total + terms[step] + slipped
        added = f"{before} + {terms[step]} = {total}"
        lines.append(
            f"Step {step}: to the {before} that we have so far we add number {step + 1} of the question, so {added}\n"
        )
    return "".join(lines) + f"All numbers of the question have been added. The answer is {total}."
