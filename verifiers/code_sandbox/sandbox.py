"""Locked processes: started afresh, given a job each, killed with all they hold when their time is up.

A process has no environment, no arguments that tell it anything, no open file but its job, its report and its pipes, a folder of its own
that is gone afterwards, and the locks of `landlock` and `seccomp`, without which it does nothing (see `inside`). It cannot start others, so
killing it leaves nothing behind, and it dies with the process that started it.

What is not covered: the kernel's own mistakes, and what can be learned from the time that things take. When the one who started them is
killed, its folder is left behind.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

from verifiers.code_sandbox.inside import NO_SANDBOX, START

__all__ = ["Box", "Sandbox"]

PYTHON = (sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", START)
"""Without the user's packages, the site's and the current folder; `-I` would also ignore the hash seed."""
ROOT = Path(__file__).parents[2]
CPU_SECONDS = 2
"""Of the processor, for each process."""
WALL_SECONDS = 8.0
"""For all processes of one claim together, whatever else the machine does."""
MAX_FOLDER_BYTES = 2**26
MAX_REPORT_BYTES = 2**16
NAP_SECONDS = (0.002, 0.05)
NO_REPORT = "the code ended the process"
ENDED_BY: Mapping[int, str] = {
    signal.SIGXCPU: "timeout",
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "the code crashed the process",
}


class Box:
    """One process; its output, when asked for, and its report are files, so that nobody waits for a pipe."""

    def __init__(
        self,
        role: str,
        job: Mapping[str, Any],
        *,
        folder: str,
        pipes: Sequence[int] = (),
        text: str | None = None,
    ) -> None:
        self._nonce = secrets.token_hex(16)
        with contextlib.ExitStack() as files:
            said = self._file(files, json.dumps({**job, "nonce": self._nonce}))
            self._report, self._output = self._file(files), self._file(files)
            stdin = self._file(files, text) if text is not None else subprocess.DEVNULL
            numbers = (said.fileno(), self._report.fileno(), *pipes)
            self.process = subprocess.Popen(
                [
                    *PYTHON,
                    str(ROOT),
                    role,
                    str(numbers[0]),
                    str(numbers[1]),
                    folder,
                    str(os.getpid()),
                    str(CPU_SECONDS),
                    *map(str, pipes),
                ],
                stdin=stdin,
                stdout=self._output if text is not None else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder or "/",
                env={"PYTHONHASHSEED": "0"},  # sets have one order, here and everywhere
                pass_fds=numbers,
                start_new_session=True,
            )
            self._files = files.pop_all()

    def report(self) -> Sequence[Any]:
        """What its role returned; one reason in a list when it did not come to that. The process must have ended."""
        self._report.seek(0)
        try:
            line = json.loads(self._report.read(MAX_REPORT_BYTES))
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, list) and line and line[0] == self._nonce:
            return line[1:]
        if isinstance(line, list) and line and str(line[0]).startswith(NO_SANDBOX):
            return [str(line[0])]
        return [ENDED_BY.get(-(self.process.returncode or 0), NO_REPORT)]

    def output(self) -> str:
        """What it has printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        """Kill it with all that it may have started, and forget its files."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._files.close()

    @staticmethod
    def _file(files: contextlib.ExitStack, text: str = "") -> IO[bytes]:
        file = files.enter_context(TemporaryFile())  # noqa: SIM115 - closed with the others
        file.write(text.encode(errors="replace"))
        file.seek(0)
        return file


class Sandbox:
    """The processes of one claim, and the folder that they may write to; leaving it ends them all."""

    def __init__(self) -> None:
        self._until = time.monotonic() + WALL_SECONDS
        self._boxes = list[Box]()
        self._temporary = TemporaryDirectory(prefix="stepmark-", ignore_cleanup_errors=True)
        self.folder = self._temporary.name

    def __enter__(self) -> Self:
        """The sandbox itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for box in self._boxes:
            box.close()
        self._temporary.cleanup()

    def start(
        self,
        role: str,
        job: Mapping[str, Any],
        *,
        writes: bool = False,
        pipes: Sequence[int] = (),
        text: str | None = None,
    ) -> Box:
        """A process in a role of `inside`; with a `text`, that is its input, and its output is kept."""
        box = Box(role, job, folder=self.folder if writes else "", pipes=pipes, text=text)
        self._boxes.append(box)
        return box

    def wait(self, box: Box) -> str:
        """Wait for the end of a process; returns why it was not waited for any longer, or ""."""
        nap, longest = NAP_SECONDS
        while box.process.poll() is None:
            if time.monotonic() > self._until:
                return "timeout"
            if _bytes_in(self.folder) > MAX_FOLDER_BYTES:
                return "it writes too much"
            time.sleep(nap)
            nap = min(2 * nap, longest)
        return ""


def _bytes_in(folder: str) -> int:
    """Of a folder in which no folders can be made."""
    with os.scandir(folder) as entries:
        return sum(_size(entry) for entry in entries)


def _size(entry: "os.DirEntry[str]") -> int:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0
