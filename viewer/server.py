"""The server of the pages: one process on this machine, until it is interrupted."""

import ipaddress
import secrets
import socket
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from stepmark.errors import ConfigError
from storage.dataset.dataset import Dataset
from viewer.access import Access
from viewer.app import create_app
from viewer.labelling import Labelling

__all__ = ["configuration", "serve"]

LOCAL_NAME = "localhost"
HTTP_PORT = 80
# 192 bits, which cannot be guessed.
TOKEN_BYTES = 24
# An address can contain an id of a damaged or hostile dataset, or a query of 20,000 characters.
MAX_REQUEST_BYTES = 1 << 20


def serve(
    dataset: Dataset,
    host: str,
    port: int,
    *,
    announce: Callable[[str], None],
    browse: bool,
    labelling: Labelling | None = None,
) -> None:
    """Serve the pages of a dataset until the process is interrupted.

    Args:
        dataset: The dataset.
        host: The address to bind. Other addresses than those of this machine need a token.
        port: The port; 0 for any free one.
        announce: Called with the address of the pages when they can be requested.
        browse: Whether to open the address in a browser.
        labelling: How people label; None for pages that only show the dataset.

    Raises:
        DatasetError: The dataset does not exist.
        ConfigError: The address cannot be bound.
    """
    dataset.require()
    listener = _bind(host, port)
    bound_port = listener.getsockname()[1]
    access = Access(token=secrets.token_urlsafe(TOKEN_BYTES))
    if _is_loopback(host):
        # A browser on this machine may use any of these names.
        names = dict.fromkeys((_bracketed(host), LOCAL_NAME, "127.0.0.1", "[::1]"))
        hosts = [f"{name}:{bound_port}" for name in names]
        if bound_port == HTTP_PORT:
            # Browsers leave this port out.
            hosts.extend(names)
        access = Access(hosts=hosts)
    address = f"http://{_bracketed(host)}:{bound_port}/"
    if access.token:
        address += f"?token={access.token}"
    server = _Server(configuration(create_app(dataset, access, labelling)))
    announce(address)
    if browse:
        webbrowser.open(address)
    with listener:
        server.run(sockets=[listener])


def configuration(app: Starlette) -> uvicorn.Config:
    """Return the configuration of a server of an application."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="on",
        # Headers of proxies could name another client or host.
        proxy_headers=False,
        server_header=False,
        # The other parser that can be installed has a fixed limit of 64 KiB.
        http="h11",
        h11_max_incomplete_event_size=MAX_REQUEST_BYTES,
    )


class _Server(uvicorn.Server):
    """A server that a signal ends at once, although it still reads the dataset."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the reading, for which requests and the end of the process wait; then the server."""
        self.config.app.state.stop()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET
    if ":" in host:
        family = socket.AF_INET6
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot serve at {host} port {port}: {reason}; choose others with --host and --port"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == LOCAL_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
