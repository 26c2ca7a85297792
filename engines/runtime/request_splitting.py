"""Splitting of one request into parts that an engine accepts in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from engines.base import Completion
from stepmark.errors import EngineError
from stepmark.records import Sampling

__all__ = ["complete_in_parts"]


async def complete_in_parts(
    complete_part: Callable[[Sampling], Awaitable[Sequence[Completion]]],
    sampling: Sampling,
    max_n: int,
) -> list[Completion]:
    """Return `sampling.n` completions, requested in parts of at most `max_n`.

    Each part has the seed of its first completion. At temperature 0 all completions are equal, so
    one is requested and copied. Copies keep their generated-token count. Prompt tokens are counted
    on the first completion only.

    Raises:
        EngineError: A part failed; `completions` has those of the parts that did not.
    """
    if not sampling.temperature:
        single = await complete_part(replace(sampling, n=1))
        return _with_prompt_counted_once(list(single) * sampling.n)
    parts: list[Sampling] = []
    for start in range(0, sampling.n, max_n):
        size = min(max_n, sampling.n - start)
        parts.append(replace(sampling, n=size, seed=sampling.seed + start))
    tasks = [asyncio.ensure_future(complete_part(part)) for part in parts]
    try:
        results = await asyncio.gather(*tasks)
    except BaseException as error:
        # The request fails, so the other parts would only use up tokens and slots.
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(error, EngineError):
            error.completions = _answered(parts, ended, sampling.seed)
        raise
    completions: list[Completion] = []
    for result in results:
        completions.extend(result)
    return _with_prompt_counted_once(completions)


def _answered(
    parts: Sequence[Sampling], results: Sequence[object], first_seed: int
) -> Mapping[int, Completion]:
    """Return the completions of the parts that were answered, by their index in the request."""
    answered: dict[int, Completion] = {}
    for part, result in zip(parts, results, strict=True):
        completions: Mapping[int, Completion] = {}
        if isinstance(result, EngineError):
            completions = result.completions
        elif not isinstance(result, BaseException):
            completions = dict(enumerate(cast("Sequence[Completion]", result)))
        for index, completion in completions.items():
            answered[part.seed - first_seed + index] = completion
    counted = _with_prompt_counted_once(list(answered.values()))
    return dict(zip(answered, counted, strict=True))


def _with_prompt_counted_once(completions: list[Completion]) -> list[Completion]:
    counted = completions[:1]
    for completion in completions[1:]:
        counted.append(replace(completion, prompt_tokens=0, cached_tokens=0))
    return counted
