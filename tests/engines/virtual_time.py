"""An event loop whose clock jumps to the next timer, so that waits of hours take no time."""

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_in_virtual_time"]

T = TypeVar("T")


class VirtualSelector(selectors.SelectSelector):
    """A selector that does not wait: it advances the clock of the loop instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the events that are ready, and let the time pass if there is none."""
        events = super().select(0)
        if not events:
            assert timeout is not None, "the loop waits for nothing"
            self.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a virtual clock, which begins at 0."""

    def __init__(self) -> None:
        self._clock = VirtualSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual time."""
        return self._clock.now


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T], seed: int = 0) -> T:
    """Run a coroutine in virtual time, with the same random waits for the same seed."""
    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
