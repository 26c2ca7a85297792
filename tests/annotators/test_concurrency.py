"""Coroutines that run concurrently."""

import asyncio

import pytest

from annotators.concurrency import gather_or_cancel
from stepmark.errors import EngineError


async def test_gather_keeps_order() -> None:
    async def finish_in_reverse(index: int) -> int:
        await asyncio.sleep(0.01 * (3 - index))
        return index

    assert await gather_or_cancel(finish_in_reverse(index) for index in range(3)) == [0, 1, 2]


async def test_first_exception_cancels_the_rest() -> None:
    events: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("cancelled")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise EngineError("down", retryable=True)

    with pytest.raises(EngineError, match="down"):
        await gather_or_cancel([wait(), fail(), wait()])
    assert events == ["cancelled"] * 2
