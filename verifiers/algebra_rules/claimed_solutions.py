"""Judge a claimed value of a name by the equations that are stated in this name.

Example: `2x + 1 = 7`, some words, and `x = 4`.

Assumptions: the equation and the claim mean the same by the letter. An equation is therefore left
out if another stated equation in the same name has no common root with it: the two belong to
different cases, or one of them is a mistake that other rules find.

What is not covered: rounded values, equations with decimals, inequalities, steps with many claims.
"""

from collections.abc import Iterator, Sequence

from verifiers.algebra_rules import values
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.stated_equations import (
    ClaimedValue,
    Stated,
    StatedEquation,
    converts_unit,
    equation_of,
    exclude_each_other,
    in_line,
    is_supposed,
    may_be_rounded,
)
from verifiers.math.findings import StepJudgement, false
from verifiers.math.syntax import UndefinedError

CLAIMED_SOLUTION = "claimed solution"
AFTER_CLAIM = "the equation that follows a claimed solution holds"
# Every claim is compared with every equation, and the equations with each other.
MAX_CLAIMS = 32
MAX_EQUATIONS = 32


def claimed_solutions(stated: Stated) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every claimed value that does not solve a stated equation, with the judgement."""
    context = stated.context
    claims = stated.claims
    if not 0 < len(claims) <= MAX_CLAIMS or may_be_rounded(context.claim.step):
        return
    equations = _Equations(stated)
    for claim in claims:
        equation = equations.contradicting(claim)
        if equation is None:
            continue
        judgement = false(
            CLAIMED_SOLUTION,
            f"it does not solve {equation.chain.text}",
            equation.assumption,
            AFTER_CLAIM if _is_behind(equation, claim, context) else "",
            in_line(equation.chain),
            context.cases,
        )
        yield claim.chain.text, judgement


class _Equations:
    """The stated equations nearest to the step, and which of them exclude each other."""

    def __init__(self, stated: Stated) -> None:
        self.stated = stated
        equations = [other for other in (*stated.before, *stated.here) if not other.is_value]
        self.equations = equations[-MAX_EQUATIONS:]
        self.excluded = dict[StatedEquation, bool]()

    def contradicting(self, claim: ClaimedValue) -> StatedEquation | None:
        """Return the first equation that a claim should solve and does not, or None."""
        candidates: Sequence[StatedEquation] = self.equations
        if claim.is_alternative or _has_other_value(claim, self.stated.claims):
            candidates = _directly_before(claim, self.stated)
        for equation in candidates:
            if equation.names != {claim.name} or converts_unit(equation.chain, claim.chain):
                continue
            if _holds(equation, claim) is False and not self._is_excluded(equation):
                return equation
        return None

    def _is_excluded(self, equation: StatedEquation) -> bool:
        """Return whether another equation in the same name has no common root with this one."""
        if equation not in self.excluded:
            others = (exclude_each_other(equation, other) for other in self.equations)
            self.excluded[equation] = any(others)
        return self.excluded[equation]


def _is_behind(equation: StatedEquation, claim: ClaimedValue, context: Context) -> bool:
    """Return whether an equation of the step follows the claim."""
    return any(chain is equation.chain for chain in context.chains[claim.index :])


def _has_other_value(claim: ClaimedValue, claims: Sequence[ClaimedValue]) -> bool:
    for other in claims:
        if other.name == claim.name and values.difference_sign(other.value, claim.value) != 0:
            return True
    return False


def _directly_before(claim: ClaimedValue, stated: Stated) -> Sequence[StatedEquation]:
    """Return the equation directly before a list of values: `x² = 4, so x = 2 or x = -2`."""
    start = claim.index
    indices = {other.index for other in stated.claims if other.name == claim.name}
    while start - 1 in indices:
        start -= 1
    before = stated.context.chains[start - 1 : start] or stated.context.last_before
    equations = list[StatedEquation]()
    for chain in before:
        equation = None if is_supposed(chain) else equation_of(chain)
        if equation is not None:
            equations.append(equation)
    return equations


def _holds(equation: StatedEquation, claim: ClaimedValue) -> bool | None:
    try:
        sign = values.order(equation.left, equation.right, {claim.name: claim.value})
    except UndefinedError:
        return None
    return None if sign is None else sign == 0
