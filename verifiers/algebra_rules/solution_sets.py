"""Judge an equation in one name by the solution set of the equation directly before it.

Example: `x^2 - 5x + 6 = 0`, factoring, `(x - 2)(x - 4) = 0`. What follows from an equation has all
of its roots and perhaps more, and what selects some of its roots has no others. An equation that is
derived from another one is therefore false if each has a root that the other one lacks.

What is not covered: equations with decimals, roots or functions; values (see `claimed_solutions`);
two equations with something else between them.
"""

from collections.abc import Iterator
from itertools import pairwise

from verifiers.algebra_rules.ratios import Polynomial
from verifiers.algebra_rules.stated_equations import (
    Stated,
    StatedEquation,
    converts_unit,
    equation_of,
    has_lost_bar,
    in_line,
    is_supposed,
    polynomials,
)
from verifiers.algebra_rules.statements import Chain
from verifiers.math.exact import exact_value
from verifiers.math.findings import StepJudgement, false
from verifiers.math.lexicon import OPERATING, PASSAGE, RESTATING, words

SOLUTION_SETS = "solution sets"
WITHOUT_WORDS = "an equation without words follows from the one before it"
# Signs between two equations that are no words, and arrows.
SIGNS = words(", . : ; • ( ) \\quad \\qquad") | {"\n"}
ARROWS = words("=> -> \\Rightarrow \\implies \\rightarrow ⇒ → ⟹ ∴")


def solution_sets(stated: Stated) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every derived equation whose solution set contradicts the equation before it."""
    context = stated.context
    for before, after in pairwise((*context.last_before, *context.chains)):
        if not _is_passage(before, after) or converts_unit(before, after):
            continue
        first = equation_of(before)
        second = equation_of(after)
        if first is None or second is None:
            continue
        if has_lost_bar((first.left, first.right), (second.left, second.right)):
            continue
        has_words = any(word not in SIGNS for word in after.before)
        if has_words and before not in context.chains and not _is_restated(after):
            continue
        if not has_words and _may_be_listed(first, second):
            continue
        if _exclude_roots_of_each_other(first, second):
            judgement = false(
                SOLUTION_SETS,
                f"its roots are not those of {before.text}",
                "" if has_words else WITHOUT_WORDS,
                in_line(before, after),
                context.cases,
            )
            yield after.text, judgement


def _is_passage(before: Chain, after: Chain) -> bool:
    """Return whether the words between two equations only connect them."""
    if is_supposed(before) or is_supposed(after):
        return False
    if "and" in (*before.before[-2:], *after.before, *after.after[:2]):
        return False
    for word in after.before:
        # A name, as in "subtracting x", does not add a fact.
        if word not in PASSAGE | SIGNS | ARROWS and not (len(word) == 1 and word.isalnum()):
            return False
    return after.before[-1:] not in (("solving",), ("solve",))


def _is_restated(chain: Chain) -> bool:
    """Return whether the words before an equation say that it is the one before in another form."""
    if "sides" in chain.before and not OPERATING.isdisjoint(chain.before):
        return True
    return not RESTATING.isdisjoint(chain.before)


def _may_be_listed(first: StatedEquation, second: StatedEquation) -> bool:
    """Return whether two equations without words between them may be two cases: `x = ±3`.

    They may also be the lines of one calculation: `a = b`, `b = c`.
    """
    if first.left == second.left or first.right == second.left:
        return True
    return exact_value(first.right) == exact_value(second.right) == 0


def _exclude_roots_of_each_other(first: StatedEquation, second: StatedEquation) -> bool:
    """Return whether each of two equations in one name has a root that the other one lacks."""
    if first.names != second.names or len(first.names) != 1:
        return False
    pair = polynomials(first.left, first.right, second.left, second.right)
    if pair is None or pair[0].is_ground or pair[1].is_ground:
        return False
    common = pair[0].gcd(pair[1])
    return _has_other_root(pair[0], common) and _has_other_root(pair[1], common)


def _has_other_root(polynomial: Polynomial, factor: Polynomial) -> bool:
    """Return whether a polynomial has a root that its factor lacks."""
    while not factor.is_ground:
        polynomial = polynomial.exquo(factor)
        factor = polynomial.gcd(factor)
    return not polynomial.is_ground
