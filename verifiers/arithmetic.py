"""The arithmetic of a step: incorrect if an equation in closed arithmetic is false as written.

Chains are read link by link, decimals may be rounded to the digits shown, and units are allowed.
The verdict is unknown if an equation is not understood, unless another one is clearly false.

What is not covered: whether the step follows, equations with variables and inequalities
(`algebra`), number words, mixed numbers, unit conversions, percentages of something that is not a
number, and other arithmetic (number bases, remainders), where no equation is called false.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from verifiers.arithmetic_rules.equality import judge
from verifiers.arithmetic_rules.equations import equations
from verifiers.base import Claim, Finding, StepClaim
from verifiers.math.findings import conclude, unknown
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
            return unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return unknown("too long")
        judgements = ((equation.text, judge(equation)) for equation in equations(claim.step))
        return conclude(judgements, partial(_doubt_of, claim), "no equation")


def _doubt_of(claim: StepClaim, equation: str) -> str:
    """Return why the step may not claim a false equation, or an empty string."""
    for text in (claim.question, *claim.previous, claim.step):
        if OTHER_ARITHMETIC.search(text):
            return "another arithmetic may be meant"
    if "/" in equation and REMAINDER.search(claim.step):
        return "a division with a remainder"
    if REFUTATION.search(claim.step):
        return "a refuted equation may be quoted"
    return ""
