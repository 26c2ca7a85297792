"""The Prefect server on which a run is displayed, if one is configured.

Without one a run does not import Prefect: that takes longer than a small run, and a server that
ended with the run would display nothing.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from stepmark.errors import ConfigError, StepmarkError

__all__ = ["configured_url", "reachable_server"]

HEALTH_TIMEOUT_SECONDS = 10.0
# Long enough to print the error message of the command.
EXIT_SECONDS = 2.0
USER_ERROR_STATUS = 2


def configured_url() -> str | None:
    """Return the URL of the server that the environment, a profile or a file configures.

    Raises:
        ConfigError: Prefect cannot read its settings.
    """
    if not _has_settings():
        return None
    try:
        # Prefect reads its settings when this is imported.
        from prefect.settings import get_current_settings

        return get_current_settings().api.url
    except (OSError, ValueError) as error:
        # The error may quote a secret.
        raise ConfigError(
            "Prefect cannot read its settings (PREFECT_* variables, a profile or a file): "
            "`prefect config view` prints the reason"
        ) from error


def _has_settings() -> bool:
    """Return whether the places exist in which Prefect looks for the URL of a server."""
    if os.environ.get("PREFECT_API_URL") or os.environ.get("PREFECT_PROFILE"):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if profiles.expanduser().exists() or Path("prefect.toml").exists():
        return True
    return _contains(".env", b"PREFECT_") or _contains("pyproject.toml", b"[tool.prefect")


def _contains(path: str, text: bytes) -> bool:
    """Return whether a file of the current folder exists and contains a text."""
    try:
        return text in Path(path).read_bytes()
    except OSError:
        return False


@contextmanager
def reachable_server(url: str) -> Iterator[None]:
    """Check that the server answers, and report its loss within the block as one line.

    Raises:
        ConfigError: The server does not answer, or stops answering.
    """
    try:
        if not _answers(url):
            cure = "unset PREFECT_API_URL"
            if "PREFECT_API_URL" not in os.environ:
                cure = (
                    "remove PREFECT_API_URL from Prefect's settings, of which"
                    " `prefect config view --show-sources` prints the place"
                )
            raise ConfigError(
                f"no Prefect server answers at {url}: start it with `prefect server start`, or"
                f" {cure}"
            )
        yield
    except StepmarkError:
        raise
    except Exception as error:
        # Prefect raises errors of many types when it does not reach its server.
        if not isinstance(error, httpx.TransportError) and _answers(url):
            raise
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
