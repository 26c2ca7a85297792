"""Verifiers in processes that can be killed: what hangs, crashes or eats memory costs one claim and is unknown.

    async with Isolated() as isolated:
        finding = await isolated.verify("arithmetic", StepClaim(question="", previous=(), step="2 + 2 = 5"))

A worker is a fresh interpreter, never a fork, so it may be started beside running threads (Prefect's, an engine's), and it ends with
its input when the parent dies, however the parent dies. Claims travel in batches; each has a deadline of its own, kept by a kernel timer
in the worker, so that a parent that is busy elsewhere takes no answer for late. Where there is no such timer, or a plugin has stopped it,
the parent kills the worker after its patience.

What is not covered: a worker is no sandbox. It limits time and memory, not what code may do.
"""

import asyncio
import contextlib
import hashlib
import json
import math
import os
import pickle
import signal
import sys
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from stepmark import plugins
from stepmark.errors import PluginError
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Claim, Finding

__all__ = ["Isolated"]

BATCH_CLAIMS = 128
BATCH_BYTES = 2**20
CACHE_FINDINGS = 2**16
MAX_KEY_CHARS = 1_000
"""Of an answer and its reference that are remembered as they are; of what is longer only a digest is kept."""
START_S = 60.0
"""For a new interpreter and the import of its plugins, on a busy machine."""
PATIENCE_S = 10.0
"""What the parent waits beyond two deadlines before it kills a worker itself."""
GIB = 2**30
TIMEOUT = Finding(verdict=Verdict.UNKNOWN, reason="timeout")
DIED = Finding(verdict=Verdict.UNKNOWN, reason="worker died")
CLOSED = Finding(verdict=Verdict.UNKNOWN, reason="closed")


Key = bytes | tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: Key
    request: bytes
    finding: asyncio.Future[Finding]


