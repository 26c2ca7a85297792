"""A bank of completions: each is written once, so methods are compared on the same ones and pay for them as if they had asked first."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from engines.base import Completion, EngineWrapper, Prompt
from stepmark.identity import digest, seed_for
from stepmark.records import Sampling

__all__ = ["Account", "Bank"]

TOGETHER = 8
"""Completions of a prompt that are written at once: as many as Math-Shepherd and OmegaPRM ask for."""
SECONDS_PER_TOKEN = 2e-5
"""What a remembered token takes to come back, so that requests end in the order in which an engine would end them."""


@dataclass(frozen=True, kw_only=True)
class Bank(EngineWrapper):
    """An engine that asks another one once for each prompt and sampling; with a `file`, once for ever."""

    file: Path | None = None
    known: dict[str, Sequence[Completion]] = field(default_factory=dict)

    def load(self) -> None:
        """Remember what the file holds; a line that a killed run has left unfinished is passed over."""
        lines = (
            self.file.read_text(encoding="utf-8").splitlines()
            if self.file is not None and self.file.exists()
            else ()
        )
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            self.known[row["key"]] = [Completion(**one) for one in row["completions"]]

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """As the engine has answered, or does now."""
        key = digest(self.engine.identity, prompt, sampling)
        if key not in self.known:
            self.known[key] = await self.engine.complete(prompt, sampling)
            if self.file is not None:
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(
                        json.dumps(
                            {"key": key, "completions": [asdict(one) for one in self.known[key]]}
                        )
                        + "\n"
                    )
        return self.known[key]

    async def close(self) -> None:
        """Close the engine; what is remembered stays."""
        await self.engine.close()


@dataclass(frozen=True, kw_only=True)
class Account(EngineWrapper):
    """One method's account of a trace with a bank: the n-th completion that it asks of a prefix is the bank's n-th, whatever its seed."""

    trace_id: str
    drawn: Counter[str] = field(default_factory=Counter)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """The next ones; they come back as late as their longest would."""
        first = self.drawn[prompt.text]
        self.drawn[prompt.text] += sampling.n
        numbers = range(first, first + sampling.n)
        waves = {
            wave: await self._wave(prompt, sampling, wave)
            for wave in sorted({number // TOGETHER for number in numbers})
        }
        found = [waves[number // TOGETHER][number % TOGETHER] for number in numbers]
        await asyncio.sleep(SECONDS_PER_TOKEN * max(one.generated_tokens for one in found))
        return found

    async def _wave(self, prompt: Prompt, sampling: Sampling, wave: int) -> Sequence[Completion]:
        seed = seed_for("bank", self.trace_id, prompt.prefix, wave)
        return await self.engine.complete(prompt, replace(sampling, n=TOGETHER, seed=seed))
