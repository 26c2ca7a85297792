"""Worker processes for verifiers, which can be killed.

A claim that hangs, crashes or exhausts memory becomes unknown and does not affect other claims.

    async with VerifierPool() as pool:
        claim = StepClaim(question="", previous=(), step="2 + 2 = 5")
        finding = await pool.verify("arithmetic", claim)

A worker is a new interpreter and never a fork, so it can be started while threads are running
(Prefect's, an engine's). It ends when its input ends, that is, when the parent dies in any way.

Claims are sent in batches. Each claim has its own deadline, kept by a kernel timer in the worker,
so a busy parent does not mistake a delivered answer for a timeout. Where there is no such timer, or
a plugin has stopped it, the parent kills the worker after a longer time.

What is not covered:

- Untrusted code: a worker is not a sandbox. It limits time and memory, and does not restrict
  what code may do.
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
from typing import Self

from stepmark import plugins
from stepmark.errors import PluginError
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Claim, Finding

__all__ = ["PASSING_REASONS", "VerifierPool"]

BATCH_CLAIMS = 128
BATCH_BYTES = 2**20
CACHED_FINDINGS = 2**16
# Longer answers are cached under a digest, which bounds the memory of the cache.
MAX_KEY_CHARS = 1_000
# Time for a new interpreter to start and import its plugins, on a busy machine.
START_SECONDS = 60.0
# The time that the parent waits, beyond two deadlines, before it kills a worker itself.
EXTRA_SECONDS = 10.0
GIB = 2**30
TIMEOUT = Finding(verdict=Verdict.UNKNOWN, reason="timeout")
DIED = Finding(verdict=Verdict.UNKNOWN, reason="worker died")
CLOSED = Finding(verdict=Verdict.UNKNOWN, reason="closed")
PASSING_REASONS = frozenset({TIMEOUT.reason, DIED.reason, CLOSED.reason, "out of memory"})
"""Reasons for UNKNOWN that depend on the load of the machine and not on the claim alone."""


ClaimKey = bytes | tuple[str, str, str]
"""A digest of the claim. For a short answer, the verifier id, the answer and the reference."""


@dataclass(frozen=True, slots=True, eq=False)
class _PendingClaim:
    """A claim that waits for its finding, with its pickled form."""

    key: ClaimKey
    request: bytes
    finding: asyncio.Future[Finding]


class VerifierPool:
    """A pool of worker processes for one event loop. It starts no process before the first claim.

    Args:
        workers: The number of worker processes.
        deadline: Seconds per claim. The import of the plugin does not count.
        memory_bytes: The limit of the address space of each worker.
    """

    def __init__(
        self, *, workers: int = 2, deadline: float = 5.0, memory_bytes: int = 4 * GIB
    ) -> None:
        self._workers = workers
        self._deadline = deadline
        self._memory_bytes = memory_bytes
        self._verifiers = frozenset(plugins.available("verifiers"))
        self._cache: OrderedDict[ClaimKey, Finding] = OrderedDict()
        self._in_flight: dict[ClaimKey, _PendingClaim] = {}
        self._queue: deque[_PendingClaim] = deque()
        self._has_work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def verify(self, verifier_id: str, claim: Claim) -> Finding:
        """Decide a claim with a verifier, or return a recent finding on an identical claim.

        The finding is unknown, with the reason `timeout` or `worker died`, when the worker was lost
        while it decided the claim.

        Raises:
            PluginError: No verifier has that id.
        """
        if verifier_id not in self._verifiers:
            available = ", ".join(sorted(self._verifiers))
            raise PluginError(f"verifiers has no '{verifier_id}'; it has: {available}")
        key = _claim_key(verifier_id, claim)
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached
        pending = self._submit(key, verifier_id, claim)
        # Shielded, because other callers may wait for the same claim when this one is cancelled.
        return await asyncio.shield(pending.finding)

    async def close(self) -> None:
        """End the workers. Claims that still wait are unknown, with the reason `closed`."""
        tasks = self._tasks
        self._tasks = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queue.clear()
        for pending in list(self._in_flight.values()):
            self._settle(pending, CLOSED, cache=False)

    async def __aenter__(self) -> Self:
        """Return the pool. Leaving the context closes it."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def _submit(self, key: ClaimKey, verifier_id: str, claim: Claim) -> _PendingClaim:
        """Queue a claim, or return the pending identical one."""
        pending = self._in_flight.get(key)
        if pending is not None:
            return pending
        loop = asyncio.get_running_loop()
        pending = _PendingClaim(key, _pickle_request(verifier_id, claim), loop.create_future())
        self._in_flight[key] = pending
        self._queue.append(pending)
        self._has_work.set()
        if not self._tasks:
            for _ in range(self._workers):
                self._tasks.append(loop.create_task(self._run_workers()))
        return pending

    def _settle(self, pending: _PendingClaim, finding: Finding, *, cache: bool = True) -> None:
        del self._in_flight[pending.key]
        pending.finding.set_result(finding)
        if cache:
            self._cache[pending.key] = finding
            if len(self._cache) > CACHED_FINDINGS:
                self._cache.popitem(last=False)

    async def _run_workers(self) -> None:
        """Run one worker at a time, and replace it when it has died or was killed."""
        while True:
            batch = await self._next_batch()
            try:
                async with _Worker(self._deadline, self._memory_bytes) as worker:
                    while await self._decide(worker, batch):
                        batch = await self._next_batch()
            except OSError as error:
                # No process could be started. No claim caused that, so the callers get the error.
                for pending in batch:
                    del self._in_flight[pending.key]
                    pending.finding.set_exception(error)

    async def _next_batch(self) -> Sequence[_PendingClaim]:
        """Wait for claims, and return an equal share of the queue within the limits of a batch."""
        while not self._queue:
            self._has_work.clear()
            await self._has_work.wait()
        share = min(BATCH_CLAIMS, math.ceil(len(self._queue) / self._workers))
        batch = [self._queue.popleft()]
        size = len(batch[0].request)
        while self._queue and len(batch) < share:
            size += len(self._queue[0].request)
            if size > BATCH_BYTES:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _decide(self, worker: "_Worker", batch: Sequence[_PendingClaim]) -> bool:
        """Decide the claims of a batch, and return whether the worker can be used again.

        When the worker is lost, the claim that it was deciding is unknown, and the claims behind it
        return to the front of the queue.
        """
        done = 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_SECONDS) as limit:
                await worker.send([pending.request for pending in batch])
                for pending in batch:
                    limit.reschedule(loop.time() + 2 * self._deadline + EXTRA_SECONDS)
                    self._settle(pending, await worker.receive())
                    done += 1
        except (TimeoutError, EOFError, ConnectionError) as failure:
            # When an idle worker died, no claim caused that, and all claims are sent again. A
            # failure before the first claim of a worker does settle that claim: otherwise workers
            # that cannot start would be replaced endlessly.
            if worker.is_deciding or not worker.has_decided:
                timed_out = isinstance(failure, TimeoutError)
                finding = TIMEOUT if timed_out else DIED
                # Only a timeout while deciding is certain to be caused by the claim.
                self._settle(batch[done], finding, cache=timed_out and worker.is_deciding)
                done += 1
            self._queue.extendleft(reversed(batch[done:]))
            return False
        return True


