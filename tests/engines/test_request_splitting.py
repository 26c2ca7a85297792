"""Requests in parts: a part that fails ends the others."""

import asyncio
from collections.abc import Sequence

import pytest

from engines.base import Completion
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
