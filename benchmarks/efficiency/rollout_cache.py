"""A cache of rollouts, so that methods are compared on the same completions.

Every completion is written once. Each method is charged for it as if it had requested it first.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from engines.base import Completion, EngineWrapper, Prompt
from stepmark.identity import digest, seed_for
from stepmark.records import Sampling

__all__ = ["BATCH_SIZE", "CachedTraceEngine", "RolloutCache"]

# Completions of a prompt that are requested together: as many as Math-Shepherd and OmegaPRM use.
BATCH_SIZE = 8
# The delay of a cached completion, so that requests end in the same order as with a real engine.
SECONDS_PER_TOKEN = 2e-5


@dataclass(frozen=True, kw_only=True)
class RolloutCache(EngineWrapper):
    """An engine that requests each prompt and sampling only once from another engine."""

    file: Path | None = None
    """A file that keeps the completions for later runs; None keeps them in memory only."""
    completions: dict[str, Sequence[Completion]] = field(default_factory=dict)

    def load(self) -> None:
        """Read the completions in the file, if it exists."""
        if self.file is None or not self.file.exists():
            return
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # a truncated line of a run that was killed
            self.completions[row["key"]] = [Completion(**fields) for fields in row["completions"]]

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the cached completions, or request and store them."""
        key = digest(self.engine.identity, prompt, sampling)
        if key not in self.completions:
            completions = await self.engine.complete(prompt, sampling)
            self.completions[key] = completions
            self._append(key, completions)
        return self.completions[key]

    async def close(self) -> None:
        """Close the wrapped engine. The cached completions stay available."""
        await self.engine.close()

    def _append(self, key: str, completions: Sequence[Completion]) -> None:
        if self.file is None:
            return
        row = {"key": key, "completions": [asdict(completion) for completion in completions]}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True, kw_only=True)
class CachedTraceEngine(EngineWrapper):
    """The engine of one method on one trace, whose wrapped engine is a `RolloutCache`.

    The n-th completion that the method requests after a prefix is the n-th cached one, regardless
    of the seed and of the size of the requests.
    """

    trace_id: str
    requested: Counter[str] = field(default_factory=Counter)
    """How many completions of each prompt have been requested."""

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the next completions, after a delay proportional to the longest one."""
        start = self.requested[prompt.text]
        self.requested[prompt.text] += sampling.n
        end = start + sampling.n
        batches = dict[int, Sequence[Completion]]()
        for batch in range(start // BATCH_SIZE, (end - 1) // BATCH_SIZE + 1):
            batches[batch] = await self._complete_batch(prompt, sampling, batch)
        completions = list[Completion]()
        for index in range(start, end):
            completions.append(batches[index // BATCH_SIZE][index % BATCH_SIZE])
        longest = max(completion.generated_tokens for completion in completions)
        await asyncio.sleep(SECONDS_PER_TOKEN * longest)
        return completions

    async def _complete_batch(
        self, prompt: Prompt, sampling: Sampling, batch: int
    ) -> Sequence[Completion]:
        # The text "bank" is part of the seed: another one would change all published results.
        seed = seed_for("bank", self.trace_id, prompt.prefix, batch)
        return await self.engine.complete(prompt, replace(sampling, n=BATCH_SIZE, seed=seed))
