"""The batch endpoints of a server with the API of OpenAI: `/v1/files` and `/v1/batches`.

A file of requests, one a line, is uploaded, and a batch is made of it, which the server answers
within a day. Its results are two other files, one with answers and one with errors.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import openai
from openai import AsyncOpenAI

from engines.runtime.openai_replies import UnreadableReply, excerpt, parse_reply

__all__ = ["Batch", "BatchApi", "BatchError", "Call", "Endpoint", "read_a_batch"]

T = TypeVar("T")

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]

FINAL_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})
KNOWN_STATUSES = FINAL_STATUSES | {"validating", "in_progress", "finalizing", "cancelling"}
# The longest page that the API returns.
PAGE = 100
MESSAGE_CHARACTERS = 300


class Call(Protocol):
    """A function that sends a request, and repeats it after faults."""

    async def __call__(self, send: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Return the answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchError:
    """Why a server refused a batch."""

    code: str
    message: str
    line: int | None
    """The line of the request that is invalid, from 1; None if the reason is another one."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as its server describes it."""

    batch_id: str
    input_file_id: str
    status: str
    """One of `KNOWN_STATUSES`. A status that the API does not have is not final."""
    result_file_ids: Sequence[str]
    """The files of the results that exist."""
    results: int
    """The number of requests with a result; 0 if the server does not count them."""
    errors: Sequence[BatchError]

    @property
    def is_final(self) -> bool:
        """Whether the server has ended its work on the batch."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, kw_only=True)
class BatchApi:
    """The batch endpoints, each call repeated after faults."""

    call: Call
    endpoint: Endpoint

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file of requests, and return its id."""

        async def send(client: AsyncOpenAI) -> str:
            reply = await client.files.with_raw_response.create(
                file=(name, content, "application/jsonl"), purpose="batch"
            )
            return _id_in(parse_reply(reply.text))

        return await self.call(send)

    async def create(self, input_file_id: str) -> Batch:
        """Make a batch of an uploaded file, exactly one also if replies are lost."""
        attempts = 0

        async def send(client: AsyncOpenAI) -> Batch:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                # An attempt without a reply may have made the batch, which costs money.
                batch = await _find(client, input_file_id)
                if batch is not None:
                    return batch
            reply = await client.batches.with_raw_response.create(
                input_file_id=input_file_id, endpoint=self.endpoint, completion_window="24h"
            )
            return _read_batch(parse_reply(reply.text))

        return await self.call(send)

    async def find(self, input_file_id: str) -> Batch | None:
        """Return the batch of an uploaded file; None if there is none."""
        return await self.call(lambda client: _find(client, input_file_id))

    async def retrieve(self, batch_id: str) -> Batch:
        """Return the present state of a batch."""

        async def send(client: AsyncOpenAI) -> Batch:
            reply = await client.batches.with_raw_response.retrieve(batch_id)
            return _read_batch(parse_reply(reply.text))

        return await self.call(send)

    async def download(self, file_id: str) -> bytes:
        """Return the content of a file."""

        async def send(client: AsyncOpenAI) -> bytes:
            reply = await client.files.content(file_id)
            return reply.content

        return await self.call(send)


async def read_a_batch(client: AsyncOpenAI) -> None:
    """Send a small request, which shows whether the server answers."""
    await _list(client, 1, None)


async def _find(client: AsyncOpenAI, input_file_id: str) -> Batch | None:
    # All pages, the newest batches first: a run can be resumed after many others.
    after: str | None = None
    while True:
        batches = await _list(client, PAGE, after)
        for fields in batches:
            if fields.get("input_file_id") == input_file_id:
                return _read_batch(fields)
        last = _id_in(batches[-1]) if batches else None
        # Some servers return all batches on one page, and ignore where it should begin.
        if last is None or last == after:
            return None
        after = last


async def _list(client: AsyncOpenAI, limit: int, after: str | None) -> Sequence[Mapping[str, Any]]:
    """Return a page of the batches of the account."""
    reply = await client.batches.with_raw_response.list(limit=limit, after=after or openai.omit)
    entries = parse_reply(reply.text).get("data")
    if entries is None:
        entries = []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnreadableReply("the list of batches is no list of objects")
    return entries


def _read_batch(fields: Mapping[str, Any]) -> Batch:
    result_files: list[str] = []
    for name in ("output_file_id", "error_file_id"):
        if fields.get(name):
            result_files.append(str(fields[name]))
    return Batch(
        batch_id=_id_in(fields),
        input_file_id=str(fields.get("input_file_id") or ""),
        status=str(fields.get("status") or "").lower(),
        result_file_ids=result_files,
        results=_results(fields.get("request_counts")),
        errors=_errors(fields.get("errors")),
    )


def _id_in(fields: Mapping[str, Any]) -> str:
    value = fields.get("id")
    if not isinstance(value, str) or not value:
        raise UnreadableReply("the reply has no id")
    return value


def _results(counts: Any) -> int:
    """Return the number of requests that were answered or have failed."""
    if not isinstance(counts, dict):
        return 0
    values = [counts.get("completed"), counts.get("failed")]
    return sum(value for value in values if type(value) is int)


def _errors(errors: Any) -> Sequence[BatchError]:
    entries: Any = errors
    if isinstance(errors, dict):
        entries = errors.get("data")
    if not isinstance(entries, list):
        return []
    read: list[BatchError] = []
    for entry in entries:
        if isinstance(entry, dict):
            line = entry.get("line")
            message = " ".join(str(entry.get("message") or "").split())
            error = BatchError(
                code=str(entry.get("code") or "").lower(),
                message=excerpt(message, MESSAGE_CHARACTERS),
                line=line if type(line) is int and line > 0 else None,
            )
            read.append(error)
    return read
