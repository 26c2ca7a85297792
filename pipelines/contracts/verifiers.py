"""The contract of verifiers. Claims are decided in a worker process, as in a run."""

import asyncio
from collections.abc import Sequence

from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import HOSTILE_TEXTS
from stepmark.plugin_files import is_file
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim, StepClaim, Verifier
from verifiers.isolation.pool import VerifierPool

__all__ = ["CHECKS"]

# Reasons of the pool for a claim that its worker did not decide.
LOST = ("timeout", "worker died", "out of memory")
FAILED = "verifier failed"


def _claims(text: str) -> Sequence[Claim]:
    return (
        StepClaim(question=text, previous=(text,), step=text),
        AnswerClaim(answer=text, reference="no text is this answer"),
        ReferenceClaim(reference=text),
    )


def _hostile_claims_are_safe(subject: Subject) -> None:
    async def decide() -> None:
        async with VerifierPool(workers=1) as pool:
            for text in HOSTILE_TEXTS:
                for claim in _claims(text):
                    _check_finding(claim, await pool.verify(subject.use, claim))

    if is_file(subject.use):
        # Workers load verifiers by id, so that of a file is tested in this process.
        for text in HOSTILE_TEXTS:
            for claim in _claims(text):
                _check_finding(claim, subject.build().verify(claim))
        return
    asyncio.run(decide())


def _check_finding(claim: Claim, finding: Finding) -> None:
    where = f"{claim!r:.80}"
    is_lost = finding.reason in LOST or finding.reason.startswith(FAILED)
    require(not is_lost, f"{where}: {finding.reason}")
    is_guess = finding.verdict is Verdict.INCORRECT and not finding.reason
    require(not is_guess, f"{where}: incorrect without a reason")


def _is_deterministic(subject: Subject) -> None:
    verifier: Verifier = subject.build()
    for text in ("2 + 2 = 4", "2 + 2 = 5", "no formula"):
        for claim in _claims(text):
            first: Finding = verifier.verify(claim)
            require(first == subject.build().verify(claim), f"two findings on {text!r}")


def _unknown_claims_are_undecided(subject: Subject) -> None:
    class OtherClaim:
        """A kind of claim that does not exist yet."""

    claim: Claim = OtherClaim()  # type: ignore[assignment]  # as a later version could send one
    verdict = subject.build().verify(claim).verdict
    require(verdict is Verdict.UNKNOWN, f"a claim of an unknown kind is {verdict}")


CHECKS: Sequence[Check] = (
    Check(what="decides hostile claims in time", run=_hostile_claims_are_safe),
    Check(what="is deterministic", run=_is_deterministic),
    Check(what="leaves claims of other kinds undecided", run=_unknown_claims_are_undecided),
)
