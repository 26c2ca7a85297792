"""Retries of stages without Prefect, for workers."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipelines.run.meter import Meter
from pipelines.run.transient import may_repeat_stage
from stepmark.errors import EngineError

__all__ = ["has_answered", "with_retries"]

Work = Callable[..., Coroutine[Any, Any, Any]]


def has_answered(meter: Meter) -> bool:
    """Return whether any engine has answered a request that the meter counts."""
    return meter.generated_tokens > 0 or meter.done["traces"] > 0


def with_retries(
    work: Work, meter: Meter, seconds: Sequence[float], before_first_answer: int
) -> Work:
    """Return work that is repeated after errors that allow it; see `may_repeat_stage`.

    Args:
        work: A stage of one shard.
        meter: The meter of the run.
        seconds: The waits before the retries.
        before_first_answer: The number of retries while no engine has answered.
    """

    async def retried(*arguments: Any) -> Any:
        for retries, wait in enumerate(seconds):
            try:
                return await work(*arguments)
            except EngineError as error:
                is_pointless = not has_answered(meter) and retries >= before_first_answer
                if not may_repeat_stage(error) or is_pointless:
                    raise
            await asyncio.sleep(wait)
        return await work(*arguments)

    return retried
