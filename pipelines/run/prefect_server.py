"""The Prefect server of a run: the configured one, or a private one that ends with the run.

Prefect's own temporary server is unsuitable: Ctrl-C stops it before the run has ended, it outlives
a killed run and keeps its output open, and all such servers share one database file in the home
folder. The private server has its own session and an in-memory database.
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

from engines.runtime import watchdog
from stepmark.errors import ConfigError, InstallError

__all__ = ["configured_url", "reachable_server"]

# Covers the imports and the creation of tables of a new server on a busy machine.
START_SECONDS = 180.0
POLL_SECONDS = 0.1
HEALTH_TIMEOUT_SECONDS = 10.0
# The end of the server's log that an error message quotes.
LOG_CHARACTERS = 300
# Long enough to print the error message of the command.
EXIT_SECONDS = 2.0
USER_ERROR_STATUS = 2
ENVIRONMENT = {
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///:memory:",
    # The flows use no block types. Prefect would also remember in the home folder that this
    # database, which disappears with the server, has them.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


def configured_url() -> str | None:
    """Return the URL of the Prefect server configured by PREFECT_API_URL or a profile."""
    return get_current_settings().api.url


@contextmanager
def reachable_server() -> Iterator[None]:
    """Provide a Prefect server for flows that run within the block.

    Raises:
        ConfigError: The configured server does not answer, or stops answering.
        InstallError: The private server does not start.
    """
    url = configured_url()
    if url is None:
        with _private_server():
            yield
        return
    try:
        if not _answers(url):
            raise ConfigError(
                f"no Prefect server answers at {url}: start it with `prefect server start`, "
                "or unset PREFECT_API_URL"
            )
        yield
    except httpx.TransportError as error:
        _exit_soon()
        raise ConfigError(
            f"the Prefect server at {url} stopped answering ({error}): finished parts are kept, "
            "run again"
        ) from error


def _exit_soon() -> None:
    """End the process shortly, after the error has been printed.

    On a normal exit Prefect retries the delivery of its events to the dead server for minutes.
    """
    timer = threading.Timer(EXIT_SECONDS, os._exit, [USER_ERROR_STATUS])
    timer.daemon = True
    timer.start()


@contextmanager
def _private_server() -> Iterator[None]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-ui", "--no-services"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A separate session, so that Ctrl-C in the terminal does not reach the server.
            start_new_session=True,
        )
        # Kills the server if this process is killed.
        guard = watchdog.guard([server.pid])
        try:
            _wait_until_up(url, port, server, log)
            # Events and logs of the private server are never read. On exit Prefect would wait for
            # minutes to deliver them to the stopped server.
            EventsWorker.set_client_override(NullEventsClient)
            with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}):
                yield
        finally:
            server.kill()
            server.wait()
            watchdog.release(guard)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_up(url: str, port: int, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    # A connection takes a hundredth of the processor time of a request.
    while not (_is_listening(port) and _answers(url)):
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
            raise InstallError(
                f"Prefect's temporary server did not start: {text[-LOG_CHARACTERS:]}"
            )
        time.sleep(POLL_SECONDS)


def _is_listening(port: int) -> bool:
    """Return whether a process accepts connections on a local port."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    """Return whether a server answers at the URL.

    Any response counts, an error status too: Prefect Cloud has no health endpoint without a key.
    """
    # Loading the certificates takes longer than the request, so plain http skips it.
    verify = url.startswith("https:")
    try:
        httpx.get(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS, verify=verify)
    except (httpx.TransportError, httpx.InvalidURL):
        return False
    return True
