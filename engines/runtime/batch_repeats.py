"""Repetitions of requests that a batch has not answered; see `faults`.

A repetition is part of the next batch and can take a day. So a rejection is accepted at once, and a
doubtful text when it has come twice.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from engines.runtime.faults import Action, Fault
from stepmark.errors import EngineError

__all__ = ["request_in_batches"]

Reply = TypeVar("Reply")

DOUBTS = 1


async def request_in_batches(
    send: Callable[[], Awaitable[Reply]],
    *,
    fault_of: Callable[[Exception], Fault | None],
    retries: int,
    faults: Counter[str],
) -> Reply:
    """Return the reply to a request, which is put into further batches after faults that can pass.

    Args:
        send: Puts the request into the next batch, and waits for the reply.
        fault_of: Returns the fault that an exception shows; None for other errors.
        retries: How often the request is repeated.
        faults: Counts the faults by kind.

    Raises:
        Exception: The error of a fault that lasts. An `EngineError` is not retryable.
    """
    limits = {Action.WAIT: retries, Action.REPEAT: retries, Action.DOUBT: min(DOUBTS, retries)}
    counts = Counter[Action]()
    while True:
        try:
            return await send()
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
        faults[fault.kind.name] += 1
        counts[fault.action] += 1
        if counts[fault.action] > limits.get(fault.action, 0):
            if isinstance(fault.error, EngineError):
                raise EngineError(str(fault.error), retryable=False) from fault.error
            raise fault.error
