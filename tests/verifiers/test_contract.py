"""Requirements on every verifier: no crash, no timeout and no guess on any claim."""

import dataclasses
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stepmark.identity import fingerprint
from stepmark.plugins import available, build, load
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, StepClaim, Verifier
from verifiers.isolation.pool import VerifierPool

HOSTILE = {
    "empty": "",
    "tower of powers": "9^9^9^9^9 = 1",
    "tower of powers in Python": "9**9**9**9 = 1",
    "nested powers": "((((9^64)^64)^64)^64)^64 = 1",
    "huge exponent": "1e999999999 = 10^{999999999}",
    "10 MB of digits": "1" * 10_000_000,
    "an equation of digits": "1" * 50_000 + " = 2",
    "deep nesting": "(" * 50_000 + "1" + ")" * 50_000 + " = 1",
    "deep fractions": r"\frac{" * 10_000 + "1",
    "unbalanced braces": "{" * 90_000,
    "signs": "-" * 90_000 + "1 = 1",
    "equals signs": "=" * 90_000,
    "dollars": "$" * 90_000,
    "spaces": "1" + " " * 90_000 + "x",
    "words": "a b c 3 " * 11_000 + "= 4",
    "code": "__import__('os').system('exit 1') = 0",
    "attribute": "().__class__.__base__.__subclasses__() = 1",
    "NUL": "1 + 1\0 = 2\0",
    "lone surrogate": "\ud800 1 + 1 = 2 \udfff",
    "right to left": "\u202e1 + 1 = 2",
    "division by zero": "1 / 0 = 1 / 0",
    "other digits": "١ + ١ = ٢",
}

# Unusual spellings of 1 + 1 = 2. A verifier may find them correct, or fail to parse them.
CORRECT_NAMES = ("NUL", "lone surrogate", "right to left", "other digits")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _UnknownClaim:
    text: str = "1 + 1 = 3"


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1, deadline=20.0) as running:
        yield running


@pytest.mark.parametrize("verifier_id", available("verifiers"))
def test_verifier_is_frozen_and_versioned(verifier_id: str) -> None:
    assert dataclasses.is_dataclass(load("verifiers", verifier_id))
    verifier = build("verifiers", {"use": verifier_id})
    assert isinstance(verifier.version, int)
    assert fingerprint(verifier)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verifier.version = 2


@pytest.mark.parametrize("verifier_id", available("verifiers"))
def test_unsupported_claim_is_unknown(verifier_id: str) -> None:
    verifier: Verifier = build("verifiers", {"use": verifier_id})
    claim: AnswerClaim = _UnknownClaim()  # type: ignore[assignment]
    assert verifier.verify(claim).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("verifier_id", available("verifiers"))
async def test_hostile_claims_are_never_guessed(verifier_id: str, pool: VerifierPool) -> None:
    for name, text in HOSTILE.items():
        for claim in (
            StepClaim(question=text, previous=(text,), step=text),
            AnswerClaim(answer=text, reference="1"),
        ):
            finding = await pool.verify(verifier_id, claim)
            assert finding.reason not in ("timeout", "worker died", "out of memory"), name
            assert not finding.reason.startswith("verifier failed"), (name, finding.reason)
            if finding.verdict is not Verdict.UNKNOWN:
                assert finding.verdict is Verdict.CORRECT, (name, finding)
                assert name in CORRECT_NAMES, (name, finding)
