"""Entry point of the process in which code runs. It restricts itself before it reads any code.

    python -c START_CODE ROOT ROLE JOB REPORT FOLDER PARENT SECONDS [REQUESTS REPLIES]

- ROOT: the folder that contains the `verifiers` package.
- ROLE: a key of `ROLES`.
- JOB: the descriptor of a file with a JSON object, the input of the role.
- REPORT: the descriptor of a file that receives one line of JSON, starting with the job's nonce.
- FOLDER: the folder that the code may write to, or an empty argument.
- PARENT: the process id of the parent; the process dies with it.
- SECONDS: the limit of CPU time.
- REQUESTS, REPLIES: the descriptors of two pipes, for the roles that use them.

No untrusted input is read before all restrictions are in force. If one of them is not available,
none is read at all.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from verifiers.code_sandbox import landlock, program, program_tests, seccomp, step_blocks

__all__ = ["NO_SANDBOX", "START_CODE", "main"]

START_CODE = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from verifiers.code_sandbox.sandbox_main import main; main()"
)
NO_SANDBOX = "no sandbox here"
MEMORY_BYTES = 2**30
FILE_BYTES = 2**24
OPEN_FILES = 64
# System libraries that Python's extension modules are linked to.
LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
)
# linux/prctl.h. The number of SIGKILL is written out so that `signal` is not imported.
PR_SET_PDEATHSIG = 1
SIGKILL = 9
Role = Callable[..., list[Any]]
ROLES: dict[str, Role] = {
    "serve_program": program.serve_program,
    "run_script": program.run_script,
    "run_tests": program_tests.run_tests,
    "run_every_test": program_tests.run_every_test,
    "check_tests": program_tests.check_tests,
    "run_blocks": step_blocks.run_blocks,
}


def main() -> None:
    """Restrict the process, run the role, and write its report."""
    root, role, job, report, folder, parent, seconds, *pipes = sys.argv[1:]
    # Hide the package and the arguments from the program.
    sys.path.remove(root)
    sys.argv[:] = [""]
    job_descriptor = int(job)
    readable = [*sys.path, f"{sys.base_prefix}/lib", *LIBRARIES]
    writable = list[str]()
    if folder:
        writable.append(folder)
    try:
        _limit_resources(int(parent), int(seconds))
        # Landlock comes first: the seccomp filter refuses the system calls that it uses.
        landlock.restrict_files(readable, writable)
        seccomp.restrict_system_calls()
    except (
        seccomp.SandboxUnavailableError,
        OSError,
        AttributeError,
        ImportError,
        ValueError,
    ) as error:
        _write_report(int(report), [f"{NO_SANDBOX}: {error or type(error).__name__}"])
        return
    with os.fdopen(job_descriptor, encoding="utf-8") as file:
        content = json.load(file)
    nonce = content.pop("nonce")
    result = ROLES[role](content, *map(int, pipes))
    _write_report(int(report), [nonce, *result])
    # Ends at once: threads and exit handlers that the code left behind are not awaited.
    os._exit(0)


def _limit_resources(parent: int, seconds: int) -> None:
    """Make the process die with its parent, and limit its CPU time, memory and files.

    The signal at the end of the CPU time can be caught. The one a second later cannot.
    """
    import ctypes
    import resource

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the signal was requested
    limits = (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
    )
    for limit, soft, hard in limits:
        # A process cannot raise its hard limit, so a lower one is kept.
        _, current = resource.getrlimit(limit)
        bound = hard
        if current != resource.RLIM_INFINITY:
            bound = min(hard, current)
        resource.setrlimit(limit, (min(soft, bound), bound))


def _write_report(report: int, line: list[Any]) -> None:
    os.write(report, json.dumps(line).encode())
