"""What open requests still ask of the engines, in tokens: when it runs low, the run begins its next shard."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engines.base import Completion, Engine, EngineWrapper, Prompt, Scored
from stepmark.records import Sampling

__all__ = ["Demand", "Door"]

CHARACTERS_PER_TOKEN = 4
"""Of a prompt, roughly: no engine says before it answers, and prompts are the smaller part of the demand."""


class Demand:
    """The tokens that the engines have been asked for and have not answered yet, as far as one can know.

    A request counts as its prompt and, for each of its samples, the mean of what has been generated so far: `max_tokens` before anything
    has. No request is ever held back: `most` only decides when more work is begun, so that engines have enough to do and memory stays flat.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._prompt_tokens = 0
        self._open_samples = 0
        self._open_at_most = 0
        self._completions = 0
        self._generated_tokens = 0
        self._changed = asyncio.Event()

    @property
    def tokens(self) -> int:
        """What is outstanding."""
        if not self._completions:
            return self._prompt_tokens + self._open_at_most
        return (
            self._prompt_tokens + self._open_samples * self._generated_tokens // self._completions
        )

    async def low(self) -> None:
        """Wait until less than `most` is outstanding."""
        while self.tokens >= self._most:
            self._changed.clear()
            await self._changed.wait()

    async def answered(
        self, engine: Engine, prompt: Prompt, sampling: Sampling
    ) -> Sequence[Completion]:
        """Ask the engine, and count the request for as long as it is open."""
        self._count(prompt, sampling, +1)
        try:
            completions = await engine.complete(prompt, sampling)
        finally:
            self._count(prompt, sampling, -1)
            self._changed.set()
        self._completions += len(completions)
        self._generated_tokens += sum(completion.generated_tokens for completion in completions)
        return completions

    async def scored(self, engine: Engine, prompt: Prompt, continuation: str) -> Scored:
        """Have the engine score a text, which counts as a prompt without samples."""
        whole, no_samples = replace(prompt, prefix=prompt.prefix + continuation), Sampling(n=0)
        self._count(whole, no_samples, +1)
        try:
            return await engine.score(prompt, continuation)
        finally:
            self._count(whole, no_samples, -1)
            self._changed.set()

    def _count(self, prompt: Prompt, sampling: Sampling, sign: int) -> None:
        self._prompt_tokens += sign * (len(prompt.text) // CHARACTERS_PER_TOKEN)
        self._open_samples += sign * sampling.n
        self._open_at_most += sign * sampling.n * sampling.max_tokens


@dataclass(frozen=True, kw_only=True)
class Door(EngineWrapper):
    """An engine as one shard sees it: what goes through is counted, and the first request sets `asking`."""

    demand: Demand
    asking: asyncio.Event

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """The engine's answer."""
        self.asking.set()
        return await self.demand.answered(self.engine, prompt, sampling)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """The engine's score."""
        self.asking.set()
        return await self.demand.scored(self.engine, prompt, continuation)
