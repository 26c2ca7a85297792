r"""What one statement of a step turns into: `2x + 3 = 7, so 2x = 5`, and `S = 9 · 6` after which `S = 45`.

Between the two stand only words of rewriting (`simplifying we get`, `so`, `⇒`, "subtracting 3 from both sides") or nothing. Then they are
false together where they say that one thing is two numbers, where no root of the first, as a polynomial in one variable, is a root of
the second, or where, in several variables, they have no factor in common. The second is the false one.

What is not covered: inequalities, systems of equations, equations with roots or functions.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from verifiers._contexts import Context
from verifiers._formulas import Call, Joined, Minus, Name, Number, Tree, names, parts
from verifiers._identities import Equality, compare
from verifiers._lexicon import CONCLUDING, OPERATING, PASSAGE, RESTATING
from verifiers._ratios import Polynomial, numerators, ratios
from verifiers._statements import Chain
from verifiers._values import UndefinedError, evaluate, midpoint

__all__ = ["contradictions"]

ALTERNATIVE = frozenset(["or", "and"])
CLOSE = Fraction(1, 50)
"""Relative error that decimals are granted."""
MAX_WORDS = 24


def contradictions(context: Context) -> Iterator[tuple[str, str]]:
    """The statements that what stands directly before them shows to be false, and why."""
    for before, after in pairwise(context.chains):
        if not _is_passage(after.before, context) or _is_alternative(before, after):
            continue
        if _is_named_alike(before, after):
            found = _renamed(before, after, context)
        else:
            found = _transformed(before, after, context)
        if found:
            yield _text(after), found


def _is_passage(words: Sequence[str], context: Context) -> bool:
    if len(words) > MAX_WORDS or context.is_refuted:
        return False
    return all(word in PASSAGE or word in RESTATING or word in OPERATING or word in CONCLUDING or _is_operand(word) for word in words)


def _is_alternative(before: Chain, after: Chain) -> bool:
    """Whether either is one of several, as in `x = 2 or x = 3`."""
    return not ALTERNATIVE.isdisjoint((*before.before[-2:], *after.after[:2]))


def _is_operand(word: str) -> bool:
    return word.replace(".", "").isdigit() or (len(word) == 1 and not word.isspace() and word not in "?&[]")


def _is_named_alike(before: Chain, after: Chain) -> bool:
    name = before.sides[0].tree
    return isinstance(name, Name) and name == after.sides[0].tree and before.relations[0] == after.relations[0] == "="


def _renamed(before: Chain, after: Chain, context: Context) -> str:
    """Two values of one name: the last of the chain before, with arithmetic still to do, and the first of this one, with less."""
    first, second = before.sides[-1].tree, after.sides[1].tree
    if first is None or second is None or before.relations[-1] != "=" or context.has_cases or context.is_supposed:
        return ""
    if _work(first) <= _work(second) or (not _is_strong(after.before) and names(first) | names(second)):
        return ""
    if names(first) != names(second):
        return ""
    relation = compare(first, second)
    if names(first):
        return (
            f"it was {before.sides[-1].text}"
            if relation.equality in (Equality.NEVER, Equality.NEVER_SEEN) and not _decimals(first, second)
            else ""
        )
    return _differing(first, second, before)


def _differing(first: Tree, second: Tree, before: Chain) -> str:
    try:
        a, b = midpoint(evaluate(first, {})), midpoint(evaluate(second, {}))
    except UndefinedError:
        return ""
    slack = (
        CLOSE * max(abs(a), abs(b))
        if _decimals(first, second) or (isinstance(second, Number) and a.denominator != 1)
        else Fraction(1, 10**12) * abs(a)
    )
    if abs(a - b) <= slack or (not isinstance(second, Number | Minus) and next(_numbers(second), None) == a):
        return ""
    return f"it was {before.sides[-1].text}"


def _numbers(tree: Tree) -> Iterator[Fraction]:
    return (part.value for part in parts(tree) if isinstance(part, Number))


def _work(tree: Tree) -> int:
    """How many operations it takes."""
    return sum(isinstance(part, Joined | Call) for part in parts(tree))


def _decimals(*trees: Tree) -> bool:
    return any(isinstance(part, Number) and part.decimals for tree in trees for part in parts(tree))


def _is_strong(words: Sequence[str]) -> bool:
    return not RESTATING.isdisjoint(words) or (not OPERATING.isdisjoint(words) and "sides" in words)


def _transformed(before: Chain, after: Chain, context: Context) -> str:
    first, second = _equation(before), _equation(after)
    if first is None or second is None or context.is_supposed:
        return ""
    if not _is_strong(after.before) and (CONCLUDING.isdisjoint(after.before) or context.has_cases):
        return ""
    p, q = _polynomials(first, second)
    if p is None or q is None or p.is_ground or q.is_ground:
        return ""
    variables = [sum(degree > 0 for degree in polynomial.degrees()) for polynomial in (p, q)]
    if [names(first[0]) | names(first[1])] != [names(second[0]) | names(second[1])] or not p.gcd(q).is_ground:
        return ""
    if variables == [1, 1]:
        return "" if _decimals(*first, *second) and _nearly(p, q) else f"it does not follow from {_text(before)}"
    return f"it does not follow from {_text(before)}" if _is_strong(after.before) and not _decimals(*first, *second) else ""


def _equation(chain: Chain) -> tuple[Tree, Tree] | None:
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


def _polynomials(first: tuple[Tree, Tree], second: tuple[Tree, Tree]) -> tuple[Polynomial, Polynomial]:
    """Both equations as polynomials that are to be zero; None where they are none."""
    trees = (*first, *second)
    if not all(map(_is_polynomial, trees)):
        return None, None
    made = ratios(*trees)
    if made is None or not all(ratio.below for ratio in made):
        return None, None
    (a, b), (c, d) = numerators(made[0], made[1]), numerators(made[2], made[3])
    return a - b, c - d


def _nearly(p: Polynomial, q: Polynomial) -> bool:
    """Whether the roots of two polynomials in one variable may be equal but for rounding; known for linear ones only."""
    if max(p.degrees()) > 1 or max(q.degrees()) > 1:
        return True
    roots = [-Fraction(int(t.numerator), int(t.denominator)) for t in (poly.coeff(1) / poly.LC for poly in (p, q))]
    return abs(roots[0] - roots[1]) <= CLOSE * max(map(abs, roots))


def _text(chain: Chain) -> str:
    return " ".join(
        piece for pair in zip((side.text for side in chain.sides), (*chain.relations, ""), strict=True) for piece in pair if piece
    )
