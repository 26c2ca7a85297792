"""The arithmetic that a step states: wrong when an equation in closed arithmetic is false exactly as written.

Chains are read link by link, decimals may be rounded to the digits shown, and units are allowed. Unknown as soon as an equation is not
understood, unless another one is plainly false.

What is not covered: whether the step follows, equations with variables and inequalities (`algebra`), number words, mixed numbers, unit
conversions, percentages of something that is not a number, and arithmetic of another kind (number bases, remainders), where nothing is
called false.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers._equality import judge
from verifiers._equations import Equation, equations
from verifiers._lexicon import OTHER_ARITHMETIC, REFUTATION
from verifiers.base import Claim, Finding, StepClaim

__all__ = ["Arithmetic"]

MAX_CHARS = 100_000
REMAINDER = re.compile(r"\b(?:remainders?|left ?over|leftover)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Checks every closed equation of a step."""

    version: ClassVar[int] = 3

    def verify(self, claim: Claim) -> Finding:
        """Incorrect names the false equation and its true value; correct says how many equations hold."""
        if not isinstance(claim, StepClaim):
            return _unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return _unknown("too long")
        judged = [(equation, *judge(equation)) for equation in equations(claim.step)]
        for equation, verdict, reason in judged:
            if verdict is Verdict.INCORRECT:
                doubt = _doubt(claim, equation)
                return _unknown(doubt) if doubt else Finding(verdict=verdict, reason=f"{equation.text}: {reason}")
        for equation, verdict, reason in judged:
            if verdict is Verdict.UNKNOWN:
                return _unknown(f"{equation.text}: {reason}")
        if not judged:
            return _unknown("no equation")
        return Finding(verdict=Verdict.CORRECT, reason=f"{len(judged)} checked")


def _doubt(claim: StepClaim, equation: Equation) -> str:
    """Why a false equation may be no claim of the step."""
    if any(OTHER_ARITHMETIC.search(text) for text in (claim.question, *claim.previous, claim.step)):
        return "another arithmetic may be meant"
    if "/" in equation.text and REMAINDER.search(claim.step):
        return "a division with a remainder"
    return "an equation that is refuted may be quoted" if REFUTATION.search(claim.step) else ""


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
