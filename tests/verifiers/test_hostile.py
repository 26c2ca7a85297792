"""At least 10,000 generated texts that mean harm: every verifier answers each within its deadline, and executes none."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepmark.plugins import available
from stepmark.records import Verdict
from tests.verifiers.hostile import TRACES_OF_EXECUTION, texts
from verifiers.base import AnswerClaim, Finding, StepClaim
from verifiers.isolation.pool import Isolated

VERIFIERS = available("verifiers")
AT_ONCE = 20
TEXTS = math.ceil(10_000 / len(VERIFIERS))
LOST = ("timeout", "worker died", "out of memory", "closed")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def isolated(runner: asyncio.Runner) -> Iterator[Isolated]:
    pool = Isolated(workers=1, deadline=5.0)
    yield pool
    runner.run(pool.close())


@pytest.mark.parametrize("verifier_id", VERIFIERS)
def test_hostile_texts_are_answered_and_not_executed(
    verifier_id: str, runner: asyncio.Runner, isolated: Isolated
) -> None:
    asked = 0

    async def ask(batch: Sequence[str]) -> Sequence[Finding]:
        claims = [claim for text in batch for claim in _claims(text)]
        return await asyncio.gather(*(isolated.verify(verifier_id, claim) for claim in claims))

    @settings(
        max_examples=math.ceil(TEXTS / AT_ONCE),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(texts, min_size=AT_ONCE, max_size=AT_ONCE))
    def answered(batch: Sequence[str]) -> None:
        nonlocal asked
        asked += len(batch)
        for finding in runner.run(ask(batch)):
            assert finding.verdict in set(Verdict)
            assert finding.reason not in LOST
            assert not finding.reason.startswith("verifier failed"), finding.reason

    answered()
    assert asked >= TEXTS
    assert not Path(TRACES_OF_EXECUTION).exists()


def _claims(text: str) -> Sequence[AnswerClaim | StepClaim]:
    return StepClaim(question=text, previous=(text,), step=text), AnswerClaim(
        answer=text, reference="1"
    )
