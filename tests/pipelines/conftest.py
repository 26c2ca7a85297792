"""A Prefect server for the tests, started when the first test needs it."""

import gc
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.__main__ import QUIET
from tests.pipelines.running import free_port

# A bound for busy machines. Nothing is measured.
START_SECONDS = 180

# Prefect reads its settings when it is imported, which the test modules do.
os.environ.update(QUIET)
warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server as `prefect server start` creates it, with all services."""
    home = tmp_path_factory.mktemp("prefect")
    port = str(free_port())
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", port, "--no-ui"]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    }
    with Path(home, "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_until_up(url, server, home / "log")
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def _session_settings(server_url: str) -> Iterator[None]:
    """Prefect settings that last for the session.

    Prefect's threads outlive a test. They deliver their events to this server before it stops.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server_url}):
        yield
        # A server that does not answer must not block the end of the tests for long.
        EventsWorker.drain_all(timeout=30)
        APILogWorker.drain_all(timeout=30)


@pytest.fixture
def prefect_server(server_url: str, _session_settings: None) -> Iterator[str]:
    """The URL of the server on which the flows of this process run."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server_url}):
        yield server_url
    # Objects that Prefect leaves open are collected here, where their warnings are ignored, and not
    # in a later test.
    gc.collect()


def _wait_until_up(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the Prefect server ended: {log.read_text()[-3000:]}"
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"no Prefect server after {START_SECONDS} s: {log.read_text()[-3000:]}")
