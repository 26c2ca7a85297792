r"""What one statement of a step turns into: `2x + 3 = 7, so 2x = 5`, `-2x > 4, so x > -2`, and `S = 9 · 6` after which `S = 45`.

Between the two stand only words of rewriting (`simplifying we get`, `so`, `⇒`, "subtracting 3 from both sides") or nothing. The second is
called false where no root of the first, as a polynomial in one variable, is a root of the second; where, in several variables, the two
have no factor in common; and where an inequality in one variable holds at those sample points at which the first does not.

What is not covered: systems of equations, equations with roots or functions, inequalities that are off but not reversed.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from verifiers._algebra.closed_forms import has_decimals
from verifiers._algebra.contexts import Context
from verifiers._algebra.formulas import Call, Joined, Name, Number, Tree, names, parts
from verifiers._algebra.ratios import Polynomial, numerators, ratios
from verifiers._algebra.renamings import CLOSE, are_named_alike, other_unit, renamed
from verifiers._algebra.statements import Chain, Link
from verifiers._algebra.values import BASE, UndefinedError, evaluate, order
from verifiers.math.lexicon import CONCLUDING, OPERATING, PASSAGE, RESTATING, ROUNDING

__all__ = ["contradictions"]

ALTERNATIVE = frozenset(["or", "and"])
WHOLE = ROUNDING | {"integer", "integers", "whole", "most", "least"}
"""In a step with one of these, `7x = 50, so x = 7` may be meant."""
MAX_WORDS = 24
INEQUALITIES = {"<": (-1,), ">": (1,), "≤": (-1, 0), "≥": (0, 1)}
POINTS = [*(Fraction(halves, 2) for halves in range(-25, 26)), *map(Fraction, (-301, -40, 40, 301))]
"""Where two inequalities are looked at; so dense that only bounds that nearly touch can be taken for opposites."""
Equation = tuple[Tree, Tree]


def contradictions(context: Context) -> Iterator[tuple[str, str]]:
    """The statements that what stands directly before them shows to be false, and why."""
    if context.is_refuted:
        return
    for before, after in pairwise((*context.last_before, *context.chains)):
        words = after.before
        if not _is_passage(words) or not ALTERNATIVE.isdisjoint((*before.before[-2:], *after.after[:2])):
            continue
        restated = not RESTATING.isdisjoint(words) or (not OPERATING.isdisjoint(words) and "sides" in words)
        why = _contradicted(before, after, context, restated=restated)
        if why and (restated or before in context.chains):
            yield after.text, why


def _contradicted(before: Chain, after: Chain, context: Context, *, restated: bool) -> str:
    if context.is_supposed:
        return ""
    if are_named_alike(before, after):
        return "" if context.has_cases else renamed(before, after, restated=restated)
    if not after.before and before.sides[0] != after.sides[0] and _is_reversed(before, after):
        return f"it does not follow from {before.text}"
    if not restated and (CONCLUDING.isdisjoint(after.before) or context.has_cases):
        return ""
    rounded = not WHOLE.isdisjoint(context.claim.step.lower().split())
    false = _is_reversed(before, after) or _does_not_follow(before, after, restated=restated, rounded=rounded)
    return f"it does not follow from {before.text}" if false else ""


def _is_passage(words: Sequence[str]) -> bool:
    return len(words) <= MAX_WORDS and all(word in PASSAGE or _is_operand(word) for word in words)


def _is_operand(word: str) -> bool:
    """A number or a name, as in "subtracting 3x"."""
    return word.replace(".", "").isdigit() or (len(word) == 1 and not word.isspace() and word not in "?&[]")


def _does_not_follow(before: Chain, after: Chain, *, restated: bool, rounded: bool) -> bool:
    first, second = _equation(before), _equation(after)
    if first is None or second is None or names(first[0]) | names(first[1]) != names(second[0]) | names(second[1]):
        return False
    made = _polynomials(first, second)
    if made is None or any(polynomial.is_ground for polynomial in made) or not made[0].gcd(made[1]).is_ground:
        return False
    decimals = has_decimals(*first, *second)
    if len(names(first[0]) | names(first[1])) == 1:
        return not (other_unit(before, after) or ((decimals or rounded) and _nearly(*made)))
    return restated and not decimals


def _equation(chain: Chain) -> Equation | None:
    """The equation that a chain of two sides is; of a longer one that begins with a name, the name's value."""
    left, right = chain.sides[0].tree, chain.sides[1].tree
    if any(relation != "=" for relation in chain.relations) or left is None or right is None:
        return None
    return (left, right) if len(chain.sides) == 2 or isinstance(left, Name) else None


def _is_polynomial(tree: Tree) -> bool:
    """Whether there are no functions, names of words, or variables in exponents."""
    return not any(
        isinstance(part, Call)
        or (isinstance(part, Name) and ("(" in part.text or "“" in part.text))
        or (isinstance(part, Joined) and part.operator == "^" and not isinstance(part.right, Number))
        for part in parts(tree)
    )


def _polynomials(first: Equation, second: Equation) -> tuple[Polynomial, Polynomial] | None:
    """Both equations as polynomials that are to be zero; None where they are none."""
    trees = (*first, *second)
    if not all(map(_is_polynomial, trees)):
        return None
    made = ratios(*trees)
    if made is None or not all(ratio.below for ratio in made):
        return None
    (a, b), (c, d) = numerators(made[0], made[1]), numerators(made[2], made[3])
    return a - b, c - d


def _nearly(p: Polynomial, q: Polynomial) -> bool:
    """Whether the roots of two polynomials in one variable may be equal but for rounding; known for linear ones only."""
    if any(sum(monomial) > 1 for polynomial in (p, q) for monomial in polynomial.itermonoms()):
        return True
    roots = [_root(polynomial) for polynomial in (p, q)]
    return abs(roots[0] - roots[1]) <= CLOSE * max(map(abs, roots))


def _root(linear: Polynomial) -> Fraction:
    ratio = linear.coeff(1) / linear.LC
    return -Fraction(int(ratio.numerator), int(ratio.denominator))


def _is_reversed(before: Chain, after: Chain) -> bool:
    """Whether an inequality in one variable holds exactly where the one before it does not, and both hold somewhere."""
    first, second = next(before.links()), next(after.links())
    if len(before.sides) > 2 or len(after.sides) > 2 or first.relation not in INEQUALITIES or second.relation not in INEQUALITIES:
        return False
    trees = (first.left.tree, first.right.tree, second.left.tree, second.right.tree)
    variables = frozenset[str]().union(*(names(tree) for tree in trees if tree is not None))
    if None in trees or len(variables) != 1 or "(" in (variable := next(iter(variables))):
        return False
    told = [
        (a, b)
        for point in POINTS
        if (a := _holds(first, variable, point)) is not None and (b := _holds(second, variable, point)) is not None
    ]
    return all(a is not b for a, b in told) and len({a for a, _ in told}) == 2


def _holds(link: Link, variable: str, point: Fraction) -> bool | None:
    """Whether an inequality holds at a point; None where it has no value, or is an equation there."""
    assert link.left.tree is not None
    assert link.right.tree is not None
    environment = {variable: point, BASE: Fraction(10)}
    try:
        ordered = order(evaluate(link.left.tree, environment), evaluate(link.right.tree, environment))
    except UndefinedError:
        return None
    return None if not ordered else ordered in INEQUALITIES[link.relation]
