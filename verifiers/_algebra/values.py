"""What a formula is worth where its variables have given values: an exact fraction, or an interval that holds the true value.

Undefined are a division by zero, an even root of a negative number, a logarithm of none, a factorial of a fraction, and whatever is
beyond a bound. An angle with a degree sign is in degrees, one with pi or a variable in radians; any other has no value.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import comb, factorial
from typing import Any

from mpmath import iv

from verifiers._algebra.formulas import (
    TRIGONOMETRIC,
    Call,
    Joined,
    Minus,
    Name,
    Number,
    Tree,
    names,
    parts,
)

__all__ = ["BASE", "PI", "UndefinedError", "Value", "evaluate", "midpoint", "order"]

DIGITS = 40
"""Digits that intervals are reckoned with."""
MAX_BITS = 8_192
MAX_EXPONENT = 64
MAX_FACTORIAL = 200
MAX_BINOMIAL = 1_000
MAX_ROOT = 12
HUGE = 10**300
"""An interval that reaches so far may hold anything."""
PI = "\\pi"
BASE = "\\log"
"""The name under which an environment holds the base of logarithms that show none."""

NARROW = Fraction(1, 10 ** (DIGITS // 2))
"""Intervals that are narrower, in proportion, show two equal values where they overlap."""

iv.dps = DIGITS
Value = Any
"""A Fraction, or an interval of mpmath, which has no types."""
Environment = Mapping[str, Value]


class UndefinedError(Exception):
    """There is no value, or none within the bounds."""


def evaluate(tree: Tree, environment: Environment) -> Value:
    """The value where the names have the environment's values; raises `UndefinedError`."""
    try:
        value = _value(tree, environment)
        if not isinstance(value, Fraction) and not abs(value) < HUGE:
            raise UndefinedError
        return value
    except (ArithmeticError, ValueError, KeyError) as error:
        raise UndefinedError from error


def order(left: Value, right: Value) -> int | None:
    """Less than, equal to or greater than, as -1, 0 or 1; intervals that are narrow and overlap are equal, None when they are too wide."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return (left > right) - (left < right)
    left, right = _interval(left), _interval(right)
    if left < right or right < left:
        return 1 if right < left else -1
    width = max(left.delta.b, right.delta.b)
    return 0 if width <= _interval(NARROW) * (1 + abs(left).b) else None


def midpoint(value: Value) -> Fraction:
    """The value, or the middle of its interval, to a float's digits where it is an interval."""
    return value if isinstance(value, Fraction) else Fraction(float(value.mid))


def _interval(value: Value) -> Value:
    return iv.mpf(value.numerator) / iv.mpf(value.denominator) if isinstance(value, Fraction) else value


def _value(tree: Tree, environment: Environment) -> Value:
    match tree:
        case Number():
            return tree.value
        case Name(text):
            return iv.pi if text == PI else environment[text]
        case Minus(operand):
            return -_value(operand, environment)
        case Joined("^", base, exponent):
            return _power(_value(base, environment), _value(exponent, environment))
        case Joined(operator, left, right):
            return _joined(operator, _value(left, environment), _value(right, environment))
        case Call(function, arguments):
            return _called(function, arguments, environment)


def _joined(operator: str, left: Value, right: Value) -> Value:
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        left, right = _interval(left), _interval(right)
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            if not isinstance(right, Fraction) and 0 in right:
                raise UndefinedError
            return left / right


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _whole_power(base, int(exponent))
    base, exponent = _interval(base), _interval(exponent)
    if not base > 0:
        raise UndefinedError
    power = exponent * iv.log(base)
    if not abs(power) < MAX_BITS:
        raise UndefinedError
    return iv.exp(power)


def _whole_power(base: Value, exponent: int) -> Value:
    if abs(exponent) > MAX_EXPONENT * MAX_EXPONENT:
        raise UndefinedError
    if not isinstance(base, Fraction):
        if exponent < 0 and 0 in base:
            raise UndefinedError
        return base**exponent
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (bits > 1 and bits * abs(exponent) > MAX_BITS) or (base == 0 and exponent <= 0):
        raise UndefinedError
    return base**exponent


def _called(function: str, arguments: tuple[Tree, ...], environment: Environment) -> Value:
    if function in TRIGONOMETRIC:
        return _trigonometric(function, arguments[0], environment)
    values = [_value(argument, environment) for argument in arguments]
    if function == "log" and len(values) == 1:
        values.append(environment[BASE])
    return FUNCTIONS[function](*values)


def _trigonometric(function: str, angle: Tree, environment: Environment) -> Value:
    in_degrees = any(isinstance(part, Call) and part.function == "degrees" for part in parts(angle))
    in_radians = any(isinstance(part, Name) and part.text == PI for part in parts(angle))
    if in_degrees == in_radians and (in_degrees or not names(angle)):
        raise UndefinedError
    value = _interval(_value(angle, environment))
    if in_degrees:
        value = value * iv.pi / 180
    sine, cosine = iv.sin(value), iv.cos(value)
    above, below = {
        "sin": (sine, None),
        "cos": (cosine, None),
        "tan": (sine, cosine),
        "cot": (cosine, sine),
        "sec": (iv.mpf(1), cosine),
        "csc": (iv.mpf(1), sine),
    }[function]
    if below is None:
        return above
    if 0 in below:
        raise UndefinedError
    return above / below


def _root(radicand: Value, degree: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= MAX_ROOT:
        raise UndefinedError
    n = int(degree)
    if isinstance(radicand, Fraction):
        return _exact_root(radicand, n)
    if not radicand > 0:
        raise UndefinedError
    return iv.exp(iv.log(radicand) / n)


def _exact_root(radicand: Fraction, n: int) -> Value:
    if radicand < 0:
        if n % 2 == 0:
            raise UndefinedError
        return -_exact_root(-radicand, n)
    above, below = _whole_root(radicand.numerator, n), _whole_root(radicand.denominator, n)
    if above is not None and below is not None:
        return Fraction(above, below)
    return iv.exp(iv.log(_interval(radicand)) / n)


def _whole_root(number: int, n: int) -> int | None:
    """The n-th root of a whole number when it is whole, by bisection."""
    low, high = 0, 1 << (number.bit_length() // n + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**n < number:
            low = middle + 1
        else:
            high = middle
    return low if low**n == number else None


def _logarithm(value: Value, base: Value) -> Value:
    return _joined("/", _natural(value), _natural(base))


def _natural(value: Value) -> Value:
    value = _interval(value)
    if not value > 0:
        raise UndefinedError
    return iv.log(value)


def _exponential(value: Value) -> Value:
    value = _interval(value)
    if not abs(value) < MAX_BITS:
        raise UndefinedError
    return iv.exp(value)


def _factorial(value: Value) -> Fraction:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        raise UndefinedError
    return Fraction(factorial(int(value)))


def _binomial(n: Value, k: Value) -> Fraction:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in (n, k)) or not 0 <= k <= n <= MAX_BINOMIAL:
        raise UndefinedError
    return Fraction(comb(int(n), int(k)))


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "root": _root,
    "log": _logarithm,
    "ln": _natural,
    "exp": _exponential,
    "!": _factorial,
    "binom": _binomial,
    "abs": abs,
    "degrees": lambda value: value,
}
