"""A worker process on another machine than its coordinator, and the relay that starts it there.

The relay is an actor of Ray or Dask. It starts the same worker process as a run on one machine (see
`worker`) and passes its messages on: the coordinator calls `exchange` again and again. A relay that
is not called for `silence_seconds` kills its worker, because the coordinator has ended or assigns
the shards of the worker to another one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

__all__ = ["WORKER_MODULE", "Relay"]

WORKER_MODULE = "pipelines.run.workers.worker"
READ_BYTES = 2**16
WATCH_SECONDS = 0.5

Reply = tuple[str, bytes, int | None]


class Relay:
    """A worker process of this machine.

    Args:
        folder: The current folder of the coordinator, from which relative paths start. Without such
            a folder on this machine the worker starts in the current one.
        silence_seconds: The time without a call after which the worker is killed.
    """

    def __init__(self, folder: str, silence_seconds: float) -> None:
        self._session = uuid.uuid4().hex
        self._silence_seconds = silence_seconds
        self._called = time.monotonic()
        self._output = b""
        self._has_ended = False
        self._changed = threading.Condition()
        # The worker finds modules where this process does.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder if Path(folder).is_dir() else None,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # so that its children can be killed with it
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._reading.start()
        self._watching.start()

    def exchange(self, messages: bytes, wait_seconds: float) -> Reply:
        """Send messages to the worker and wait for messages of it.

        Returns:
            A random text that identifies this relay, the messages of the worker, and its exit
            status: None if it has not ended.
        """
        self._called = time.monotonic()
        self._send(messages)
        with self._changed:
            self._changed.wait_for(lambda: self._output or self._has_ended, wait_seconds)
            output = self._output
            self._output = b""
            has_ended = self._has_ended and not output
        self._called = time.monotonic()
        return self._session, output, self._process.wait() if has_ended else None

    def close(self) -> None:
        """Kill the worker and its children, if they run, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reading.join()
        self._watching.join()
        assert self._process.stdin is not None
        # What was not sent before the end is lost.
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _send(self, messages: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(messages)
            self._process.stdin.flush()
        except OSError:
            # It has ended, which the exit status says.
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            while data := os.read(stdout.fileno(), READ_BYTES):
                with self._changed:
                    self._output += data
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _watch(self) -> None:
        while self._process.poll() is None:
            if time.monotonic() - self._called > self._silence_seconds:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                return
            time.sleep(WATCH_SECONDS)
