"""Functions of rational numbers that programs compute exactly: `floor(7/2)`, `gcd(12, 18)`."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

from verifiers.math.exact import bit_size, exact_value
from verifiers.math.syntax import Negated, Number, Tree, UnreadError
from verifiers.program_answers.statements import Truth

MAX_BITS = 256
MAX_DIGITS = 30


def computed(name: str, trees: Sequence[Tree]) -> Tree | Truth | None:
    """Return the value of a function of rational numbers; None for another function or argument.

    Raises UnreadError for a wrong number of arguments, and for large ones.
    """
    function = FUNCTIONS.get(name)
    if function is None:
        return None
    numbers = list[Fraction]()
    for tree in trees:
        value = exact_value(tree)
        if value is None:
            return None
        if bit_size(value) > MAX_BITS:
            raise UnreadError("a number that is too large")
        numbers.append(value)
    try:
        result = function(*numbers)
    except (TypeError, ZeroDivisionError) as error:
        raise UnreadError("a function with other arguments") from error
    if isinstance(result, bool):
        return Truth(result)
    return number_tree(Fraction(result))


def number_tree(value: Fraction) -> Tree:
    """Return the tree of a number, whose literals are not negative."""
    number = Number(abs(value))
    if value < 0:
        return Negated(number)
    return number


def _whole(number: Fraction) -> int:
    if number.denominator != 1:
        raise UnreadError("a number that is not whole")
    return int(number)


def _gcd(*numbers: Fraction) -> int:
    return gcd(*map(_whole, numbers))


def _lcm(*numbers: Fraction) -> int:
    return lcm(*map(_whole, numbers))


def _modulo(number: Fraction, divisor: Fraction) -> Fraction:
    return number % divisor


def _round(number: Fraction) -> int:
    """Return the nearest whole number; of two, the even one."""
    return round(number)


def _significant(number: Fraction, digits: Fraction) -> Fraction:
    """Return a number with its first digits; halves are rounded away from zero."""
    count = _whole(digits)
    if not 1 <= count <= MAX_DIGITS:
        raise UnreadError("too many digits")
    if number == 0:
        return number
    unit = Fraction(1)
    while abs(number) / unit >= Fraction(10) ** count:
        unit *= 10
    while abs(number) / unit < Fraction(10) ** (count - 1):
        unit /= 10
    size = (abs(number) / unit + Fraction(1, 2)).__floor__() * unit
    return size if number > 0 else -size


def _scientific(number: Fraction, _places: Fraction, exponent: Fraction) -> Fraction:
    power = _whole(exponent)
    if abs(power) > MAX_DIGITS:
        raise UnreadError("a number that is too large")
    return number * Fraction(10) ** power


FUNCTIONS: Mapping[str, Callable[..., Fraction | int | bool]] = {
    "floor": lambda number: number.__floor__(),
    "ceiling": lambda number: number.__ceil__(),
    "ceil": lambda number: number.__ceil__(),
    "round": _round,
    "gcd": _gcd,
    "lcm": _lcm,
    "mod": _modulo,
    "Mod": _modulo,
    "max": max,
    "min": min,
    "Max": max,
    "Min": min,
    "significantfigures": _significant,
    "displaysci": _scientific,
    "integerp": lambda number: number.denominator == 1,
    "evenp": lambda number: number % 2 == 0,
    "oddp": lambda number: number % 2 == 1,
}
