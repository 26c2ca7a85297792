"""Batch posterior updates across traces.

One NumPy call for many traces costs little more than a call for one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import Weights
from annotators.first_error.posterior import Inference, posteriors
from annotators.first_error.trace_evidence import TraceEvidence

__all__ = ["PosteriorBatcher"]

# Small compared with an engine request, which a search waits for between two updates.
MAX_DELAY_SECONDS = 0.05
# Bounds the time that one flush blocks the event loop: thousands of requests may be ready at once.
MAX_FLUSH_STEPS = 512
"""Approximate number of steps per flush, summed over its traces."""


class _Request(NamedTuple):
    trace: TraceEvidence
    weights: Weights
    result: "asyncio.Future[Inference]"


class PosteriorBatcher:
    """A batcher of the posterior updates of concurrent searches.

    A batch is flushed `MAX_DELAY_SECONDS` after its first request, or as soon as every active
    search has submitted one.
    """

    def __init__(self, likelihoods: StepLikelihoods) -> None:
        self._likelihoods = likelihoods
        self._active_searches = 0
        self._pending = deque[_Request]()
        self._flush_handle: asyncio.Handle | None = None

    @asynccontextmanager
    async def active_search(self) -> AsyncIterator[None]:
        """Register a search for the duration of the context, so that batches wait for it."""
        self._active_searches += 1
        try:
            yield
        finally:
            self._active_searches -= 1
            # The remaining searches may all be waiting already.
            self._schedule_flush_if_complete()

    async def posterior(self, trace: TraceEvidence, weights: Weights) -> Inference:
        """Infer the first error of one trace, as part of the next batch.

        Raises:
            Exception: Any error of the inference for this trace. Other traces are not affected.
        """
        loop = asyncio.get_running_loop()
        if not self._pending:
            self._flush_handle = loop.call_later(MAX_DELAY_SECONDS, self._flush)
        request = _Request(trace, weights, loop.create_future())
        self._pending.append(request)
        self._schedule_flush_if_complete()
        try:
            return await request.result
        except asyncio.CancelledError:
            # Compare by identity: requests contain arrays, whose equality is not a single bool.
            self._pending = deque(other for other in self._pending if other is not request)
            raise

    def _schedule_flush_if_complete(self) -> None:
        """Flush early once every active search has submitted.

        The flush is deferred by one loop iteration, so that searches that start in this iteration
        can join the batch.
        """
        if self._pending and self._is_complete():
            asyncio.get_running_loop().call_soon(self._flush_if_complete)

    def _flush_if_complete(self) -> None:
        # Checked again: a search may have started since the flush was scheduled.
        if self._is_complete():
            self._flush()

    def _is_complete(self) -> bool:
        return len(self._pending) >= self._active_searches

    def _flush(self) -> None:
        """Infer a batch, oldest requests first, and schedule the next batch if any are left."""
        if self._flush_handle:
            self._flush_handle.cancel()
        batch = list[_Request]()
        steps = 0
        while self._pending and steps < MAX_FLUSH_STEPS:
            request = self._pending.popleft()
            batch.append(request)
            steps += request.trace.steps
        if self._pending:
            self._flush_handle = asyncio.get_running_loop().call_soon(self._flush)
        self._resolve(batch)

    def _resolve(self, batch: Sequence[_Request]) -> None:
        """Set the result of every request; after an error, infer each trace by itself."""
        traces = [request.trace for request in batch]
        weights = [request.weights for request in batch]
        try:
            results = posteriors(traces, weights, self._likelihoods)
        except Exception as error:  # noqa: BLE001  # passed on to the callers, which would otherwise wait forever
            if len(batch) > 1:
                for request in batch:
                    self._resolve([request])
            elif not batch[0].result.done():
                batch[0].result.set_exception(error)
            return
        for request, inference in zip(batch, results, strict=True):
            # A request that was cancelled after the flush began is done already.
            if not request.result.done():
                request.result.set_result(inference)
