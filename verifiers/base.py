"""The protocol of verifiers: deterministic checks of one claim that abstain when unsure."""

from dataclasses import dataclass
from typing import Protocol

from stepmark.records import Verdict

__all__ = ["AnswerClaim", "Claim", "Finding", "ReferenceClaim", "StepClaim", "Verifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerClaim:
    """The claim that a final answer equals the reference answer. Both are texts as written."""

    answer: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceClaim:
    """The claim that other answers can be compared with a reference answer.

    It holds when the verifier can parse the reference and the reference has a value.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClaim:
    """The claim that a step is correct, in the context of the problem and the previous steps."""

    question: str
    previous: tuple[str, ...]
    step: str
    omitted: int = 0
    """The number of earlier steps that `previous` lacks because the trace is long."""


Claim = AnswerClaim | ReferenceClaim | StepClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict and its reason, in words that a person can check."""

    verdict: Verdict
    reason: str = ""
    parts: tuple[Verdict, ...] = ()
    """One verdict per test of the reference, for a program; empty for other claims.

    Unknown where a test was not reached or could not be decided. Empty also if the tests could not
    be counted: they do not parse, or a limit ended them. The parts explain the verdict and do not
    decide it.
    """
    rule: str = ""
    """The rule that found the step false, or suspects it; empty for other findings."""
    assumptions: tuple[str, ...] = ()
    """What the rule assumed in order to read the text."""
    checked: int = 0
    """The number of statements of the step that the verifier understood and decided."""
    holding: int = 0
    """The number of those statements that are true."""


class Verifier(Protocol):
    """A verifier decides claims. It returns unknown for kinds of claims that it does not support.

    A verifier may declare two class variables:

    - `deadline: ClassVar[float]`: the seconds that one claim needs, when that is more than the
      deadline of the worker pool. At most ten seconds are guaranteed.
    - `proves: ClassVar[bool] = True`: a correct verdict on a step means that the whole step follows
      from the problem and the previous steps, so a trace of such steps has no error. Without it, a
      correct verdict covers only the part of the step that the verifier can parse.
    - `context_steps: ClassVar[int]` and `context_chars: ClassVar[int]`: how much of the previous
      steps a claim must contain. The defaults are those of `annotators.methods.formal`.
    """

    def verify(self, claim: Claim) -> Finding:
        """Decide one claim without a model, network access or state.

        A claim that the verifier cannot parse is unknown, never incorrect.
        """
        ...
