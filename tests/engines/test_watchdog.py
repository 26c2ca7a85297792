"""Test that no process of an engine outlives the run that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engines.runtime import watchdog

PARENT = """
import subprocess, sys, time
from engines.runtime import watchdog
child = subprocess.Popen(["sleep", "600"])
guard = watchdog.guard([child.pid])
print(child.pid, guard.pid, flush=True)
time.sleep(600)
"""


def test_killed_parent_leaves_no_child() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    _wait_until_gone(pids)


def test_released_watchdog_kills_nothing() -> None:
    child = subprocess.Popen(["sleep", "600"])
    watchdog.release(watchdog.guard([child.pid]))
    time.sleep(0.2)
    assert child.poll() is None
    child.kill()
    assert child.wait() == -signal.SIGKILL


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if _alive(pid)]}"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except (ProcessLookupError, FileNotFoundError):
        return False
