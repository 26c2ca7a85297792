"""Splitting of one request into parts that an engine accepts in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from engines.base import Completion
from engines.runtime.answered_samples import answered_samples, keep_answered
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
        Exception: A part failed. `answered_samples` returns what was answered all the same, also
            for the `CancelledError` of a request that is cancelled.
    """
    if not sampling.temperature:
        single = await complete_part(replace(sampling, n=1))
        return _with_prompt_counted_once(list(single) * sampling.n)
    parts: list[Sampling] = []
    for start in range(0, sampling.n, max_n):
        size = min(max_n, sampling.n - start)
        parts.append(replace(sampling, n=size, seed=sampling.seed + start))
    answered: dict[int, Completion] = {}

    async def request(part: Sampling) -> Sequence[Completion]:
        start = part.seed - sampling.seed
        try:
            completions = await complete_part(part)
        except (Exception, asyncio.CancelledError) as error:
            for index, completion in answered_samples(error).items():
                answered[start + index] = completion
            raise
        answered.update(enumerate(completions, start))
        return completions

    tasks = [asyncio.ensure_future(request(part)) for part in parts]
    try:
        results = await asyncio.gather(*tasks)
    except BaseException as error:
        # The request fails, so the other parts would only use up tokens and slots.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        counted = _with_prompt_counted_once(list(answered.values()))
        keep_answered(error, dict(zip(answered, counted, strict=True)))
        raise
    completions: list[Completion] = []
    for result in results:
        completions.extend(result)
    return _with_prompt_counted_once(completions)


def _with_prompt_counted_once(completions: list[Completion]) -> list[Completion]:
    counted = completions[:1]
    for completion in completions[1:]:
        counted.append(replace(completion, prompt_tokens=0, cached_tokens=0))
    return counted
