r"""The algebra that a step states: wrong when a formula, a comparison or a transformation is false exactly as written.

Decides, in plain text, LaTeX and Unicode: closed forms with roots, pi, sines at angles, logarithms, factorials and binomials (`\sqrt{50} =
5\sqrt{2}`, by intervals of forty digits); comparisons of closed forms (`3/7 > 0.4`); rewritings of expressions with variables (`(x+1)^2 =
x^2 + 2x + 1`, by sympy's polynomials); equations turned into others (`2x + 3 = 7, so 2x = 5`), solved roots among them; a name that is given
two values in a row.

Abstains where a side is not understood, where an equation may be a condition to be solved and not a rewriting, where decimals may be
rounded, where a condition stated before may make a link true, where the words try, deny or tell cases apart, and where another
arithmetic may be meant. Sums and products of plain numbers are `arithmetic`'s to call false.

What is not covered: whether the step follows, inequalities with variables, systems of equations, vectors and matrices, sets, calculus,
remainders, functions by their definitions.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers._consequences import contradictions
from verifiers._contexts import Context
from verifiers._links import judge
from verifiers.base import AnswerClaim, Finding, StepClaim

__all__ = ["Algebra"]

MAX_CHARS = 20_000
MAX_LINKS = 300


@dataclass(frozen=True, kw_only=True)
class Algebra:
    """Checks every formula of a step."""

    version: ClassVar[int] = 1

    def verify(self, claim: AnswerClaim | StepClaim) -> Finding:
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
    judged = [
        (link.text, *found) for chain in context.chains for link in chain.links() if (found := judge(link, chain, context)) is not None
    ]
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
