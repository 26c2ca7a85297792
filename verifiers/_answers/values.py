"""The values of formulas: exact where they are rational, else enclosed in intervals so narrow that different values show.

The precision follows from the sizes of all values on the way, so that `1 + 10^-500` is not taken for 1. Complex values are pairs.
Everything is bounded: what is too large raises `UnreadError`; what has no value (a division by zero, the logarithm of a negative
number) or none that people agree on (a fractional power of a negative number) raises `UndefinedError`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import comb, factorial
from typing import Any

from mpmath import iv, mp, mpf

from verifiers._answers.formulas import (
    Binomial,
    Call,
    Combined,
    Constant,
    Factorial,
    Mixed,
    Name,
    Negated,
    Node,
    Number,
    Root,
)
from verifiers._answers.tokens import UnreadError

__all__ = ["Comparison", "UndefinedError", "compare", "exact_value", "within"]

FIRST_BITS = 512
SPARE_BITS = 256
MAX_PRECISION = 2**15
MAX_BITS = 2**16
"""Of a rational number."""
MAX_LOGARITHM = 2**13
"""Of a value that is not rational, to base 2."""
MAX_FACTORIAL = 5_000
MAX_CHOICE = 10_000
MAX_COMPLEX_POWER = 64

Real = Any
"""A `Fraction`, or an interval of mpmath, whose classes have no types."""
Complex = tuple[Real, Real]
ZERO = Fraction(0)


class UndefinedError(Exception):
    """No value."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`equal` is None when the intervals cannot tell; `exact` when both values are rational numbers."""

    equal: bool | None
    exact: bool


