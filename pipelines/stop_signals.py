"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was made is stored first.

Every command imports this module, and few of them need an event loop: asyncio is imported late.
"""

import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

__all__ = ["StoppedError", "cancelled_by_signals", "run_until_stopped", "stop_signals_raise"]

SIGNALS = (signal.SIGTERM, signal.SIGHUP)

Result = TypeVar("Result")


class StoppedError(BaseException):
    """A signal has asked the command to end; as `KeyboardInterrupt`, it is no `Exception`."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or signal.Signals(number).name)
        self.number = number

    @classmethod
    def of_server(cls, reason: str) -> "StoppedError":
        """Return the error of a command that a server has stopped, as SIGTERM would."""
        return cls(signal.SIGTERM, reason)


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Raise `StoppedError` in the main thread at a signal within the block.

    A signal that the process ignores, as `nohup` makes it, is ignored within the block, too.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise StoppedError(number)

    handlers = {number: signal.signal(number, stop) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _handled_signals() -> Sequence[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []  # only the main thread can install handlers
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def run_until_stopped(work: Coroutine[None, None, Result]) -> Result:
    """Run a coroutine in a new event loop and return its result.

    Ctrl-C and the signals cancel it, so that it can store what it has. Further signals do not
    interrupt it then.

    Raises:
        KeyboardInterrupt: Ctrl-C cancelled it.
        StoppedError: A signal cancelled it.
    """
    import asyncio

    return asyncio.run(cancelled_by_signals(work))


async def cancelled_by_signals(work: Coroutine[None, None, Result]) -> Result:
    """Await a coroutine in the current task, which the signals cancel; see `run_until_stopped`."""
    import asyncio

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    received = list[int]()

    def stop(number: int) -> None:
        received.append(number)
        # A second cancellation would interrupt the storing.
        if not task.cancelling():
            task.cancel()

    handlers = {number: signal.getsignal(number) for number in _handled_signals()}
    # An exception that a handler of `signal` raises could end the event loop itself.
    for number in handlers:
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise StoppedError(received[0]) from None
        raise
    finally:
        for number, handler in handlers.items():
            # This installs the default handler, which ends the process.
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
