"""The arithmetic of a step: incorrect if an equation in closed arithmetic is false as written.

Chains are read link by link, decimals may be rounded to the digits shown, and units are allowed.
The verdict is unknown if an equation is not understood, unless another one is clearly false.

What is not covered: whether the step follows, equations with variables and inequalities
(`algebra`), number words, mixed numbers, unit conversions, percentages of something that is not a
number, and other arithmetic (number bases, remainders), where no equation is called false.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.arithmetic_rules.equality import judge
from verifiers.arithmetic_rules.equations import Equation, equations
from verifiers.base import Claim, Finding, StepClaim
from verifiers.math.lexicon import OTHER_ARITHMETIC, REFUTATION

__all__ = ["Arithmetic"]

MAX_CHARS = 100_000
REMAINDER = re.compile(r"\b(?:remainders?|left ?over|leftover)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """A checker of every closed equation in a step."""

    version: ClassVar[int] = 3

    def verify(self, claim: Claim) -> Finding:
        """Return the finding; its reason names the false equation or counts the true ones."""
        if not isinstance(claim, StepClaim):
            return _unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return _unknown("too long")
        checked = 0
        unknown_reason = ""
        for equation in equations(claim.step):
            verdict, reason = judge(equation)
            checked += 1
            if verdict is Verdict.INCORRECT:
                return _false(claim, equation, reason)
            if verdict is Verdict.UNKNOWN and not unknown_reason:
                unknown_reason = f"{equation.text}: {reason}"
        if unknown_reason:
            return _unknown(unknown_reason)
        if checked == 0:
            return _unknown("no equation")
        return Finding(verdict=Verdict.CORRECT, reason=f"{checked} checked")


def _false(claim: StepClaim, equation: Equation, reason: str) -> Finding:
    """Return the finding about a false equation, which the step may not claim."""
    for text in (claim.question, *claim.previous, claim.step):
        if OTHER_ARITHMETIC.search(text):
            return _unknown("another arithmetic may be meant")
    if "/" in equation.text and REMAINDER.search(claim.step):
        return _unknown("a division with a remainder")
    if REFUTATION.search(claim.step):
        return _unknown("a refuted equation may be quoted")
    return Finding(verdict=Verdict.INCORRECT, reason=f"{equation.text}: {reason}")


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
