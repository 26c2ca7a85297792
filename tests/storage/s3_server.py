"""S3 over HTTP for tests: moto's server, behind a proxy that injects faults."""

import http.client
import logging
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

__all__ = ["BUCKET", "FaultyProxy", "s3_server"]

BUCKET = "bucket"
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code>"
    b"<Message>Please reduce your request rate.</Message></Error>"
)
# Headers that belong to one connection.
CONNECTION_HEADERS = {"connection", "transfer-encoding", "content-length", "expect", "date"}


class FaultyProxy:
    """A proxy that answers a share of the requests with a fault.

    The faults are "slow down" (503), "reset" (the connection is reset before an answer), "lost
    answer" (the same after the server has done the request) and "truncated" (half of an answer).
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.share = 0.0
        self.counts = Counter[str]()
        self._random = random.Random(1)
        self._lock = threading.Lock()

    def next_fault(self) -> str:
        """Return the fault of the next request; "" for none."""
        with self._lock:
            fault = ""
            if self._random.random() < self.share:
                fault = self._random.choice(["slow down", "reset", "lost answer", "truncated"])
            self.counts[fault] += 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.proxy.next_fault()
        if fault == "slow down":
            self.answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            return
        if fault == "reset":
            self.reset()
            return
        target = http.client.HTTPConnection("127.0.0.1", self.server.proxy.target_port)
        try:
            target.request(self.command, self.path, body, dict(self.headers.items()))
            response = target.getresponse()
            content = response.read()
        finally:
            target.close()
        if fault == "lost answer":
            self.reset()
            return
        sent = content
        if fault == "truncated" and len(content) > 1:
            sent = content[: len(content) // 2]
            self.close_connection = True
        self.answer(response.status, dict(response.getheaders()), content, sent)

    def answer(
        self, status: int, headers: dict[str, str], body: bytes, sent: bytes | None = None
    ) -> None:
        """Send an answer, of whose body only a part may be sent."""
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers.items():
            # The answer to HEAD has the length of a body that is not sent.
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in CONNECTION_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if sent is None else sent)

    def reset(self) -> None:
        # Closing then sends a reset instead of the end of the stream.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: FaultyProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: connections that the proxy resets fail."""


@contextmanager
def s3_server() -> Iterator[tuple[str, FaultyProxy]]:
    """Run a server with one bucket; yield its URL and the proxy."""
    # moto's server logs every request to standard error.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        _, port = moto.get_host_and_port()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("PUT", f"/{BUCKET}")
        connection.getresponse().read()
        connection.close()
        proxy = FaultyProxy(port)
        server = _Server(proxy)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", proxy
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    finally:
        moto.stop()
