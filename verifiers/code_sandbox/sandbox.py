"""Start, wait for and kill sandboxed processes.

Each process runs one role (see `sandbox_main`) in a new interpreter. It has an empty environment,
no open files except its job, its report and its pipes, a temporary folder, and the restrictions of
`landlock` and `seccomp`, without which it runs nothing. It cannot start other processes, so killing
it leaves nothing behind, and it dies with the process that started it.

What is not covered:

- Bugs of the kernel, and side channels such as timing.
- When the parent is killed, the temporary folder is left behind.
"""

import contextlib
import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Self

from verifiers.code_sandbox.sandbox_main import NO_SANDBOX, START_CODE

__all__ = ["Sandbox", "SandboxProcess"]

# Without the user's packages, the site's and the current folder. `-I` would do the same, but would
# also ignore PYTHONHASHSEED.
PYTHON = (sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", START_CODE)
ROOT = Path(__file__).parents[2]
# CPU time of each process.
CPU_SECONDS = 2
# Wall time of all processes of one claim together. It is longer than the CPU time, because the
# machine may be busy.
WALL_SECONDS = 8.0
MAX_FOLDER_BYTES = 2**26
# More files take longer to delete than a claim may take, and more threads slow down the machine.
MAX_FILES = 1000
MAX_THREADS = 64
MAX_REPORT_BYTES = 2**16
# Polling starts short, for quick programs, and doubles up to the longer interval.
SHORTEST_POLL_SECONDS = 0.002
LONGEST_POLL_SECONDS = 0.05
# How `/proc/PID/maps` marks a mapped file that was deleted.
DELETED = " (deleted)"
NO_REPORT = "the code ended the process"
REASON_OF_SIGNAL: Mapping[int, str] = {
    signal.SIGXCPU: "timeout",
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "the code crashed the process",
}


class SandboxProcess:
    """One sandboxed process. Its report and output are files, so that nothing blocks on a pipe."""

    def __init__(
        self,
        role: str,
        job: Mapping[str, Any],
        *,
        folder: str,
        pipes: Sequence[int] = (),
        stdin_text: str | None = None,
    ) -> None:
        # A report starts with the nonce. Anything else that the code writes to the report file is
        # not mistaken for a report.
        self._nonce = secrets.token_hex(16)
        with contextlib.ExitStack() as files:
            job_file = self._open_file(files, json.dumps({**job, "nonce": self._nonce}))
            self._report = self._open_file(files)
            self._output = self._open_file(files)
            stdin: IO[bytes] | int = subprocess.DEVNULL
            stdout: IO[bytes] | int = subprocess.DEVNULL
            if stdin_text is not None:
                stdin = self._open_file(files, stdin_text)
                stdout = self._output
            job_descriptor = job_file.fileno()
            report_descriptor = self._report.fileno()
            arguments = [
                str(ROOT),
                role,
                str(job_descriptor),
                str(report_descriptor),
                folder,
                str(os.getpid()),
                str(CPU_SECONDS),
                *map(str, pipes),
            ]
            self.process = subprocess.Popen(
                [*PYTHON, *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                cwd=folder or "/",
                env={"PYTHONHASHSEED": "0"},  # the order of sets is the same in every run
                pass_fds=(job_descriptor, report_descriptor, *pipes),
                start_new_session=True,
            )
            self._files = files.pop_all()

    def report(self) -> Sequence[Any]:
        """Return the result of the role, or a list of one reason if there is none.

        The process must have ended.
        """
        self._report.seek(0)
        try:
            line = json.loads(self._report.read(MAX_REPORT_BYTES))
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, list) and line:
            if line[0] == self._nonce:
                return line[1:]
            if str(line[0]).startswith(NO_SANDBOX):
                return [str(line[0])]
        # A negative return code is the number of the signal that killed the process.
        signal_number = -(self.process.returncode or 0)
        return [REASON_OF_SIGNAL.get(signal_number, NO_REPORT)]

    def output(self) -> str:
        """Return the standard output. It is kept only for a process with a `stdin_text`."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        """Kill the process and its process group, and delete its files."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._files.close()

    @staticmethod
    def _open_file(files: contextlib.ExitStack, text: str = "") -> IO[bytes]:
        file = files.enter_context(TemporaryFile())  # noqa: SIM115 - closed by the exit stack
        file.write(text.encode(errors="replace"))
        file.seek(0)
        return file


class Sandbox:
    """The processes of one claim and the folder that they may write to.

    Leaving the context kills the processes and deletes the folder.
    """

    def __init__(self) -> None:
        self._until = time.monotonic() + WALL_SECONDS
        self._processes = list[SandboxProcess]()
        self._temporary = TemporaryDirectory(prefix="stepmark-", ignore_cleanup_errors=True)
        self.folder = self._temporary.name

    def __enter__(self) -> Self:
        """Return the sandbox."""
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.close()
        self._temporary.cleanup()

    def start(
        self,
        role: str,
        job: Mapping[str, Any],
        *,
        writes: bool = False,
        pipes: Sequence[int] = (),
        stdin_text: str | None = None,
    ) -> SandboxProcess:
        """Start a process.

        Args:
            role: A key of `sandbox_main.ROLES`.
            job: The input of the role.
            writes: Whether the process may write to the folder of the sandbox.
            pipes: Descriptors that are passed to the role.
            stdin_text: The standard input. If it is set, the standard output is kept.
        """
        folder = self.folder if writes else ""
        process = SandboxProcess(role, job, folder=folder, pipes=pipes, stdin_text=stdin_text)
        self._processes.append(process)
        return process

    def wait(self, process: SandboxProcess) -> str:
        """Wait until a process ends.

        Returns:
            An empty text, or the reason if the waiting was given up.
        """
        interval = SHORTEST_POLL_SECONDS
        while process.process.poll() is None:
            if time.monotonic() > self._until:
                return "timeout"
            excess = self._excess()
            if excess:
                return excess
            time.sleep(interval)
            interval = min(2 * interval, LONGEST_POLL_SECONDS)
        return ""

    def _excess(self) -> str:
        """Return which limit on files or threads the processes exceed, "" if none.

        The kernel has such limits only for all processes of a user together.
        """
        running = [item.process.pid for item in self._processes if item.process.poll() is None]
        if sum(map(_threads, running)) > MAX_THREADS:
            return "the code starts too many threads"
        files, size = _folder_usage(self.folder)
        deleted = dict[int, int]()
        for pid in running:
            deleted |= _deleted_files(pid, self.folder)
        if files > MAX_FILES or size + sum(deleted.values()) > MAX_FOLDER_BYTES:
            return "the code writes too much"
        return ""


def _folder_usage(folder: str) -> tuple[int, int]:
    """Return the number of files in a folder and their size; counting stops above the limit.

    It cannot contain folders, because `mkdir` is refused.
    """
    count = 0
    size = 0
    with os.scandir(folder) as entries:
        for entry in islice(entries, MAX_FILES + 1):
            count += 1
            # The code may delete a file while the folder is read.
            with contextlib.suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_size
    return count, size


def _deleted_files(pid: int, folder: str) -> dict[int, int]:
    """Return the sizes of the files, by inode, that a process has deleted and still uses.

    They take up the disk while they are open or mapped. The files of the job and the report are
    among them.
    """
    sizes = dict[int, int]()
    # The process may end, and close files, meanwhile.
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    sizes[status.st_ino] = status.st_size
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            if folder in line and line.endswith(DELETED):
                addresses, _, _, _, inode, _ = line.split(maxsplit=5)
                first, last = (int(address, 16) for address in addresses.split("-"))
                sizes[int(inode)] = max(sizes.get(int(inode), 0), last - first)
    return sizes


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - as many strings as threads
    except OSError:
        return 0
