"""The Prefect server that a run talks to: the configured one, or one of its own that ends with the run, however the run ends.

Left to itself Prefect starts a temporary server that Ctrl-C ends before the run has, that outlives a killed run and holds its output
open, and that shares one database file in the home folder with every other. This one has a session and a database in memory of its own.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import httpx
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    get_current_settings,
    temporary_settings,
)

from engines.runtime import watchdog as _watchdog
from stepmark.errors import ConfigError, InstallError

__all__ = ["configured", "reachable"]

START_SECONDS = 180.0
"""For the imports and the tables of a new server, on a busy machine."""
POLL_SECONDS = 0.1
ANSWER_SECONDS = 10.0
LAST_WORDS = 300
LEAVE_SECONDS = 2.0
USER_ERROR = 2
ENVIRONMENT = {
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///:memory:",
    # Flows of ours need no block types, and Prefect would note in the home folder that a database which is gone has them.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


def configured() -> str | None:
    """The address of the Prefect server that the user has configured, by PREFECT_API_URL or a profile."""
    return get_current_settings().api.url


@contextmanager
def reachable() -> Iterator[None]:
    """Let flows run within the block; `ConfigError` when the configured server does not answer, or stops answering."""
    url = configured()
    if url is None:
        with _own():
            yield
        return
    try:
        if not _answers(url):
            raise ConfigError(
                f"no Prefect server answers at {url}: start it with `prefect server start`, or unset PREFECT_API_URL"
            )
        yield
    except httpx.TransportError as error:
        _leave_soon()
        raise ConfigError(
            f"the Prefect server at {url} has gone ({error}): what is finished is kept, run again"
        ) from error


def _leave_soon() -> None:
    """End the process when the message has been told: at exit Prefect would try for minutes to tell its events to a server that is gone."""
    leave = threading.Timer(LEAVE_SECONDS, os._exit, [USER_ERROR])
    leave.daemon = True
    leave.start()


@contextmanager
def _own() -> Iterator[None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--no-ui",
        "--no-services",
    ]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        watchdog = _watchdog.guard([server.pid])
        try:
            _wait(url, server, log)
            # Nobody will look at its events and logs, and at exit Prefect would wait for minutes to deliver them to a server that is gone.
            EventsWorker.set_client_override(NullEventsClient)
            with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}):
                yield
        finally:
            server.kill()
            server.wait()
            _watchdog.release(watchdog)


def _wait(url: str, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise InstallError(
                f"Prefect's temporary server did not start: {log.read().decode(errors='replace').strip()[-LAST_WORDS:]}"
            )
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    """Whether anything is said there, a refusal too: Prefect Cloud has no health to tell without a key."""
    try:
        # Where there are no certificates to check, none are read: that takes longer than the answer.
        httpx.get(f"{url}/health", timeout=ANSWER_SECONDS, verify=url.startswith("https:"))
    except (httpx.TransportError, httpx.InvalidURL):
        return False
    return True