def compare(one: Node, other: Node, at: Mapping[str, Fraction], *, products: bool = False, real: bool = False) -> Comparison:
    """Whether two formulas have one value where the variables are as given.

    `products` reads mixed numbers as products; `real` gives square roots of negative numbers no value.
    """
    difference, bits = _difference(one, other, _Reading(at, products, real))
    re, im = difference
    if isinstance(re, Fraction) and isinstance(im, Fraction):
        return Comparison(re == im == 0, exact=im == 0)
    if _excludes_zero(re) or _excludes_zero(im):
        return Comparison(False, exact=False)
    tiny = mpf(2) ** -(bits // 2)
    return Comparison(True if max(abs(_interval(part)).b for part in difference) < tiny else None, exact=False)


def within(one: Node, other: Node, tolerance: Fraction) -> bool:
    """Whether two closed real formulas may differ by less than the tolerance."""
    (re, im), _ = _difference(one, other, _Reading({}))
    if isinstance(re, Fraction):
        return not _excludes_zero(im) and abs(re) < tolerance
    return not _excludes_zero(im) and bool(abs(re).a < _interval(tolerance).b)


def exact_value(node: Node, at: Mapping[str, Fraction]) -> Fraction | None:
    """The value, when it is rational and shows as such."""
    re, im = _Evaluation(_Reading(at)).of(node)
    return re if isinstance(re, Fraction) and isinstance(im, Fraction) and im == 0 else None


@dataclass(frozen=True, slots=True)
class _Reading:
    at: Mapping[str, Fraction]
    products: bool = False
    real: bool = False


def _difference(one: Node, other: Node, reading: _Reading) -> tuple[Complex, int]:
    """The first value less the second, and the precision in bits, which is set by a first round."""
    before = iv.prec
    try:
        iv.prec = bits = FIRST_BITS
        first = _Evaluation(reading)
        difference = first.of(Combined("-", one, other))
        if not all(isinstance(part, Fraction) for part in difference):
            iv.prec = bits = SPARE_BITS + 2 * first.bits
            if bits > MAX_PRECISION:
                raise UnreadError("too large to compare")
            difference = _Evaluation(reading).of(Combined("-", one, other))
        return difference, bits
    finally:
        iv.prec = before


@dataclass
class _Evaluation:
    """One round; `bits` adds up the sizes of the values that were met."""

    reading: _Reading
    bits: int = field(default=0)

    def of(self, node: Node) -> Complex:
        value = self._of(node)
        self.bits += _size(value[0]) + _size(value[1])
        return value

    def _of(self, node: Node) -> Complex:
        match node:
            case Number() | Mixed() | Name() | Constant():
                return self._leaf(node)
            case Negated():
                return _negative(self.of(node.operand))
            case Combined():
                return self._combined(node)
            case Factorial():
                return Fraction(factorial(self._whole(node.operand, MAX_FACTORIAL))), ZERO
            case Binomial():
                return Fraction(comb(self._whole(node.upper, MAX_CHOICE), self._whole(node.lower, MAX_CHOICE))), ZERO
            case Root():
                return self._real_where_asked(_root(self.of(node.operand), node.degree))
            case Call():
                return self._call(node)

    def _leaf(self, node: Number | Mixed | Name | Constant) -> Complex:
        match node:
            case Number():
                return node.value, ZERO
            case Mixed():
                return (node.whole.value * node.part if self.reading.products else node.whole.value + node.part), ZERO
            case Name():
                return self.reading.at[node.name], ZERO
            case Constant():
                return _constant(node.name)

    def _combined(self, node: Combined) -> Complex:
        left, right = self.of(node.left), self.of(node.right)
        match node.operator:
            case "+":
                return _sum(left, right)
            case "-":
                return _sum(left, _negative(right))
            case "*":
                return _product(left, right)
            case "/":
                return _quotient(left, right)
            case _:
                return _power(left, right)

    def _real_where_asked(self, value: Complex) -> Complex:
        if self.reading.real and not _is_zero(value[1]):
            raise UndefinedError
        return value

    def _whole(self, node: Node, limit: int) -> int:
        re, im = self.of(node)
        if not isinstance(re, Fraction) or im != 0 or re.denominator != 1 or re < 0:
            raise UndefinedError
        if re > limit:
            raise UnreadError("a factorial that is too large")
        return int(re)

    def _call(self, node: Call) -> Complex:
        operand, im = self.of(node.operand)
        if not _is_zero(im):
            raise UndefinedError
        if node.function == "log":
            base = ZERO if node.base is None else self._real(node.base)
            return (_logarithm(operand, base), ZERO)
        return FUNCTIONS[node.function](operand), ZERO

    def _real(self, node: Node) -> Real:
        re, im = self.of(node)
        if not _is_zero(im):
            raise UndefinedError
        return re


def _interval(number: Real) -> Any:
    return iv.mpf(number.numerator) / iv.mpf(number.denominator) if isinstance(number, Fraction) else number


def _size(number: Real) -> int:
    """Of a rational number the bits it has, of another those before or after its point; none of what may be zero."""
    if isinstance(number, Fraction):
        bits = max(number.numerator.bit_length(), number.denominator.bit_length())
        if bits > MAX_BITS:
            raise UnreadError("a number that is too large")
        return bits
    bits = abs(int(mp.mag(abs(number).b))) if _excludes_zero(number) else 0
    if bits > MAX_LOGARITHM:
        raise UnreadError("a number that is too large")
    return bits


def _is_zero(number: Real) -> bool:
    return isinstance(number, Fraction) and number == 0


def _excludes_zero(number: Real) -> bool:
    return number != 0 if isinstance(number, Fraction) else bool(number.a > 0 or number.b < 0)


def _sign(number: Real) -> int:
    """1, -1, or 0 for a zero; an interval around zero has none."""
    if isinstance(number, Fraction):
        return (number > 0) - (number < 0)
    if not _excludes_zero(number):
        raise UndefinedError
    return 1 if number.a > 0 else -1


def _plus(one: Real, other: Real) -> Real:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one + other
    return _interval(one) + _interval(other)


def _times(one: Real, other: Real) -> Real:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one * other
    return ZERO if _is_zero(one) or _is_zero(other) else _interval(one) * _interval(other)


def _sum(one: Complex, other: Complex) -> Complex:
    return _plus(one[0], other[0]), _plus(one[1], other[1])


def _negative(value: Complex) -> Complex:
    return -value[0], -value[1]


def _product(one: Complex, other: Complex) -> Complex:
    (a, b), (c, d) = one, other
    return _plus(_times(a, c), -_times(b, d)), _plus(_times(a, d), _times(b, c))


def _quotient(one: Complex, other: Complex) -> Complex:
    (c, d) = other
    size = _plus(_times(c, c), _times(d, d))
    if not _excludes_zero(size):
        raise UndefinedError
    inverse = 1 / size
    if _is_zero(d):
        inverse = 1 / c
        return _times(one[0], inverse), _times(one[1], inverse)
    re, im = _product(one, (c, -d))
    return _times(re, inverse), _times(im, inverse)


def _power(base: Complex, exponent: Complex) -> Complex:
    (re, im), (power, zero) = base, exponent
    if not _is_zero(zero):
        raise UndefinedError
    if isinstance(power, Fraction) and power.denominator == 1:
        return _whole_power(base, int(power))
    if not _is_zero(im):
        raise UndefinedError
    if isinstance(power, Fraction) and isinstance(re, Fraction) and re > 0 and power.denominator <= MAX_COMPLEX_POWER:
        return _whole_power((_real_root(re, power.denominator), ZERO), power.numerator)
    if _sign(re) <= 0:
        raise UndefinedError
    return _exponential(_times(iv.log(_interval(re)), power)), ZERO


def _whole_power(base: Complex, power: int) -> Complex:
    re, im = base
    if not _is_zero(im):
        if abs(power) > MAX_COMPLEX_POWER:
            raise UnreadError("a power that is too large")
        value = reduce(_product, [base] * abs(power), (Fraction(1), ZERO))
        return value if power >= 0 else _quotient((Fraction(1), ZERO), value)
    if power <= 0 and _is_zero(re):
        raise UndefinedError
    if isinstance(re, Fraction) and _size(re) * abs(power) <= MAX_BITS:
        return re**power, ZERO
    if _size(re) * abs(power) > MAX_LOGARITHM:
        raise UnreadError("a power that is too large")
    if power < 0 and _sign(re) == 0:
        raise UndefinedError
    return _interval(re) ** power, ZERO


def _root(value: Complex, degree: int) -> Complex:
    re, im = value
    if not _is_zero(im):
        raise UndefinedError
    if _is_zero(re) or _sign(re) > 0:
        return _real_root(re, degree), ZERO
    if degree == 2:
        return ZERO, _real_root(-re, 2)
    if degree % 2:
        return -_real_root(-re, degree), ZERO
    raise UndefinedError


def _real_root(number: Real, degree: int) -> Real:
    """Of what is not negative; exact where it can be."""
    if degree == 1 or _is_zero(number):
        return number
    if isinstance(number, Fraction):
        upper, lower = _whole_root(number.numerator, degree), _whole_root(number.denominator, degree)
        if upper is not None and lower is not None:
            return Fraction(upper, lower)
    return iv.sqrt(_interval(number)) if degree == 2 else iv.exp(iv.log(_interval(number)) / degree)


def _whole_root(number: int, degree: int) -> int | None:
    root = 1 << -(-number.bit_length() // degree)
    while (closer := ((degree - 1) * root + number // root ** (degree - 1)) // degree) < root:
        root = closer
    return root if root**degree == number else None


def _constant(name: str) -> Complex:
    match name:
        case "pi":
            return +iv.pi, ZERO
        case "e":
            return iv.exp(iv.mpf(1)), ZERO
        case _:
            return ZERO, Fraction(1)


def _exponential(number: Real) -> Real:
    if _is_zero(number):
        return Fraction(1)
    if abs(_interval(number)).b > MAX_LOGARITHM:
        raise UnreadError("a power that is too large")
    return iv.exp(_interval(number))


def _log(number: Real) -> Real:
    if _sign(number) <= 0:
        raise UndefinedError
    return ZERO if number == 1 else iv.log(_interval(number))


def _logarithm(number: Real, base: Real) -> Real:
    """To the base written; without one to a base that nobody would guess, so that only what holds for every base holds."""
    lower = _log(Fraction(7919, 1009) if _is_zero(base) else base)
    if not _excludes_zero(lower):
        raise UndefinedError
    upper = _log(number)
    return ZERO if _is_zero(upper) else _times(upper, 1 / lower)


def _ratio(upper: Callable[[Any], Any] | None, lower: Callable[[Any], Any]) -> Callable[[Real], Real]:
    def divided(number: Real) -> Real:
        number = _interval(number)
        under = lower(number)
        if not _excludes_zero(under):
            raise UndefinedError
        return (iv.mpf(1) if upper is None else upper(number)) / under

    return divided


def _sinh(number: Real) -> Real:
    grown = _interval(_exponential(number))
    return (grown - 1 / grown) / 2


def _cosh(number: Real) -> Real:
    grown = _interval(_exponential(number))
    return (grown + 1 / grown) / 2


def _inverse(function: Callable[[Any], Any], rising: bool, limit: int | None) -> Callable[[Real], Real]:
    """A monotone function that mpmath knows for numbers only: at both ends, with bits to spare."""

    def enclosed(number: Real) -> Real:
        number = _interval(number)
        if limit is not None and not (number.a >= -limit and number.b <= limit):
            raise UndefinedError
        with mp.workprec(iv.prec + 32):
            ends = [function(mpf(number.a)), function(mpf(number.b))]
            slack = (1 + abs(ends[0])) * mpf(2) ** -(iv.prec + 8)
            low, high = ends if rising else reversed(ends)
            return iv.mpf([low - slack, high + slack])

    return enclosed


FUNCTIONS: Mapping[str, Callable[[Real], Real]] = {
    "abs": lambda number: abs(number),
    "degrees": lambda number: _interval(number) * iv.pi / 180,
    "exp": _exponential,
    "ln": _log,
    "sin": lambda number: iv.sin(_interval(number)),
    "cos": lambda number: iv.cos(_interval(number)),
    "tan": _ratio(iv.sin, iv.cos),
    "cot": _ratio(iv.cos, iv.sin),
    "sec": _ratio(None, iv.cos),
    "csc": _ratio(None, iv.sin),
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _ratio(_sinh, _cosh),
    "arcsin": _inverse(mp.asin, rising=True, limit=1),
    "arccos": _inverse(mp.acos, rising=False, limit=1),
    "arctan": _inverse(mp.atan, rising=True, limit=None),
}
