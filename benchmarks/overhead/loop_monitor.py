"""A monitor of the event loop's delays and of the memory of this process."""

import asyncio
import itertools
import time

import psutil  # type: ignore[import-untyped]

__all__ = ["LoopMonitor"]

# A wake-up takes a third of a millisecond: twenty per second would be a tenth of the driver's time.
TICK_SECONDS = 0.25
# Ticks between two readings of the memory, which take longer than reading the clock.
TICKS_PER_MEMORY_READING = 4


class LoopMonitor:
    """Measures how late the event loop runs and how much memory the process has.

    It is cheap, because its own CPU time counts as the driver's.
    """

    def __init__(self) -> None:
        self.delays = list[float]()
        """Seconds between the time at which each wake-up was due and its actual time."""
        self.peak_bytes = 0

    async def watch(self) -> None:
        """Measure until cancelled."""
        process = psutil.Process()
        for tick in itertools.count():
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.delays.append(time.perf_counter() - due)
            if tick % TICKS_PER_MEMORY_READING == 0:
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
