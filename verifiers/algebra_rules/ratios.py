"""Formulas as ratios of polynomials in sympy's sparse rings.

A part that is no polynomial (a root, a sine, `2^n`) is treated as one more variable. Therefore
equal ratios are equal formulas, but different ratios need not be different formulas. sympy
receives rings and their elements, never text, and sizes are bounded before multiplication.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verifiers.math.syntax import Combined, Negated, Number, Tree, UnreadError

MAX_TERMS = 300
MAX_DEGREE = 24
MAX_VARIABLES = 12
# An element of a sympy ring, which has no types.
Polynomial = Any


@dataclass(frozen=True, slots=True)
class Ratio:
    """A numerator and a denominator, not in lowest terms."""

    numerator: Polynomial
    denominator: Polynomial


def ratios(*trees: Tree) -> Sequence[Ratio] | None:
    """Return the formulas as ratios over one ring, or None if one exceeds a bound."""
    atoms = dict[Tree, None]()
    for tree in trees:
        _collect_atoms(tree, atoms)
    if len(atoms) > MAX_VARIABLES:
        return None
    # Imported late: a process that builds this verifier to identify it needs no polynomials.
    from sympy import QQ
    from sympy.polys.rings import ring

    symbols = [f"v{index}" for index in range(max(1, len(atoms)))]
    domain, *generators = ring(symbols, QQ)
    builder = _RatioBuilder(domain, dict(zip(atoms, generators, strict=False)))
    try:
        return [builder.ratio(tree) for tree in trees]
    except UnreadError:
        return None


def numerators(left: Ratio, right: Ratio) -> tuple[Polynomial, Polynomial]:
    """Return both numerators over the common denominator; the ratios are equal if they are."""
    common = left.denominator.gcd(right.denominator)
    left_numerator = left.numerator * right.denominator.exquo(common)
    return left_numerator, right.numerator * left.denominator.exquo(common)


def difference(left: Ratio, right: Ratio) -> Polynomial:
    """Return the numerator of the difference."""
    first, second = numerators(left, right)
    return first - second


def vanishes_only_at_poles(polynomial: Polynomial, left: Ratio, right: Ratio) -> bool:
    """Return whether a polynomial vanishes only where one of the denominators does."""
    poles = left.denominator * right.denominator
    while not polynomial.is_ground:
        common = polynomial.gcd(poles)
        if common.is_ground:
            return False
        polynomial = polynomial.exquo(common)
    return True


def shared_terms(left: Polynomial, right: Polynomial) -> Fraction:
    """Return the number of equal terms as a share of the terms of the longer polynomial."""
    equal = 0
    for monomial, coefficient in left.items():
        equal += right.get(monomial) == coefficient
    return Fraction(equal, max(len(left), len(right), 1))


def shared_factor(left: Polynomial, right: Polynomial) -> Fraction:
    """Return the degree of the greatest common divisor as a share of the higher degree."""
    return Fraction(_degree(left.gcd(right)), max(_degree(left), _degree(right), 1))


def is_univariate(polynomial: Polynomial) -> bool:
    """Return whether the polynomial has exactly one variable."""
    return bool(sum(degree > 0 for degree in polynomial.degrees()) == 1)


def _collect_atoms(tree: Tree, atoms: dict[Tree, None]) -> None:
    """Add the names and the parts that are no polynomials, in order."""
    match tree:
        case Number():
            return
        case Negated(operand):
            _collect_atoms(operand, atoms)
        case Combined("^", base, exponent) if _whole_exponent(exponent) is not None:
            _collect_atoms(base, atoms)
        case Combined(operator, left, right) if operator != "^":
            _collect_atoms(left, atoms)
            _collect_atoms(right, atoms)
        case _:
            atoms[tree] = None


def _whole_exponent(tree: Tree) -> int | None:
    match tree:
        case Number(value):
            exponent = value
        case Negated(Number(value)):
            exponent = -value
        case _:
            return None
    return int(exponent) if exponent.denominator == 1 and abs(exponent) <= MAX_DEGREE else None


class _RatioBuilder:
    """Builds ratios over one ring, with a generator for every atom."""

    def __init__(self, domain: Any, generators: dict[Tree, Polynomial]) -> None:
        self.domain = domain
        self.generators = generators

    def ratio(self, tree: Tree) -> Ratio:
        match tree:
            case Number(value):
                number = self.domain(self.domain.domain(value.numerator, value.denominator))
                return Ratio(number, self.domain.one)
            case Negated(operand):
                ratio = self.ratio(operand)
                return Ratio(-ratio.numerator, ratio.denominator)
            case Combined("^", base, exponent):
                power = _whole_exponent(exponent)
                if power is not None:
                    return self._power(self.ratio(base), power)
            case Combined(operator, left, right):
                return self._combined(operator, self.ratio(left), self.ratio(right))
        return Ratio(self.generators[tree], self.domain.one)

    def _combined(self, operator: str, left: Ratio, right: Ratio) -> Ratio:
        if operator == "*":
            return _product(left, right)
        if operator == "/":
            return _product(left, _inverse(right))
        first = _bounded_product(left.numerator, right.denominator)
        second = _bounded_product(right.numerator, left.denominator)
        denominator = left.denominator
        # The bounds hold for the products even if the denominators are equal.
        if denominator == right.denominator:
            first = left.numerator
            second = right.numerator
        else:
            denominator = _bounded_product(denominator, right.denominator)
        if operator == "-":
            second = -second
        return Ratio(first + second, denominator)

    def _power(self, base: Ratio, exponent: int) -> Ratio:
        if exponent < 0:
            base = _inverse(base)
        power = Ratio(self.domain.one, self.domain.one)
        for _ in range(abs(exponent)):
            power = _product(power, base)
        return power


def _product(left: Ratio, right: Ratio) -> Ratio:
    numerator = _bounded_product(left.numerator, right.numerator)
    return Ratio(numerator, _bounded_product(left.denominator, right.denominator))


def _inverse(ratio: Ratio) -> Ratio:
    if not ratio.numerator:
        raise UnreadError("a division by zero")
    return Ratio(ratio.denominator, ratio.numerator)


def _bounded_product(left: Polynomial, right: Polynomial) -> Polynomial:
    if len(left) * len(right) > MAX_TERMS or _degree(left) + _degree(right) > MAX_DEGREE:
        raise UnreadError("a polynomial that is too large")
    return left * right


def _degree(polynomial: Polynomial) -> int:
    return max((sum(monomial) for monomial in polynomial.itermonoms()), default=0)
