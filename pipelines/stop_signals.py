"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was made is stored first."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

__all__ = ["StoppedError", "run_until_stopped", "stop_signals_raise"]

SIGNALS = (signal.SIGTERM, signal.SIGHUP)

Result = TypeVar("Result")


class StoppedError(BaseException):
    """A signal has asked the command to end; as `KeyboardInterrupt`, it is no `Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Raise `StoppedError` in the main thread at a signal within the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise StoppedError(number)

    handlers = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_until_stopped(work: Coroutine[None, None, Result]) -> Result:
    """Run a coroutine in a new event loop and return its result.

    Ctrl-C and the signals cancel it, so that it can store what it has.

    Raises:
        KeyboardInterrupt: Ctrl-C cancelled it.
        StoppedError: A signal cancelled it.
    """
    return asyncio.run(_cancelled_by_signals(work))


async def _cancelled_by_signals(work: Coroutine[None, None, Result]) -> Result:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    received = list[int]()

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    # An exception that a handler of `signal` raises could end the event loop itself.
    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise StoppedError(received[0]) from None
        raise
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
