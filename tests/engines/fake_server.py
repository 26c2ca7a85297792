"""A local HTTP server with prepared answers that records its requests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "FakeServer", "completion", "refusing_url"]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    """The JSON of the reply; bytes are sent as they are."""
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    sent_bytes: int | None = None
    """The number of bytes of the body after which the connection is closed; None for all.

    With -1 the connection is closed before the status is sent.
    """
    head: bytes | None = None
    """What is sent in place of the status and the headers; None for those."""


@dataclass
class FakeServer:
    """A server that returns its answers in turn and repeats the last one."""

    url: str
    answers: Sequence[Answer]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    active: int = 0
    most_concurrent: int = 0
    """The largest number of requests that were active at the same time."""
    respond: Callable[[Mapping[str, Any]], Answer] | None = None
    """Returns the answer to a request, in place of `answers`."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection even if the client disconnects."""
        try:
            # The end of a test cancels requests that hang.
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        self.requests.append(json.loads(await reader.readexactly(length)))
        self.headers.append(head)
        if self.respond is None:
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        else:
            answer = self.respond(self.requests[-1])
        self.active += 1
        self.most_concurrent = max(self.most_concurrent, self.active)
        await asyncio.sleep(answer.delay)
        self.active -= 1
        body = answer.body
        if not isinstance(body, bytes):
            # As real servers do. A lone surrogate cannot be encoded, and is escaped.
            body = json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace")
        if answer.sent_bytes == -1:
            return
        fields = [
            "content-type: application/json",
            "connection: close",
            f"content-length: {len(body)}",
        ]
        fields += [f"{name}: {value}" for name, value in answer.headers.items()]
        sent_head = "\r\n".join([f"HTTP/1.1 {answer.status} x", *fields, "", ""]).encode()
        if answer.head is not None:
            sent_head = answer.head
        writer.write(sent_head + body[: answer.sent_bytes])
        await writer.drain()

    @classmethod
    @contextlib.asynccontextmanager
    async def answering(cls, *answers: Answer) -> "AsyncIterator[FakeServer]":
        fake = cls(url="", answers=answers)
        # With port 0, the operating system selects a free port.
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield fake


async def refusing_url() -> str:
    """Return a URL on which no server listens."""
    # The port was free a moment ago, so nothing listens on it after the close.
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}/v1"


USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def completion(*texts: str, chat: bool = False, usage: Any = USAGE) -> Answer:
    """Return a successful answer."""
    choices: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        choice: dict[str, Any] = {"index": index, "finish_reason": "stop"}
        if chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choices.append(choice)
    return Answer(
        body={
            "id": "1",
            "object": "x",
            "created": 0,
            "model": "m",
            "choices": choices,
            "usage": usage,
        }
    )
