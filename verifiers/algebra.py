r"""The algebra of a step: incorrect if a formula, a comparison or a rewriting is false as written.

The checker decides, in plain text, LaTeX and Unicode:

- closed forms with roots, pi, sines at angles, logarithms, factorials, binomials and the imaginary
  unit, such as `\sqrt{50} = 5\sqrt{2}`: by exact fractions or intervals of forty digits;
- comparisons of closed forms: `3/7 > 0.4`;
- rewritings of expressions with variables, such as `(x + 1)^2 = x^2 + 2x + 1`: by sample points and
  sympy's polynomials;
- equations and inequalities that are transformed or solved: `2x + 3 = 7, so x = 3`;
- two consecutive values of one name: `S = 9 · 6`, and then `S = 45`;
- known values and definitions that are substituted: `x = 3` before, and then `x^2 + 2x = 9 + 5`;
  `f(x) = x^2 + 1` in the question, and then `f(3) = 11`.

The verdict is unknown if a side is not understood, if an equation may be a condition and not a
rewriting, if decimals may be rounded, if a condition stated before may make an equation true, if
the words try, deny or distinguish cases, or if another arithmetic may be meant. False sums and
products of plain numbers are left to the checker `arithmetic`.

What is not covered: whether the step follows, systems of equations, vectors and matrices, sets,
calculus, remainders.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.algebra_rules.consequences import contradictions
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.links import judge
from verifiers.base import Claim, Finding, StepClaim

__all__ = ["Algebra"]

MAX_CHARS = 20_000
MAX_LINKS = 300


@dataclass(frozen=True, kw_only=True)
class Algebra:
    """A checker of every formula in a step."""

    version: ClassVar[int] = 1

    def verify(self, claim: Claim) -> Finding:
        """Return the finding; its reason names the false statement or counts the true ones."""
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
    judged = 0
    unknown_reason = ""
    false = list[tuple[str, str]]()
    for chain in context.chains:
        for link in chain.links():
            judgement = judge(link, chain, context)
            if judgement is None:
                continue
            verdict, reason = judgement
            judged += 1
            if verdict is Verdict.INCORRECT:
                false.append((link.text, reason))
            elif verdict is Verdict.UNKNOWN and not unknown_reason:
                unknown_reason = f"{link.text}: {reason}"
    false += contradictions(context)
    if false:
        return _false(*false[0], context)
    if unknown_reason:
        return _unknown(unknown_reason)
    if judged == 0:
        return _unknown("no statement")
    return Finding(verdict=Verdict.CORRECT, reason=f"{judged} checked")


def _false(statement: str, reason: str, context: Context) -> Finding:
    """Return the finding about a false statement, which the step may not claim."""
    if context.has_other_arithmetic:
        return _unknown("another arithmetic may be meant")
    if context.is_refuted:
        return _unknown("a refuted equation may be quoted")
    return Finding(verdict=Verdict.INCORRECT, reason=f"{statement}: {reason}")


def _unknown(reason: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
