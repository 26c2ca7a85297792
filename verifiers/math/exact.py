"""Exact rational arithmetic, and the exact values of closed arithmetic."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from operator import add, mul, sub, truediv

from verifiers.math.syntax import Call, Combined, Negated, Number, Tree, UndefinedError

Operation = Callable[[Fraction, Fraction], Fraction]
# Bounds on powers: a tower such as ((9^64)^64)^64 must fail at once and not fill the memory.
MAX_EXPONENT = 64
MAX_BITS = 8_192
# The operations on rational numbers and intervals; division raises ZeroDivisionError.
OPERATIONS: Mapping[str, Operation] = {"+": add, "-": sub, "*": mul, "/": truediv}


def exact_value(tree: Tree, *, percent_is_hundredth: bool = True) -> Fraction | None:
    """Return the value of a tree without names.

    The value is None after a division by zero, for an irrational root, and for a power beyond the
    bounds. With `percent_is_hundredth` false, a percent sign counts as a unit.
    """
    try:
        return _value(tree, percent_is_hundredth)
    except (UndefinedError, ZeroDivisionError):
        return None


def rational_root(radicand: Fraction, degree: int) -> Fraction | None:
    """Return the root of a number if it is rational and not negative, else None."""
    if radicand < 0:
        return None
    numerator = _whole_root(radicand.numerator, degree)
    denominator = _whole_root(radicand.denominator, degree)
    if numerator is None or denominator is None:
        return None
    return Fraction(numerator, denominator)


def bit_size(number: Fraction) -> int:
    """Return the number of bits of the numerator or the denominator, whichever is longer."""
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _value(tree: Tree, hundredth: bool) -> Fraction:
    match tree:
        case Number():
            return tree.value / 100 if tree.percent and hundredth else tree.value
        case Negated(operand):
            return -_value(operand, hundredth)
        case Combined("^", base, exponent):
            return _power(_value(base, hundredth), _value(exponent, hundredth))
        case Combined(operator, left, right):
            return OPERATIONS[operator](_value(left, hundredth), _value(right, hundredth))
        case Call("root", (radicand,)):
            number = _value(radicand, hundredth)
            root = rational_root(number, 2)
            if root is not None:
                return root
    raise UndefinedError


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
        raise UndefinedError
    if bit_size(base) * abs(exponent) > MAX_BITS or (base == 0 and exponent <= 0):
        raise UndefinedError
    return base ** int(exponent)


def _whole_root(number: int, degree: int) -> int | None:
    """Return the root of a non-negative whole number if it is whole, by Newton's method."""
    if number < 2:
        return number
    # Newton's method decreases monotonically from any start above the root.
    root = 1 << -(-number.bit_length() // degree)
    while True:
        closer = ((degree - 1) * root + number // root ** (degree - 1)) // degree
        if closer >= root:
            return root if root**degree == number else None
        root = closer
