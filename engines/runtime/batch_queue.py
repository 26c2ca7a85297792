"""Requests that are gathered into batches, and batches that earlier runs have left.

A batch is recorded before its answers are awaited. After a kill, the same requests find their batch
by its record, so nothing is requested twice:

    gather -> look for records -> upload -> record -> make the batch -> record -> poll -> collect

A record is removed when all answers of its batch were returned and stored.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engines.base import BatchRecords
from engines.runtime.batch_api import KNOWN_STATUSES, Batch, BatchApi, BatchError
from engines.runtime.batch_record import BatchRecord, decode, encode
from engines.runtime.batch_results import (
    Line,
    is_answer,
    read_lines,
    read_result,
    rejection,
    was_processed,
)
from stepmark.errors import ConfigError, EngineError, EngineUnavailableError, StepmarkError

__all__ = ["BatchLimits", "BatchQueue"]

# The limit of OpenAI is 200 MB.
MAX_FILE_BYTES = 190_000_000
# The code of a batch that would exceed what an account may have in open batches together.
TOO_MANY_TOKENS = "token_limit_exceeded"
# After a refusal the waits double up to an hour: other batches must end first.
MAX_WAIT_SECONDS = 3600.0
# How often files of results are downloaded that have fewer lines than there should be.
DOWNLOADS = 5
# An answer passes through a few tasks until it is stored, each of which needs a turn of the loop.
LOOP_TURNS = 100


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """When a batch is submitted and how often its status is read."""

    requests: int
    gather_seconds: float
    poll_seconds: float


@dataclass(eq=False)
class _Request:
    """A request that waits for its result."""

    key: str
    body: Mapping[str, Any]
    answer: "asyncio.Future[Line | None]"
    custom_id: str = ""
    """Its name in the batch."""
    line: bytes = b""
    """Its line in the file, until the file is uploaded."""


@dataclass(eq=False)
class _OpenBatch:
    """A batch of this run or of an earlier one."""

    name: str
    """The name of its record."""
    record: BatchRecord
    is_new: bool
    """Whether this run has recorded it."""
    may_exist: bool = True
    """Whether the server may have made the batch already."""
    unclaimed: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    """The ids of requests whose results this run has not returned, by key."""
    waiting: list[_Request] = field(default_factory=list)
    lines: Mapping[str, Line] | None = None
    """The results, once they are collected."""
    collecting: "asyncio.Task[None] | None" = None

    @property
    def is_used_up(self) -> bool:
        """Whether all answers have been returned."""
        return self.lines is not None and not self.waiting and not any(self.unclaimed.values())

    def claim(self, request: _Request) -> bool:
        """Let a request wait for this batch, if the batch contains it."""
        if not self.unclaimed[request.key]:
            return False
        request.custom_id = self.unclaimed[request.key].popleft()
        self.waiting.append(request)
        return True

    def unclaim(self, request: _Request) -> None:
        """Keep the answer to a request that was cancelled, for a later run."""
        self.unclaimed[request.key].appendleft(request.custom_id)


class BatchQueue:
    """The requests of one engine that wait for a batch.

    Args:
        api: The endpoints of the server.
        records: The records of batches.
        owner: A record with the identity, model and server of the engine.
        limits: When a batch is submitted.
        report: Tells the user something.
    """

    def __init__(
        self,
        *,
        api: BatchApi,
        records: BatchRecords,
        owner: BatchRecord,
        limits: BatchLimits,
        report: Callable[[str], None],
    ) -> None:
        self._api = api
        self._records = records
        self._owner = owner
        self._limits = limits
        self._report = report
        self._gathered: list[_Request] = []
        self._is_full = asyncio.Event()
        self._batches: dict[str, _OpenBatch] = {}
        self._foreign: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.Task[None] | None = None
        # Both change when the server has refused a batch as too large.
        self._most_requests = limits.requests
        self._refusals = 0

    async def result(self, key: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the reply to a request, from a batch of this run or of an earlier one.

        Args:
            key: A name of the request, the same in each run.
            body: The JSON of the request.

        Raises:
            UnreadableReply: The batch has no answer to this request, or an error.
            EngineUnavailableError: The server does not answer, or the batch was cancelled.
            ConfigError: The server refuses batches, or does not know a recorded one.
        """
        answer: asyncio.Future[Line | None] = asyncio.get_running_loop().create_future()
        self._add([_Request(key, body, answer)])
        return read_result(await answer)

    async def forget(self) -> None:
        """Remove the records of batches whose answers were all returned."""
        for name, batch in list(self._batches.items()):
            if batch.is_used_up:
                await asyncio.to_thread(self._records.remove, name)
                del self._batches[name]

    async def close(self) -> None:
        """Stop waiting. The batches go on at the server, and their records remain."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, requests: Sequence[_Request]) -> None:
        self._gathered.extend(requests)
        if len(self._gathered) >= self._most_requests:
            self._is_full.set()
        if self._gathered and (self._gathering is None or self._gathering.done()):
            self._gathering = self._start(self._gather())

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        # The event loop itself does not keep a task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _gather(self) -> None:
        """Submit what is gathered, after a time or as soon as a batch is full."""
        while self._gathered:
            if self._refusals:
                wait = self._limits.poll_seconds * 2.0 ** min(self._refusals, 10)
                await asyncio.sleep(min(wait, MAX_WAIT_SECONDS))
            elif len(self._gathered) < self._most_requests:
                self._is_full.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.gather_seconds):
                        await self._is_full.wait()
            requests = [request for request in self._gathered if not request.answer.done()]
            self._gathered.clear()
            try:
                await self._submit(requests)
            except Exception as error:  # noqa: BLE001  # each waiting request raises it
                _fail(requests, error)

    async def _submit(self, requests: Sequence[_Request]) -> None:
        """Let requests wait for recorded batches that contain them, and for new ones."""
        await self._read_records()
        new = [request for request in requests if not self._claim(request)]
        for batch in list(self._batches.values()):
            if batch.lines is not None and batch.waiting:
                await self._deliver(batch)
        for chunk in self._chunks(new):
            try:
                await self._make_batch(chunk)
            except Exception as error:  # noqa: BLE001  # each waiting request raises it
                _fail(chunk, error)

    def _claim(self, request: _Request) -> bool:
        """Let a request wait for a recorded batch, if one contains it."""
        for batch in self._batches.values():
            if batch.claim(request):
                if batch.lines is None and (batch.collecting is None or batch.collecting.done()):
                    batch.collecting = self._start(self._collect(batch))
                return True
        return False

    async def _read_records(self) -> None:
        """Read the records of earlier runs, and of workers that have ended meanwhile."""
        for name in await asyncio.to_thread(self._records.names):
            if name in self._batches or name in self._foreign:
                continue
            content = await asyncio.to_thread(self._records.read, name)
            if content is None:
                continue
            record = decode(content, self._records.location(name))
            if record.identity != self._owner.identity:
                self._foreign.add(name)
                continue
            if record.server != self._owner.server:
                self._foreign.add(name)
                self._report(
                    f"the batch {record.batch_id} at {record.server} is not collected: set"
                    " base_urls to this address to use its answers"
                )
                continue
            batch = _OpenBatch(name, record, is_new=False)
            for custom_id in record.requests:
                batch.unclaimed[custom_id.partition("-")[0]].append(custom_id)
            self._batches[name] = batch

    def _chunks(self, requests: Sequence[_Request]) -> Sequence[Sequence[_Request]]:
        """Return the requests of each new batch, and set their ids and lines."""
        chunks: list[list[_Request]] = []
        size = 0
        counts = Counter[str]()
        for request in requests:
            # Equal requests in one batch need different ids.
            request.custom_id = f"{request.key}-{counts[request.key]}"
            counts[request.key] += 1
            content = {
                "custom_id": request.custom_id,
                "method": "POST",
                "url": self._api.endpoint,
                "body": dict(request.body),
            }
            request.line = json.dumps(content).encode() + b"\n"
            size += len(request.line)
            is_full = bool(chunks) and len(chunks[-1]) >= self._most_requests
            if not chunks or is_full or size > MAX_FILE_BYTES:
                chunks.append([])
                size = len(request.line)
            chunks[-1].append(request)
        return chunks

    async def _make_batch(self, requests: Sequence[_Request]) -> None:
        """Upload requests, record them, and start to make a batch of them."""
        # The oldest batch is the first in a listing: a request that was repeated has its first
        # result in an older batch than its second.
        name = f"batch-{time.time_ns():020}-{secrets.token_hex(4)}"
        content = b"".join(request.line for request in requests)
        for request in requests:
            request.line = b""
        input_file_id = await self._api.upload(f"{name}.jsonl", content)
        record = replace(
            self._owner,
            input_file_id=input_file_id,
            requests=[request.custom_id for request in requests],
        )
        # Before the batch is made: a later run finds the batch by its file.
        await asyncio.to_thread(self._records.write, name, encode(record))
        batch = _OpenBatch(name, record, is_new=True, may_exist=False, waiting=list(requests))
        self._batches[name] = batch
        batch.collecting = self._start(self._collect(batch))

    async def _collect(self, batch: _OpenBatch) -> None:
        """Wait for the end of a batch, and return its answers to its requests."""
        try:
            state = await self._open(batch)
            if state is None:
                await self._take_back(batch)
                return
            reported_status = ""
            while not state.is_final:
                if state.status not in {*KNOWN_STATUSES, reported_status}:
                    reported_status = state.status
                    self._report(
                        f"the batch {state.batch_id} has the status {state.status[:40]!a}, which is"
                        " not one of the batch API: waiting for its end"
                    )
                await asyncio.sleep(self._limits.poll_seconds)
                state = await self._api.retrieve(state.batch_id)
            if state.status == "failed":
                await self._resolve_failure(batch, state)
                return
            batch.lines = await self._results(batch, state)
            self._refusals = 0
            await self._update(batch, status=state.status)
            await self._deliver(batch, was_cancelled=state.status == "cancelled")
        except Exception as error:  # noqa: BLE001  # each waiting request raises it
            waiting = list(batch.waiting)
            batch.waiting.clear()
            for request in waiting:
                batch.unclaim(request)
            _fail(waiting, error)

    async def _open(self, batch: _OpenBatch) -> Batch | None:
        """Return the state of a batch, which is made if this run has just recorded it.

        Returns:
            None if the batch was recorded before, and the server has not made it.
        """
        record = batch.record
        count = len(record.requests)
        if record.batch_id:
            self._report(f"waiting for the batch {record.batch_id} of {count} requests again")
            try:
                return await self._api.retrieve(record.batch_id)
            except ConfigError as error:
                raise self._lost(batch, error) from None
        if batch.may_exist:
            state = await self._api.find(record.input_file_id)
        else:
            # If this fails, requests that come again look for the batch.
            batch.may_exist = True
            state = await self._api.create(record.input_file_id)
        if state is not None:
            await self._update(batch, batch_id=state.batch_id)
            self._report(
                f"submitted the batch {state.batch_id} of {count} requests, which are answered"
                " within 24 hours"
            )
        return state

    async def _update(self, batch: _OpenBatch, **changes: str) -> None:
        batch.record = replace(batch.record, **changes)
        await asyncio.to_thread(self._records.write, batch.name, encode(batch.record))

    async def _take_back(self, batch: _OpenBatch, *, without: Sequence[_Request] = ()) -> None:
        """Put the requests of a batch that costs nothing into the next one."""
        await asyncio.to_thread(self._records.remove, batch.name)
        self._batches.pop(batch.name, None)
        requests = [request for request in batch.waiting if request not in without]
        batch.waiting.clear()
        for request in requests:
            request.custom_id = ""
        self._add(requests)

    async def _resolve_failure(self, batch: _OpenBatch, state: Batch) -> None:
        """Handle a batch that the server has refused as a whole, which costs nothing.

        Raises:
            ConfigError: It refuses all such batches.
        """
        message = "; ".join(error.message for error in state.errors) or "no reason is given"
        is_too_large = any(error.code == TOO_MANY_TOKENS for error in state.errors)
        if is_too_large and (len(batch.waiting) > 1 or self._has_other_open_batch(batch)):
            self._refusals += 1
            self._most_requests = max(1, min(self._most_requests, len(batch.waiting)) // 2)
            if self._refusals == 1:
                self._report(
                    "the server refuses a batch because of its limit of tokens in open batches;"
                    f" smaller ones are sent when others have ended ({message})"
                )
            await self._take_back(batch)
            return
        lines = range(1, len(batch.record.requests) + 1)
        if not any(error.line in lines for error in state.errors):
            await asyncio.to_thread(self._records.remove, batch.name)
            self._batches.pop(batch.name, None)
            raise ConfigError(f"the server refuses the batch {state.batch_id}: {message}")
        invalid = _invalid_requests(batch, state.errors)
        await self._take_back(batch, without=list(invalid))
        for request, line in invalid.items():
            if not request.answer.done():
                request.answer.set_result(line)

    def _has_other_open_batch(self, batch: _OpenBatch) -> bool:
        others = [other for other in self._batches.values() if other is not batch]
        return any(other.waiting for other in others)

    async def _results(self, batch: _OpenBatch, state: Batch) -> Mapping[str, Line]:
        """Return the lines of the results; fewer than there should be are downloaded again."""
        lines: dict[str, Line] = {}
        custom_ids = set(batch.record.requests)
        for download in range(DOWNLOADS):
            try:
                if download:
                    # The files may not have been listed yet.
                    await asyncio.sleep(self._limits.poll_seconds)
                    state = await self._api.retrieve(state.batch_id)
                contents = [await self._api.download(name) for name in state.result_file_ids]
            except ConfigError as error:
                raise self._lost(batch, error) from None
            lines |= read_lines(contents)
            expected = state.results
            if state.status == "completed":
                # Some servers do not count results. What is missing is requested a second time.
                expected = len(custom_ids)
            if len(custom_ids & lines.keys()) >= expected:
                break
        return lines

    def _lost(self, batch: _OpenBatch, error: ConfigError) -> ConfigError:
        """Return the error of a server that does not show a batch of an earlier run."""
        return ConfigError(
            f"{error}; the batch {batch.record.batch_id} is recorded in"
            f" {self._records.location(batch.name)}: remove this file to send its requests again"
        )

    async def _deliver(self, batch: _OpenBatch, *, was_cancelled: bool = False) -> None:
        """Return the answers of a batch, and then its errors.

        An error can end the method on a trace, which would cancel requests with answers.
        """
        assert batch.lines is not None, "the results are collected"
        failed: list[tuple[_Request, Line | None]] = []
        waiting = list(batch.waiting)
        batch.waiting.clear()
        for request in waiting:
            line = batch.lines.get(request.custom_id)
            if request.answer.done():
                # It was cancelled: a later run may use the answer.
                batch.unclaim(request)
            elif line is not None and is_answer(line):
                request.answer.set_result(line)
            else:
                failed.append((request, line))
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        for request, line in failed:
            if was_cancelled and batch.is_new and not was_processed(line):
                # Sent again only when a user says so.
                text = (
                    f"the batch {batch.record.batch_id} was cancelled; its answers are stored, and"
                    " the same command requests the others again"
                )
                _fail([request], EngineUnavailableError(text))
            elif not request.answer.done():
                request.answer.set_result(line)


def _invalid_requests(batch: _OpenBatch, errors: Sequence[BatchError]) -> Mapping[_Request, Line]:
    """Return the requests that make a batch invalid, with their errors."""
    by_id = {request.custom_id: request for request in batch.waiting}
    invalid: dict[_Request, Line] = {}
    for error in errors:
        if error.line is not None and error.line <= len(batch.record.requests):
            request = by_id.get(batch.record.requests[error.line - 1])
            if request is not None:
                invalid[request] = rejection(error.message)
    return invalid


def _fail(requests: Sequence[_Request], error: Exception) -> None:
    """Let requests raise an error."""
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(_copy(error))
            # A request that is cancelled at the same time does not read it.
            request.answer.exception()


def _copy(error: Exception) -> Exception:
    """Return an equal error: each request keeps the samples that it has in its own."""
    if isinstance(error, EngineUnavailableError):
        return EngineUnavailableError(str(error))
    if isinstance(error, EngineError):
        return EngineError(str(error), retryable=error.retryable)
    if isinstance(error, StepmarkError):
        return type(error)(str(error))
    return error
