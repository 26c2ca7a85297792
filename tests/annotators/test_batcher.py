"""Batches of posterior updates: their sizes, their delays, cancellation and errors."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from annotators.first_error import batcher as batcher_module
from annotators.first_error.batcher import PosteriorBatcher
from annotators.first_error.features import encode
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel, Weights
from annotators.first_error.numerics import Floats
from annotators.first_error.posterior import Inference, posteriors
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence

# Batches are delayed for twice as long, so a test that waits for one fails.
MAX_TEST_SECONDS = 5.0
STEPS = 4
LIKELIHOODS = StepLikelihoods(FirstErrorModel())
WEIGHTS = LIKELIHOODS.model.default_weights()
ROLLOUT = Observation(2, 2, RolloutEnd.CORRECT)


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the size of every batch, and delay batches for longer than any test may take."""
    sizes = list[int]()

    def recorded(
        traces: Sequence[TraceEvidence], weights: Sequence[Weights], likelihoods: StepLikelihoods
    ) -> Sequence[Inference]:
        sizes.append(len(traces))
        return posteriors(traces, weights, likelihoods)

    monkeypatch.setattr(batcher_module, "posteriors", recorded)
    monkeypatch.setattr(batcher_module, "MAX_DELAY_SECONDS", 2 * MAX_TEST_SECONDS)
    return sizes


def new_batcher() -> PosteriorBatcher:
    return PosteriorBatcher(LIKELIHOODS)


def trace_evidence(rollouts: int = 0) -> TraceEvidence:
    evidence = TraceEvidence(encode(STEPS, []), correct_outcome=False, verbatim_rate=0.5)
    for _ in range(rollouts):
        evidence.add(ROLLOUT)
    return evidence


async def search(batcher: PosteriorBatcher, evidence: TraceEvidence, updates: int = 1) -> Floats:
    """Request a posterior `updates` times, with one more rollout each time; return the last."""
    async with batcher.active_search():
        for _ in range(updates):
            await asyncio.sleep(0)
            inference = await batcher.posterior(evidence, WEIGHTS)
            evidence.add(ROLLOUT)
    return inference.posterior


async def test_active_searches_share_a_batch(batch_sizes: list[int]) -> None:
    batcher = new_batcher()
    started = time.perf_counter()
    searches = [search(batcher, trace_evidence(count)) for count in range(10)]
    results = await asyncio.gather(*searches)
    assert time.perf_counter() - started < MAX_TEST_SECONDS
    assert batch_sizes == [10]
    for count, result in enumerate(results):
        (expected,) = posteriors([trace_evidence(count)], [WEIGHTS], LIKELIHOODS)
        assert result == pytest.approx(expected.posterior)


async def test_last_search_does_not_wait(batch_sizes: list[int]) -> None:
    batcher = new_batcher()
    started = time.perf_counter()
    await search(batcher, trace_evidence(), updates=3)
    await asyncio.gather(
        search(batcher, trace_evidence()), search(batcher, trace_evidence(), updates=4)
    )
    assert time.perf_counter() - started < MAX_TEST_SECONDS
    # Three batches of the first search, a shared one, three after the other search ended.
    assert batch_sizes == [1, 1, 1, 2, 1, 1, 1]


async def test_delay_is_bounded(batch_sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "MAX_DELAY_SECONDS", 0.01)
    batcher = new_batcher()
    # This search is active, but it never submits a request.
    async with batcher.active_search():
        await asyncio.gather(*(search(batcher, trace_evidence()) for _ in range(3)))
    assert batch_sizes == [3]


async def test_large_batches_are_split(
    batch_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four traces per batch.
    monkeypatch.setattr(batcher_module, "MAX_FLUSH_STEPS", 4 * STEPS)
    batcher = new_batcher()
    sizes_by_iteration = list[list[int]]()

    async def observe_loop() -> None:
        while sum(batch_sizes) < 10:
            sizes_by_iteration.append(list(batch_sizes))
            await asyncio.sleep(0)

    searches = [search(batcher, trace_evidence()) for _ in range(10)]
    await asyncio.gather(observe_loop(), *searches)
    assert batch_sizes == [4, 4, 2]
    # Other tasks ran between the batches.
    assert [4] in sizes_by_iteration
    assert [4, 4] in sizes_by_iteration


async def test_cancelled_search_blocks_no_batch(batch_sizes: list[int]) -> None:
    batcher = new_batcher()
    started = time.perf_counter()
    # The active search without a request keeps the batch open until the cancellation.
    async with batcher.active_search():
        cancelled = asyncio.create_task(search(batcher, trace_evidence()))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    await search(batcher, trace_evidence())
    assert time.perf_counter() - started < MAX_TEST_SECONDS
    # The cancelled request is in no batch.
    assert batch_sizes == [1]


async def test_error_affects_one_trace_only(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = trace_evidence()

    def failing(
        traces: Sequence[TraceEvidence], weights: Sequence[Weights], likelihoods: StepLikelihoods
    ) -> Sequence[Inference]:
        if broken in traces:
            raise ZeroDivisionError
        return posteriors(traces, weights, likelihoods)

    monkeypatch.setattr(batcher_module, "posteriors", failing)
    batcher = new_batcher()
    traces = [trace_evidence(), broken, trace_evidence()]
    searches = [search(batcher, evidence) for evidence in traces]
    results = await asyncio.gather(*searches, return_exceptions=True)
    assert [type(result) for result in results] == [np.ndarray, ZeroDivisionError, np.ndarray]


def test_batcher_survives_its_event_loop(batch_sizes: list[int]) -> None:
    batcher = new_batcher()
    started = time.perf_counter()

    async def stay_active() -> None:
        async with batcher.active_search():
            await asyncio.sleep(MAX_TEST_SECONDS)

    async def interrupted_run() -> None:
        """End the loop with a pending request; `asyncio.run` cancels the tasks."""
        tasks = [
            asyncio.create_task(stay_active()),
            asyncio.create_task(search(batcher, trace_evidence())),
        ]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)

    for _ in range(2):
        asyncio.run(interrupted_run())
    asyncio.run(search(batcher, trace_evidence()))
    assert time.perf_counter() - started < MAX_TEST_SECONDS
    assert batch_sizes[-1] == 1
