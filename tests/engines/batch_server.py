"""A fake provider with the batch endpoints of OpenAI, over HTTP.

It follows https://platform.openai.com/docs/api-reference/batch: requests are uploaded as a JSONL
file, a batch is created from it, its status is polled, and its results are two other files.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.engines.fake_server import Answer

__all__ = ["BatchServer", "Line", "answer_line", "error_line", "texts_reply"]

Line = dict[str, Any]
# A page of a list.
PAGE = 2
FINAL = ("completed", "failed", "expired", "cancelled")


def texts_reply(body: Mapping[str, Any], *texts: str) -> dict[str, Any]:
    """Return a chat completion with these texts."""
    choices: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        message = {"role": "assistant", "content": text}
        choices.append({"index": index, "finish_reason": "stop", "message": message})
    usage = {"prompt_tokens": 10, "completion_tokens": 2 * len(texts)}
    return {"id": "c", "model": body["model"], "choices": choices, "usage": usage}


def answer_line(custom_id: str, body: Any, status: int = 200) -> Line:
    """Return a line of a result file."""
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "l", "custom_id": custom_id, "response": response, "error": None}


def error_line(custom_id: str, code: str, message: str = "not so") -> Line:
    """Return the line of a request that was not processed."""
    error = {"code": code, "message": message}
    return {"id": "l", "custom_id": custom_id, "response": None, "error": error}


def echo(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reply that contains the last turn, the seed and the index of each choice."""
    seed = body.get("seed", 0)
    user = body["messages"][-1]["content"]
    return texts_reply(body, *(f"{user} {seed + index}" for index in range(body.get("n", 1))))


@dataclass
class BatchServer:
    """A provider that answers batches after a few polls."""

    url: str = ""
    reply: Callable[[Mapping[str, Any]], Any] = echo
    """Returns the reply to one request; a `Line` with `custom_id` is used as it is."""
    polls: int = 1
    """How often a batch is polled before it ends."""
    end: Callable[[int], str] = lambda number: "completed"
    """Returns the final status of the batch with this number, from 0."""
    refuse: Callable[[int, Sequence[Line]], Sequence[Mapping[str, Any]]] = lambda number, lines: []
    """Returns the errors that make a batch fail."""
    edit: Callable[[int, list[Line]], list[Line]] = lambda number, lines: lines
    """Changes the lines of the results of a batch."""
    fault: Callable[[str, str, int], Answer | None] = lambda method, path, number: None
    """Returns the answer in place of the usual one, by the number of such requests before."""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    processed: list[Line] = field(default_factory=list)
    """The requests that were answered, which cost money."""
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        path = target.removeprefix("/v1")
        length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        content = await reader.readexactly(int(length[1]) if length else 0)
        call = (method, path.partition("?")[0])
        number = self.calls.count(call)
        self.calls.append(call)
        answer = self.fault(*call, number)
        # A fault with `sent_bytes` is one of the connection: the request is processed.
        if answer is None or answer.sent_bytes is not None:
            usual = self._answer(method, path, content)
            if answer is not None:
                usual = Answer(usual.status, usual.body, sent_bytes=answer.sent_bytes)
            answer = usual
        if answer.sent_bytes == -1:
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        lines = [
            f"HTTP/1.1 {answer.status} x",
            "content-type: application/json",
            "connection: close",
            f"content-length: {len(body)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[: answer.sent_bytes])
        await writer.drain()

    def _answer(self, method: str, path: str, content: bytes) -> Answer:
        name, _, query = path.partition("?")
        parts = name.strip("/").split("/")
        match (method, parts):
            case ("POST", ["files"]):
                return self._upload(content)
            case ("POST", ["batches"]):
                return self._create(json.loads(content))
            case ("GET", ["batches"]):
                return self._list(query)
            case ("GET", ["batches", batch_id]) if batch_id in self.batches:
                return Answer(body=self._poll(self.batches[batch_id]))
            case ("GET", ["files", file_id, "content"]) if file_id in self.files:
                return Answer(body=self.files[file_id])
            case ("POST", ["chat", "completions"]):
                return Answer(body=self.reply(json.loads(content)))
        return Answer(404, {"error": {"message": f"no {method} {path}"}})

    def _upload(self, content: bytes) -> Answer:
        assert b'name="purpose"\r\n\r\nbatch\r\n' in content
        file = re.search(
            rb'name="file"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', content, re.DOTALL
        )
        assert file is not None, content[:500]
        return Answer(body={"id": self._add_file(file[1]), "object": "file", "purpose": "batch"})

    def _add_file(self, content: bytes) -> str:
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return file_id

    def _create(self, body: Mapping[str, Any]) -> Answer:
        assert body["completion_window"] == "24h", body
        assert body["endpoint"] == "/v1/chat/completions", body
        lines = _lines(self.files[body["input_file_id"]])
        names = [line["custom_id"] for line in lines]
        assert len(set(names)) == len(names) > 0, names
        for line in lines:
            assert line["method"] == "POST", line
            assert line["url"] == body["endpoint"], line
        batch_id = f"batch_{len(self.batches)}"
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "created_at": len(self.batches),
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "polls": 0,
        }
        return Answer(body=self.batches[batch_id])

    def _list(self, query: str) -> Answer:
        newest = list(reversed(self.batches))
        after = re.search(r"after=([^&]+)", query)
        if after:
            newest = newest[newest.index(after[1]) + 1 :]
        page = [self.batches[name] for name in newest[:PAGE]]
        last = page[-1]["id"] if page else None
        has_more = len(newest) > PAGE
        return Answer(body={"object": "list", "data": page, "last_id": last, "has_more": has_more})

    def _poll(self, batch: dict[str, Any]) -> Mapping[str, Any]:
        batch["polls"] += 1
        if batch["status"] in FINAL:
            return batch
        if batch["polls"] <= self.polls:
            batch["status"] = "in_progress" if batch["polls"] < self.polls else "finalizing"
            return batch
        number = list(self.batches).index(batch["id"])
        lines = _lines(self.files[batch["input_file_id"]])
        errors = self.refuse(number, lines)
        if errors:
            batch.update(status="failed", errors={"object": "list", "data": list(errors)})
            return batch
        results = self.edit(number, [self._process(line) for line in lines])
        good = [line for line in results if (line.get("response") or {}).get("status_code") == 200]
        bad = [line for line in results if line not in good]
        batch["status"] = self.end(number)
        batch["request_counts"].update(completed=len(good), failed=len(bad))
        if good:
            batch["output_file_id"] = self._add_file(_jsonl(good))
        if bad:
            batch["error_file_id"] = self._add_file(_jsonl(bad))
        return batch

    def _process(self, line: Line) -> Line:
        reply = self.reply(line["body"])
        if "custom_id" in reply:
            return {**reply, "custom_id": line["custom_id"]}
        self.processed.append(line)
        return answer_line(line["custom_id"], reply)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, **fields: Any) -> "AsyncIterator[BatchServer]":
        """Serve on a free port while the block runs."""
        fake = cls(**fields)
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield fake


def _lines(content: bytes) -> list[Line]:
    return [json.loads(line) for line in content.splitlines()]


def _jsonl(lines: Sequence[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
