"""Ends processes that would outlive this one: vLLM's engine core survives a killed parent and keeps its gigabytes."""

import subprocess
from collections.abc import Sequence

__all__ = ["guard", "release"]

# `read` returns when the last holder of the pipe's other end, this process, is gone, however it went.
SCRIPT = 'read -r _; kill -9 "$@" 2>/dev/null'


def guard(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a shell that kills the processes once this one has ended; it holds nothing but a pipe.

    A child forked (not spawned) from this process later holds the pipe too, and delays the kill until it has ended itself.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, "stepmark-watchdog", *map(str, pids)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # else Ctrl-C would end the watchdog first
    )


def release(watchdog: subprocess.Popen[bytes]) -> None:
    """Call the watchdog off, its processes having ended in order."""
    watchdog.kill()
    watchdog.communicate()
