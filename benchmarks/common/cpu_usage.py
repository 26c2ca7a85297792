"""CPU usage of this process and of other programs during a measurement."""

import time
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

__all__ = ["CpuClock", "CpuUsage"]


class CpuUsage(NamedTuple):
    """Wall time and busy CPU cores since a clock was started."""

    seconds: float
    own_cores: float
    """CPU cores that this process kept busy."""
    foreign_cores: float
    """Cores kept busy by programs that this process did not start."""


class CpuClock:
    """A clock that starts when it is created and also measures CPU usage."""

    def __init__(self) -> None:
        self._start = _now()

    def read(self) -> CpuUsage:
        """Return the usage since the start."""
        now = _now()
        seconds = now.wall - self._start.wall
        process = now.process - self._start.process
        family = now.family - self._start.family
        machine = now.machine - self._start.machine
        # The two counters are read one after the other, so the difference can be negative.
        foreign = max(0.0, machine - family)
        return CpuUsage(seconds, process / seconds, foreign / seconds)


class _Times(NamedTuple):
    """Counters in seconds at one moment."""

    wall: float
    process: float
    """CPU time of this process."""
    family: float
    """CPU time of this process and all processes that it started."""
    machine: float
    """CPU time of all programs on this machine."""


def _now() -> _Times:
    times = psutil.cpu_times()
    process = psutil.Process()
    # Waiting for a disk is idle time, and `user` already includes `guest`. Some systems lack both.
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    family = 0.0
    for member in (process, *process.children(recursive=True)):
        family += _cpu_seconds(member)
    return _Times(time.perf_counter(), time.process_time(), family, sum(times) - idle)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
