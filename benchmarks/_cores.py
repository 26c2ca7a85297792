"""Who uses the processor while something is timed."""

import time
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

__all__ = ["Clock", "Used"]


class Used(NamedTuple):
    """Since a clock was started."""

    seconds: float
    own_cores: float
    """Processor cores that this process kept busy."""
    foreign_cores: float
    """Cores that were kept busy by programs which this process did not start."""


class Clock:
    """Seconds since it was made, and the cores that were busy meanwhile."""

    def __init__(self) -> None:
        self._started = self._now()

    def read(self) -> Used:
        """So far."""
        seconds, own, ours, everyone = (
            now - then for now, then in zip(self._now(), self._started, strict=True)
        )
        return Used(seconds, own / seconds, max(0.0, everyone - ours) / seconds)

    def _now(self) -> tuple[float, float, float, float]:
        machine, process = psutil.cpu_times(), psutil.Process()
        everyone = (
            sum(machine)
            - machine.idle
            - getattr(machine, "iowait", 0.0)
            - getattr(machine, "guest", 0.0)
        )
        ours = sum(_used(one) for one in (process, *process.children(recursive=True)))
        return time.perf_counter(), time.process_time(), ours, everyone


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
