"""At least 10,000 hostile texts: every verifier decides them in time and executes none."""

import asyncio
import math
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepmark.plugins import available
from stepmark.records import Verdict
from tests.verifiers.hostile import EXECUTION_MARKER, texts
from verifiers.base import AnswerClaim, Finding, StepClaim
from verifiers.isolation.pool import VerifierPool

VERIFIERS = available("verifiers")
# The texts of a batch are verified concurrently, so that the pool can send several at once.
BATCH_TEXTS = 20
# The texts are shared by all verifiers.
TEXTS = math.ceil(10_000 / len(VERIFIERS))
# The reasons of the pool for claims on which a verifier returned nothing.
LOST_REASONS = ("timeout", "worker died", "out of memory", "closed")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def pool(runner: asyncio.Runner) -> Iterator[VerifierPool]:
    # One worker: a claim that kills it or blocks it affects the next claims.
    pool = VerifierPool(workers=1, deadline=5.0)
    yield pool
    runner.run(pool.close())


@pytest.mark.parametrize("verifier_id", VERIFIERS)
def test_hostile_texts_are_not_executed(
    verifier_id: str, runner: asyncio.Runner, pool: VerifierPool
) -> None:
    checked_texts = 0

    async def verify(batch: Sequence[str]) -> Sequence[Finding]:
        pending = list[Awaitable[Finding]]()
        for text in batch:
            step = StepClaim(question=text, previous=(text,), step=text)
            answer = AnswerClaim(answer=text, reference="1")
            pending.append(pool.verify(verifier_id, step))
            pending.append(pool.verify(verifier_id, answer))
        return await asyncio.gather(*pending)

    @settings(
        max_examples=math.ceil(TEXTS / BATCH_TEXTS),
        deadline=None,
        database=None,
        # Large batches and long examples are intended here.
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(texts, min_size=BATCH_TEXTS, max_size=BATCH_TEXTS))
    def check(batch: Sequence[str]) -> None:
        nonlocal checked_texts
        checked_texts += len(batch)
        for finding in runner.run(verify(batch)):
            assert finding.verdict in set(Verdict)
            assert finding.reason not in LOST_REASONS
            assert not finding.reason.startswith("verifier failed"), finding.reason

    check()
    assert checked_texts >= TEXTS
    assert not Path(EXECUTION_MARKER).exists()
