"""The process in which code runs: it limits and locks itself first, reads what to run then, and never starts anything.

    python -c START ROOT ROLE JOB REPORT FOLDER PARENT SECONDS [REQUESTS REPLIES]

JOB and REPORT are open files: an object of JSON, and where one line of JSON is to be written, with the job's nonce in it. FOLDER is what
may be written to, besides; "" for nothing. PARENT is the process to die with, SECONDS are of the processor.

Nothing hostile has been read when the locks are put on, and where a lock is missing nothing is.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from verifiers.code_sandbox import examiner, landlock, notebook, program, seccomp

__all__ = ["NO_SANDBOX", "START", "main"]

START = "import sys; sys.path.append(sys.argv[1]); from verifiers.code_sandbox.inside import main; main()"
NO_SANDBOX = "no sandbox here"
MEMORY_BYTES = 2**30
FILE_BYTES = 2**24
FILES = 64
LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
)
"""Of the system: what Python's own extension modules are linked to."""
PR_SET_PDEATHSIG, SIGKILL = 1, 9
Role = Callable[..., list[Any]]
ROLES: dict[str, Role] = {
    "serve": program.serve,
    "run": program.run,
    "examine": examiner.examine,
    "read": examiner.read,
    "replay": notebook.replay,
}


def main() -> None:
    """Lock up, then do the job."""
    root, role, job, report, folder, parent, seconds, *pipes = sys.argv[1:]
    sys.path.remove(root)
    sys.argv[:] = [""]
    read = int(job)
    try:
        _limit(int(parent), int(seconds))
        landlock.lock([*sys.path, f"{sys.base_prefix}/lib", *LIBRARIES], [folder] if folder else [])
        seccomp.lock()
    except (seccomp.LockError, OSError, AttributeError, ImportError, ValueError) as error:
        _write(int(report), [f"{NO_SANDBOX}: {error or type(error).__name__}"])
        return
    with os.fdopen(read, encoding="utf-8") as file:
        content = json.load(file)
    nonce = content.pop("nonce")
    _write(int(report), [nonce, *ROLES[role](content, *map(int, pipes))])
    os._exit(0)  # nothing that the code has left behind, threads and exit handlers, is waited for


def _limit(parent: int, seconds: int) -> None:
    """Die with the parent, and stay small. The signal at the end of the time can be caught, the one a second after cannot."""
    import ctypes
    import resource

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it had died before
    for limit, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES),
        (resource.RLIMIT_NOFILE, FILES, FILES),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, most = resource.getrlimit(limit)
        bounded = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(limit, (min(soft, bounded), bounded))


def _write(report: int, line: list[Any]) -> None:
    os.write(report, json.dumps(line).encode())
