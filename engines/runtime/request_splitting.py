"""A request cut into parts that an engine can take at once, and put together again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from engines.base import Completion
from stepmark.records import Sampling

__all__ = ["in_parts"]


async def in_parts(
    ask: Callable[[Sampling], Awaitable[Sequence[Completion]]], sampling: Sampling, most: int
) -> list[Completion]:
    """Ask for `sampling.n` completions, at most `most` at a time, each part seeded as its first child.

    At temperature 0 all completions are the same, so one is drawn and copied. Tokens of the prompt are counted once.
    """
    if not sampling.temperature:
        return _counted_once(list(await ask(replace(sampling, n=1))) * sampling.n)
    parts = [
        replace(sampling, n=min(most, sampling.n - start), seed=sampling.seed + start)
        for start in range(0, sampling.n, most)
    ]
    answers = await asyncio.gather(*map(ask, parts))
    return _counted_once([completion for answer in answers for completion in answer])


def _counted_once(completions: list[Completion]) -> list[Completion]:
    return [
        *completions[:1],
        *(replace(other, prompt_tokens=0, cached_tokens=0) for other in completions[1:]),
    ]
