"""The server of the pages: one process on this machine, until it is interrupted."""

import ipaddress
import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

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
# Added to the number of a signal, as shells do.
SIGNAL_STATUS = 128


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
    with listener, _other_interrupts_exit(server):
        announce(address)
        if browse:
            webbrowser.open(address)
        server.run(sockets=[listener])
    if server.is_interrupted:
        raise KeyboardInterrupt


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

    is_interrupted = False
    """Whether Ctrl-C has ended the server."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the reading, for which requests and the end of the process wait; then the server."""
        if sig == signal.SIGINT and self.is_interrupted:
            _exit_at_once(sig, frame)
        self.config.app.state.stop()  # type: ignore[union-attr]
        if sig == signal.SIGINT:
            # The library would raise the signal again when the event loop ends.
            self.is_interrupted = True
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


@contextmanager
def _other_interrupts_exit(server: _Server) -> Iterator[None]:
    """Let Ctrl-C end the process at once where the server does not handle it: before and after it.

    An exception would be printed wherever the process waits for its threads. Every entry of a rater
    is on the disk before the page shows it, so there is nothing to lose.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _exit_at_once)
    try:
        yield
    finally:
        # After a Ctrl-C, the end of the process takes a while, too.
        if not server.is_interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    os._exit(SIGNAL_STATUS + number)


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
