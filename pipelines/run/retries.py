"""Retries of stages after engine errors with a temporary cause."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.run.meter import Meter
from pipelines.run.transient import may_repeat_stage
from stepmark.errors import EngineError

__all__ = ["RETRIES", "Retries", "with_retries"]

Work = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Retries:
    """When a stage is repeated after a retryable engine error."""

    seconds: Sequence[float]
    """The waits before the retries."""
    before_first_answer: int
    """The number of retries while no engine has answered."""

    def are_pointless(self, meter: Meter, retries: int) -> bool:
        """Return whether another retry after so many will probably fail as well."""
        # An address without any answer is probably wrong, and its server not just busy.
        has_answered = meter.generated_tokens > 0 or meter.done["traces"] > 0
        return not has_answered and retries >= self.before_first_answer


# The waits suit a server that is busy or restarting.
RETRIES = Retries(seconds=(2.0, 10.0, 60.0), before_first_answer=2)


def with_retries(work: Work, meter: Meter, retries: Retries) -> Work:
    """Return work that is repeated after errors that allow it; see `may_repeat_stage`.

    Args:
        work: A stage of one shard.
        meter: The meter of the run.
        retries: When the work is repeated.
    """

    async def retried(*arguments: Any) -> Any:
        for done, wait in enumerate(retries.seconds):
            try:
                return await work(*arguments)
            except EngineError as error:
                if not may_repeat_stage(error) or retries.are_pointless(meter, done):
                    raise
            await asyncio.sleep(wait)
        return await work(*arguments)

    return retried
