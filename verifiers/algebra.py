r"""The algebra that a step states: wrong when a formula, a comparison or a transformation is false exactly as written.

Decides, in plain text, LaTeX and Unicode:

- closed forms with roots, pi, sines at angles, logarithms, factorials, binomials, the imaginary unit: `\sqrt{50} = 5\sqrt{2}`, by exact
  fractions or intervals of forty digits;
- comparisons of closed forms: `3/7 > 0.4`;
- rewritings of expressions with variables: `(x + 1)^2 = x^2 + 2x + 1`, by sample points and sympy's polynomials;
- equations and inequalities turned into others, solved roots among them: `2x + 3 = 7, so x = 3`;
- two values of one name in a row: `S = 9 · 6`, and then `S = 45`;
- known values and definitions put in: `x = 3` before, and `x^2 + 2x = 9 + 5`; `f(x) = x^2 + 1` in the problem, and `f(3) = 11`.

Abstains where a side is not understood; where an equation may be a condition to be solved and not a rewriting; where decimals may be
rounded; where a condition stated before may make an equation true; where the words try, deny or tell cases apart; where another
arithmetic may be meant. Sums and products of plain numbers are `arithmetic`'s to call false.

What is not covered: whether the step follows, systems of equations, vectors and matrices, sets, calculus, remainders.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers._algebra.consequences import contradictions
from verifiers._algebra.contexts import Context
from verifiers._algebra.links import judge
from verifiers.base import Claim, Finding, StepClaim

__all__ = ["Algebra"]

MAX_CHARS = 20_000
MAX_LINKS = 300


@dataclass(frozen=True, kw_only=True)
class Algebra:
    """Checks every formula of a step."""

    version: ClassVar[int] = 1

    def verify(self, claim: Claim) -> Finding:
        """Incorrect names the false statement and why it is false; correct says how many hold."""
        if not isinstance(claim, StepClaim):
            return _unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return _unknown("too long")
        context = Context(claim)
        if sum(len(chain.relations) for chain in context.chains) > MAX_LINKS:
            return _unknown("too many statements")
        if not context.chains:
            return _unknown("no statement")
        return _finding(context)


def _finding(context: Context) -> Finding:
    links = [(link, chain) for chain in context.chains for link in chain.links()]
    judged = [(link.text, *found) for link, chain in links if (found := judge(link, chain, context)) is not None]
    false = [(text, reason) for text, verdict, reason in judged if verdict is Verdict.INCORRECT]
    false += contradictions(context)
    if false:
        if context.has_other_arithmetic:
            return _unknown("another arithmetic may be meant")
        if context.is_refuted:
            return _unknown("an equation that is refuted may be quoted")
        return Finding(verdict=Verdict.INCORRECT, reason=f"{false[0][0]}: {false[0][1]}")
    for text, verdict, reason in judged:
        if verdict is Verdict.UNKNOWN:
            return _unknown(f"{text}: {reason}")
    return Finding(verdict=Verdict.CORRECT, reason=f"{len(judged)} checked") if judged else _unknown("no statement")


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
