"""A watchdog that kills child processes when this process ends.

The engine core of vLLM survives a killed parent and keeps its gigabytes of memory.
"""

import subprocess
from collections.abc import Sequence

__all__ = ["guard", "release"]

# `read` returns once no process holds the other end of the pipe: when this process has ended.
SCRIPT = 'read -r _; kill -9 "$@" 2>/dev/null'


def guard(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a shell that kills the processes once this process has ended.

    The shell holds nothing but a pipe. A child that is later forked (not spawned) from this process
    holds the pipe too, and delays the kill until it has ended.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, "stepmark-watchdog", *map(str, pids)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # otherwise Ctrl-C would end the watchdog first
    )


def release(watchdog: subprocess.Popen[bytes]) -> None:
    """Stop the watchdog.

    Call it after the guarded processes have ended, or reused process ids could be killed.
    """
    watchdog.kill()
    watchdog.communicate()
