r"""Find statements that contradict the statement directly before them.

Examples: `2x + 3 = 7, so 2x = 5`; `-2x > 4, so x > -2`; `S = 9 · 6`, and then `S = 45`. Between the
two statements are only words of rewriting ("simplifying we get", "so", "⇒", "subtracting 3 from
both sides") or nothing. The second is false if

- no root of the first, as a polynomial in one variable, is a root of the second;
- the two have several variables and no common factor;
- an inequality in one variable holds exactly at those sample points where the first does not.

What is not covered: systems of equations, equations with roots or functions, inequalities that are
wrong but not reversed.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.ratios import Polynomial, numerators, ratios
from verifiers.algebra_rules.renamings import (
    CLOSE,
    converts_unit,
    describe_same_name,
    why_contradictory,
)
from verifiers.algebra_rules.statements import Chain, Link
from verifiers.algebra_rules.values import (
    DECIMAL_BASE,
    HOLDING_SIGNS,
    INEQUALITIES,
    difference_sign,
    evaluate,
)
from verifiers.math.errors import UndefinedError
from verifiers.math.lexicon import CONCLUDING, OPERATING, PASSAGE, RESTATING, ROUNDING
from verifiers.math.syntax import Name, Number, Tree, functions, has_decimals, is_power, names, walk

ALTERNATIVE = frozenset(["or", "and"])
# With one of these words, `7x = 50, so x = 7` may be meant.
WHOLE = ROUNDING | {"integer", "integers", "whole", "most", "least"}
MAX_WORDS = 24
# Half-integers are so dense that only inequalities whose bounds nearly meet look opposite.
DENSE_POINTS = [Fraction(halves, 2) for halves in range(-25, 26)]
POINTS = [*DENSE_POINTS, Fraction(-301), Fraction(-40), Fraction(40), Fraction(301)]
Equation = tuple[Tree, Tree]


def contradictions(context: Context) -> Iterator[tuple[str, str]]:
    """Yield every false statement with the reason."""
    if context.is_refuted:
        return
    for before, after in pairwise((*context.last_before, *context.chains)):
        words = after.before
        if not _is_passage(words):
            continue
        if not ALTERNATIVE.isdisjoint((*before.before[-2:], *after.after[:2])):
            continue
        changes_both_sides = not OPERATING.isdisjoint(words) and "sides" in words
        is_restated = changes_both_sides or not RESTATING.isdisjoint(words)
        reason = _contradiction(before, after, context, is_restated=is_restated)
        if reason and (is_restated or before in context.chains):
            yield after.text, reason


def _contradiction(before: Chain, after: Chain, context: Context, *, is_restated: bool) -> str:
    if context.is_supposed:
        return ""
    if describe_same_name(before, after):
        if context.has_cases:
            return ""
        return why_contradictory(before, after, is_restated=is_restated)
    reason = f"it does not follow from {before.text}"
    if not after.before and before.sides[0] != after.sides[0] and _is_reversed(before, after):
        return reason
    is_concluded = not CONCLUDING.isdisjoint(after.before) and not context.has_cases
    if not is_restated and not is_concluded:
        return ""
    if _is_reversed(before, after):
        return reason
    words = context.claim.step.lower().split()
    is_rounded = not WHOLE.isdisjoint(words)
    if _does_not_follow(before, after, is_restated=is_restated, is_rounded=is_rounded):
        return reason
    return ""


def _is_passage(words: Sequence[str]) -> bool:
    """Return whether the words between two statements only connect them."""
    for word in words:
        # A number or a name, as in "subtracting 3x", does not add a fact.
        is_name = len(word) == 1 and not word.isspace() and word not in "?&[]"
        if word not in PASSAGE and not is_name and not word.replace(".", "").isdigit():
            return False
    return len(words) <= MAX_WORDS


def _does_not_follow(before: Chain, after: Chain, *, is_restated: bool, is_rounded: bool) -> bool:
    first = _equation(before)
    second = _equation(after)
    if first is None or second is None:
        return False
    variables = names(first[0]) | names(first[1])
    if variables != names(second[0]) | names(second[1]):
        return False
    made = _polynomials(first, second)
    if made is None:
        return False
    p, q = made
    if p.is_ground or q.is_ground or not p.gcd(q).is_ground:
        return False
    decimals = has_decimals(*first, *second)
    if len(variables) > 1:
        return is_restated and not decimals
    if converts_unit(before, after):
        return False
    return not ((decimals or is_rounded) and _may_have_close_roots(p, q))


def _equation(chain: Chain) -> Equation | None:
    """Return the equation of a chain; a longer chain must begin with a name, its subject."""
    left = chain.sides[0].tree
    right = chain.sides[1].tree
    if left is None or right is None:
        return None
    if any(relation != "=" for relation in chain.relations):
        return None
    return (left, right) if len(chain.sides) == 2 or isinstance(left, Name) else None


def _is_polynomial(tree: Tree) -> bool:
    """Return whether the tree has no functions, names in words or variables in exponents."""
    for part in walk(tree):
        if is_power(part) and not isinstance(part.right, Number):
            return False
        if isinstance(part, Name) and ("(" in part.text or "“" in part.text):
            return False
    return not functions(tree)


def _polynomials(first: Equation, second: Equation) -> tuple[Polynomial, Polynomial] | None:
    """Return the polynomials whose roots solve the equations, or None if they are not rational."""
    trees = (*first, *second)
    if not all(_is_polynomial(tree) for tree in trees):
        return None
    made = ratios(*trees)
    if made is None or not all(ratio.denominator for ratio in made):
        return None
    left, right = numerators(made[0], made[1])
    other_left, other_right = numerators(made[2], made[3])
    return left - right, other_left - other_right


def _may_have_close_roots(p: Polynomial, q: Polynomial) -> bool:
    """Return whether the roots may be equal except for rounding; only linear ones are computed."""
    for polynomial in (p, q):
        if any(sum(monomial) > 1 for monomial in polynomial.itermonoms()):
            return True
    first = _root(p)
    second = _root(q)
    return abs(first - second) <= CLOSE * max(abs(first), abs(second))


def _root(linear: Polynomial) -> Fraction:
    ratio = linear.coeff(1) / linear.LC
    return -Fraction(int(ratio.numerator), int(ratio.denominator))


def _is_reversed(before: Chain, after: Chain) -> bool:
    """Return whether an inequality in one variable holds exactly where the first does not.

    Both must hold somewhere.
    """
    if len(before.sides) > 2 or len(after.sides) > 2:
        return False
    first = next(before.links())
    second = next(after.links())
    if first.relation not in INEQUALITIES or second.relation not in INEQUALITIES:
        return False
    variables = set[str]()
    for tree in (first.left.tree, first.right.tree, second.left.tree, second.right.tree):
        if tree is None:
            return False
        variables |= names(tree)
    if len(variables) != 1:
        return False
    variable = variables.pop()
    if "(" in variable:
        return False
    held = set[bool]()
    for point in POINTS:
        first_holds = _holds(first, variable, point)
        second_holds = _holds(second, variable, point)
        if first_holds is None or second_holds is None:
            continue
        if first_holds is second_holds:
            return False
        held.add(first_holds)
    return len(held) == 2


def _holds(link: Link, variable: str, point: Fraction) -> bool | None:
    """Return whether an inequality holds; None if it has no value or its sides are equal."""
    assert link.left.tree is not None
    assert link.right.tree is not None
    environment = {variable: point}
    try:
        left = evaluate(link.left.tree, environment, DECIMAL_BASE)
        right = evaluate(link.right.tree, environment, DECIMAL_BASE)
    except UndefinedError:
        return None
    sign = difference_sign(left, right)
    return sign in HOLDING_SIGNS[link.relation] if sign else None
