"""Requests in parts: a part that fails ends the others."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from engines.base import Completion
from engines.runtime.answered_samples import answered_samples
from engines.runtime.request_splitting import complete_in_parts
from stepmark.errors import EngineError
from stepmark.records import Sampling


async def test_failed_part_cancels_the_others() -> None:
    cancelled = list[int]()

    async def complete_part(part: Sampling) -> Sequence[Completion]:
        if part.seed == 1:
            raise EngineError("busy", retryable=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(part.seed)
            raise
        return []

    with pytest.raises(EngineError, match="busy"):
        await complete_in_parts(complete_part, Sampling(n=3, seed=0), max_n=1)
    assert cancelled == [0, 2]


async def test_cancelled_request_keeps_answers() -> None:
    async def complete_part(part: Sampling) -> Sequence[Completion]:
        if part.seed == 1:
            await asyncio.sleep(60)
        completion = Completion(
            text=f"{part.seed}",
            finish_reason="stop",
            prompt_tokens=5,
            cached_tokens=0,
            generated_tokens=1,
        )
        return [completion]

    async def complete() -> Mapping[int, Completion]:
        try:
            await complete_in_parts(complete_part, Sampling(n=3, seed=0), max_n=1)
        except asyncio.CancelledError as error:
            return answered_samples(error)
        return {}

    task = asyncio.create_task(complete())
    await asyncio.sleep(0.01)
    task.cancel()
    answered = await task
    assert {index: completion.text for index, completion in answered.items()} == {0: "0", 2: "2"}
    assert sum(completion.prompt_tokens for completion in answered.values()) == 5