class Isolated:
    """A pool of worker processes for one event loop; nothing is started before the first claim.

    `deadline` is in seconds per claim, the plugin's import not counted; `memory_bytes` caps each worker's address space.
    """

    def __init__(
        self, *, workers: int = 2, deadline: float = 5.0, memory_bytes: int = 4 * GIB
    ) -> None:
        self._workers = workers
        self._deadline = deadline
        self._memory_bytes = memory_bytes
        self._verifiers = frozenset(plugins.available("verifiers"))
        self._known: OrderedDict[Key, Finding] = OrderedDict()
        self._in_flight: dict[Key, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._slots: list[asyncio.Task[None]] = []

    async def verify(self, verifier_id: str, claim: Claim) -> Finding:
        """What the verifier says of the claim; unknown with reason `timeout` or `worker died` when it did not get to say it.

        An identical claim that is in flight or was decided lately is not decided again. Raises `PluginError` for a verifier that is none.
        """
        if verifier_id not in self._verifiers:
            raise PluginError(
                f"verifiers has no '{verifier_id}'; it has: {', '.join(sorted(self._verifiers))}"
            )
        key = _key(verifier_id, claim)
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        # Shielded: a caller that is cancelled must not cancel the others that wait for the same claim.
        return await asyncio.shield(self._submitted(key, verifier_id, claim).finding)

    async def close(self) -> None:
        """End the workers; claims still waiting are unknown with reason `closed`."""
        slots, self._slots = self._slots, []
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        self._waiting.clear()
        for job in list(self._in_flight.values()):
            self._settle(job, CLOSED, keep=False)

    async def __aenter__(self) -> Self:
        """The pool itself; leaving the block closes it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _submitted(self, key: Key, verifier_id: str, claim: Claim) -> _Job:
        job = self._in_flight.get(key)
        if job is None:
            loop, request = asyncio.get_running_loop(), _request(verifier_id, claim)
            job = self._in_flight[key] = _Job(key, request, loop.create_future())
            self._waiting.append(job)
            self._wake.set()
            if not self._slots:
                self._slots = [loop.create_task(self._serve()) for _ in range(self._workers)]
        return job

    def _settle(self, job: _Job, finding: Finding, *, keep: bool = True) -> None:
        del self._in_flight[job.key]
        job.finding.set_result(finding)
        if keep:
            self._known[job.key] = finding
            if len(self._known) > CACHE_FINDINGS:
                self._known.popitem(last=False)

    async def _serve(self) -> None:
        """One worker's life after another: a worker that has died or was killed is replaced."""
        while True:
            batch = await self._next_batch()
            try:
                async with _Worker(self._deadline, self._memory_bytes) as worker:
                    while await self._settled(worker, batch):
                        batch = await self._next_batch()
            except (
                OSError
            ) as error:  # no process could be started: nothing that a claim is to blame for
                for job in batch:
                    del self._in_flight[job.key]
                    job.finding.set_exception(error)

    async def _next_batch(self) -> Sequence[_Job]:
        """Claims for one message: a fair share of those that wait, within the bounds."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        share = min(BATCH_CLAIMS, math.ceil(len(self._waiting) / self._workers))
        batch = [self._waiting.popleft()]
        size = len(batch[0].request)
        while (
            self._waiting
            and len(batch) < share
            and (size := size + len(self._waiting[0].request)) <= BATCH_BYTES
        ):
            batch.append(self._waiting.popleft())
        return batch

    async def _settled(self, worker: "_Worker", batch: Sequence[_Job]) -> bool:
        """Settle the batch; False when the worker is lost: the claim it was lost on is unknown, those behind it wait again."""
        done = 0
        try:
            async with asyncio.timeout(START_S) as limit:
                await worker.ask([job.request for job in batch])
                for job in batch:
                    limit.reschedule(
                        asyncio.get_running_loop().time() + 2 * self._deadline + PATIENCE_S
                    )
                    self._settle(job, await worker.answer())
                    done += 1
        except (TimeoutError, EOFError, ConnectionError) as failure:
            if worker.is_answering or not worker.has_answered:
                timeout = isinstance(failure, TimeoutError)
                self._settle(
                    batch[done], TIMEOUT if timeout else DIED, keep=timeout and worker.is_answering
                )
                done += 1
            self._waiting.extendleft(reversed(batch[done:]))
            return False
        return True


def _key(verifier_id: str, claim: Claim) -> Key:
    """What tells claims apart: a dataset has a million answers, of which few differ, so theirs costs neither a pickle nor a digest."""
    if isinstance(claim, AnswerClaim) and len(claim.answer) + len(claim.reference) <= MAX_KEY_CHARS:
        return verifier_id, claim.answer, claim.reference
    return hashlib.blake2b(_request(verifier_id, claim), digest_size=16).digest()


def _request(verifier_id: str, claim: Claim) -> bytes:
    return pickle.dumps((verifier_id, claim), pickle.HIGHEST_PROTOCOL)


class _Worker:
    """A process running `verifiers.isolation.worker`, killed on leaving."""

    def __init__(self, deadline: float, memory_bytes: int) -> None:
        self.is_answering = False
        """Whether a claim is to blame when the worker is lost now."""
        self.has_answered = False
        self._arguments = (str(deadline), str(memory_bytes))

    async def __aenter__(self) -> Self:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "verifiers.isolation.worker", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def ask(self, requests: Sequence[bytes]) -> None:
        """Send pickled claims and wait until the worker has loaded what they need."""
        assert self._process.stdin is not None
        self.is_answering = False
        self._process.stdin.write(pickle.dumps(len(requests)) + b"".join(requests))
        await self._process.stdin.drain()
        await self._line()
        self.is_answering = self.has_answered = True

    async def answer(self) -> Finding:
        """The finding on the next claim; `TimeoutError` when its time ran out, `EOFError` when the worker died otherwise."""
        verdict, reason = json.loads(await self._line())
        return Finding(verdict=Verdict(verdict), reason=reason)

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise TimeoutError if await self._process.wait() == -signal.SIGALRM else EOFError
        return line