def _claim_key(verifier_id: str, claim: Claim) -> ClaimKey:
    """Return a key that identifies a claim.

    A dataset may have a million answers, of which few are distinct. Computing
    their keys takes no pickle and no digest.
    """
    if isinstance(claim, AnswerClaim) and len(claim.answer) + len(claim.reference) <= MAX_KEY_CHARS:
        return verifier_id, claim.answer, claim.reference
    return hashlib.blake2b(_pickle_request(verifier_id, claim), digest_size=16).digest()


def _pickle_request(verifier_id: str, claim: Claim) -> bytes:
    return pickle.dumps((verifier_id, claim), pickle.HIGHEST_PROTOCOL)


class _Worker:
    """A process that runs `verifiers.isolation.worker`. Leaving the context kills it."""

    def __init__(self, deadline: float, memory_bytes: int) -> None:
        self.is_deciding = False
        """Whether the worker is deciding a claim, so that a failure now is caused by the claim."""
        self.has_decided = False
        """Whether the worker has ever begun to decide claims."""
        self._arguments = (str(deadline), str(memory_bytes))

    async def __aenter__(self) -> Self:
        # The worker finds plugins where the parent does; an empty entry is the current folder.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "verifiers.isolation.worker", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # so that only the parent handles Ctrl-C
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def send(self, requests: Sequence[bytes]) -> None:
        """Send pickled claims, and wait until the worker has loaded their verifiers."""
        assert self._process.stdin is not None
        self.is_deciding = False
        self._process.stdin.write(pickle.dumps(len(requests)) + b"".join(requests))
        await self._process.stdin.drain()
        await self._read_line()
        self.is_deciding = True
        self.has_decided = True

    async def receive(self) -> Finding:
        """Return the finding on the next claim.

        Raises:
            TimeoutError: The worker's timer killed it.
            EOFError: The worker died for another reason.
        """
        reply = json.loads(await self._read_line())
        verdict, reason, parts, rule, assumptions, checked, holding = reply
        return Finding(
            verdict=Verdict(verdict),
            reason=reason,
            parts=tuple(map(Verdict, parts)),
            rule=rule,
            assumptions=tuple(assumptions),
            checked=checked,
            holding=holding,
        )

    async def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line.endswith(b"\n"):
            return line
        return_code = await self._process.wait()
        if return_code == -signal.SIGALRM:
            raise TimeoutError
        raise EOFError
