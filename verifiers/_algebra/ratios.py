"""Formulas as ratios of polynomials, in sympy's sparse rings.

What is no polynomial (a root, a sine, `2^n`) is taken as one more variable, so equal ratios are equal formulas, but different ratios need
not be different ones. sympy gets rings and their elements only, never text, and everything is bounded before it is multiplied out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sympy import QQ
from sympy.polys.rings import ring

from verifiers._algebra.formulas import Call, Joined, Minus, Name, Number, Tree

__all__ = ["Polynomial", "Ratio", "in_common", "likeness", "numerators", "ratios", "univariate"]

MAX_TERMS = 300
MAX_DEGREE = 24
MAX_GENERATORS = 12
Polynomial = Any
"""An element of a sympy ring, which has no types."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Numerator over denominator; not in lowest terms."""

    above: Polynomial
    below: Polynomial


class _TooLargeError(Exception):
    """Beyond a bound, or divided by zero."""


def ratios(*trees: Tree) -> Sequence[Ratio] | None:
    """The formulas as ratios over one ring; None when one is beyond a bound."""
    keys = list(dict.fromkeys(key for tree in trees for key in _keys(tree)))
    if len(keys) > MAX_GENERATORS:
        return None
    domain, *generators = ring([f"v{index}" for index in range(max(1, len(keys)))], QQ)
    known = dict(zip(keys, generators, strict=False))
    try:
        return [_Maker(domain, known).ratio(tree) for tree in trees]
    except _TooLargeError:
        return None


def numerators(left: Ratio, right: Ratio) -> tuple[Polynomial, Polynomial]:
    """Both sides over their common denominator: `left = right` says that the two are equal."""
    common = left.below.gcd(right.below)
    return left.above * right.below.exquo(common), right.above * left.below.exquo(common)


def likeness(left: Polynomial, right: Polynomial) -> Fraction:
    """The share of terms, of the longer one, that the other has too."""
    same = sum(right.get(monomial) == coefficient for monomial, coefficient in left.items())
    return Fraction(same, max(len(left), len(right), 1))


def in_common(left: Polynomial, right: Polynomial) -> Fraction:
    """The degree of their greatest common divisor as a share of the higher one's."""
    return Fraction(_degree(left.gcd(right)), max(_degree(left), _degree(right), 1))


def univariate(polynomial: Polynomial) -> bool:
    """Whether it has one variable and is no constant."""
    return bool(sum(degree > 0 for degree in polynomial.degrees()) == 1)


def _keys(tree: Tree) -> Iterator[Tree]:
    """The names, and the parts that are no polynomials."""
    match tree:
        case Number():
            return
        case Minus():
            yield from _keys(tree.operand)
        case Joined("^", base, _) if _exponent(tree) is not None:
            yield from _keys(base)
        case Joined(operator, left, right) if operator != "^":
            yield from _keys(left)
            yield from _keys(right)
        case _:
            yield tree


def _exponent(tree: Joined) -> int | None:
    """The whole number that a power is raised to, when it is one."""
    match tree.right:
        case Number(value):
            exponent = value
        case Minus(Number(value)):
            exponent = -value
        case _:
            return None
    return int(exponent) if exponent.denominator == 1 and abs(exponent) <= MAX_DEGREE else None


class _Maker:
    """Builds ratios over one ring."""

    def __init__(self, domain: Any, known: dict[Tree, Polynomial]) -> None:
        self.domain = domain
        self.known = known

    def ratio(self, tree: Tree) -> Ratio:
        one = self.domain.one
        match tree:
            case Number(value):
                return Ratio(self.domain(QQ(value.numerator, value.denominator)), one)
            case Minus(operand):
                ratio = self.ratio(operand)
                return Ratio(-ratio.above, ratio.below)
            case Joined("^", base, _) if (exponent := _exponent(tree)) is not None:
                return self._power(self.ratio(base), exponent)
            case Joined(operator, left, right) if operator != "^":
                return self._joined(operator, self.ratio(left), self.ratio(right))
            case Name() | Call() | Joined():
                return Ratio(self.known[tree], one)

    def _joined(self, operator: str, left: Ratio, right: Ratio) -> Ratio:
        if operator == "*":
            return Ratio(_product(left.above, right.above), _product(left.below, right.below))
        if operator == "/":
            if not right.above:
                raise _TooLargeError
            return Ratio(_product(left.above, right.below), _product(left.below, right.above))
        above, added = _product(left.above, right.below), _product(right.above, left.below)
        if left.below == right.below:
            above, added = left.above, right.above
        below = left.below if left.below == right.below else _product(left.below, right.below)
        return Ratio(above + added if operator == "+" else above - added, below)

    def _power(self, base: Ratio, exponent: int) -> Ratio:
        if exponent < 0:
            if not base.above:
                raise _TooLargeError
            base = Ratio(base.below, base.above)
        result = Ratio(self.domain.one, self.domain.one)
        for _ in range(abs(exponent)):
            result = Ratio(_product(result.above, base.above), _product(result.below, base.below))
        return result


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    if len(left) * len(right) > MAX_TERMS or _degree(left) + _degree(right) > MAX_DEGREE:
        raise _TooLargeError
    return left * right


def _degree(polynomial: Polynomial) -> int:
    return max((sum(monomial) for monomial in polynomial.itermonoms()), default=0)
