"""What a verifier is: a pure decider of one claim, which may abstain and never guesses."""

from dataclasses import dataclass
from typing import Protocol

from stepmark.records import Verdict

__all__ = ["AnswerClaim", "Claim", "Finding", "ReferenceClaim", "StepClaim", "Verifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerClaim:
    """The claim that a final answer equals the reference, both as written."""

    answer: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceClaim:
    """The claim that answers written differently can be compared with a reference: that it is understood, and has a value."""

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClaim:
    """The claim that a step is right, given the problem and the steps before it."""

    question: str
    previous: tuple[str, ...]
    step: str


Claim = AnswerClaim | ReferenceClaim | StepClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict and the reason for it, in words a person can check."""

    verdict: Verdict
    reason: str = ""


class Verifier(Protocol):
    """Decides claims; a claim of a kind it does not know is unknown.

    One that needs more time than its pool gives a claim says so: `deadline: ClassVar[float]`, in seconds, of which ten at most are sure.

    One that says `proves: ClassVar[bool] = True` calls a step correct only when all of it follows from the problem and the steps before it:
    a trace of such steps has no error. Others find a step correct as far as they read it.
    """

    def verify(self, claim: Claim) -> Finding:
        """Decide one claim. Pure: no model, no network, no state; what is not understood is unknown."""
        ...
