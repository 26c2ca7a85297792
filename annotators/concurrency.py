"""Concurrent execution of coroutines with plain exceptions instead of exception groups."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from annotators.failures import should_propagate

__all__ = ["gather_or_cancel", "unwrap_exception_group"]

T = TypeVar("T")


async def gather_or_cancel(coroutines: Iterable[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """Await all coroutines concurrently and return their results in order.

    On the first exception the others are cancelled, so that no abandoned request occupies the
    engine, and that exception is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        # The first exception is the cause. Later ones occurred while the others were cancelled.
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def unwrap_exception_group(awaitable: Awaitable[T]) -> T:
    """Await a plugin's work and raise a single exception where it raises an exception group.

    An error that must propagate (see `should_propagate`) takes precedence over a trace's failure.
    """
    try:
        return await awaitable
    except ExceptionGroup as errors:
        raise max(errors.exceptions, key=should_propagate) from errors
