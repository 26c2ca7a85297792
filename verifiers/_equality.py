"""Whether an equation is true as written, with the rounding that its digits allow.

Three values: a side that is a decimal may be the other side rounded to the digits shown; what is off by less than its last digit, or by
no more than the decimals written in between could have lost, is unknown. A percent sign is a hundredth or a unit, and an equation is
false only when it is under both.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

from stepmark.records import Verdict
from verifiers._doubts import doubt_of, mixes_percentages, says_nothing
from verifiers._equations import Equation
from verifiers._expressions import (
    Combined,
    Literal,
    Negated,
    Node,
    Root,
    apply,
    bare,
    leaves,
    value,
)

__all__ = ["judge"]

ABOUT = Fraction(1, 10)
"""Relative error up to which "about" is not called false."""
ROUNDED_DECIMALS = 2
"""A decimal with at least this many decimals may be a rounded value."""
FLOAT_ERROR = Fraction(1, 10**14)
"""Relative error of a decimal that a machine printed: `<<11/18*162=99.00000000000001>>`."""
SHOWN_BITS = 128
"""The largest numerator or denominator that a reason spells out."""

Interval = tuple[Fraction, Fraction]


def judge(equation: Equation) -> tuple[Verdict, str]:
    """The verdict and, unless it is correct, why: the true value, or what is not understood."""
    if equation.sides is None:
        return Verdict.UNKNOWN, equation.doubt or "not closed arithmetic"
    left, right = equation.sides
    readings = list(_readings(left, right))
    if not readings:
        return Verdict.UNKNOWN, "no value"
    verdicts = {_compare(left, right, a, b, equation.approximate) for a, b in readings}
    if Verdict.CORRECT in verdicts:
        return (Verdict.UNKNOWN, "no arithmetic in it") if says_nothing(left, right) else (Verdict.CORRECT, "")
    if Verdict.UNKNOWN in verdicts:
        return Verdict.UNKNOWN, "off by rounding at most"
    why = equation.doubt or doubt_of(equation, left, right)
    return (Verdict.UNKNOWN, why) if why else (Verdict.INCORRECT, f"the left side is {_shown(readings[0][0])}")


def _readings(left: Node, right: Node) -> Iterator[Interval]:
    """The values of both sides, with percent signs read as hundredths and, where that makes sense, as units."""
    for of_left, of_right in product(_percent_readings(left), _percent_readings(right)):
        a, b = value(left, percent_is_hundredth=of_left), value(right, percent_is_hundredth=of_right)
        if a is not None and b is not None:
            yield a, b


def _percent_readings(side: Node) -> tuple[bool, ...]:
    return (True, False) if any(literal.percent for literal in leaves(side)) and not mixes_percentages(side) else (True,)


def _compare(left: Node, right: Node, a: Fraction, b: Fraction, approximate: bool) -> Verdict:
    if a == b or _rounds_to(a, right, b, approximate) or _rounds_to(b, left, a, approximate):
        return Verdict.CORRECT
    if approximate and abs(a - b) <= ABOUT * max(abs(a), abs(b)):
        return Verdict.UNKNOWN
    if _is_nearly(a, right, b) or _is_nearly(b, left, a) or _may_have_lost_digits(left, right):
        return Verdict.UNKNOWN
    return Verdict.INCORRECT


def _rounds_to(exact: Fraction, side: Node, shown: Fraction, approximate: bool) -> bool:
    """Whether `side` is one number that shows `exact` rounded to its digits; whole numbers only where the text says "about"."""
    literal = bare(side)
    if literal is None or (literal.decimals == 0 and not approximate):
        return False
    if literal.decimals and abs(exact - shown) <= FLOAT_ERROR * abs(exact):
        return True
    last = _last_digit(literal)
    while literal.decimals == 0 and shown != 0 and shown % (last * 10) == 0:
        last *= 10
    return abs(exact - shown) <= last * _scale(literal, shown) / 2


def _is_nearly(exact: Fraction, side: Node, shown: Fraction) -> bool:
    """Cut off, or rounded the other way: the exact value has digits that are not shown, and is off by less than the last one shown."""
    literal = bare(side)
    if literal is None:
        return False
    last = _last_digit(literal) * _scale(literal, shown)
    return (exact / last).denominator != 1 and abs(exact - shown) < last


def _last_digit(literal: Literal) -> Fraction:
    return Fraction(1, 10**literal.decimals)


def _scale(literal: Literal, shown: Fraction) -> Fraction:
    """How much of a unit one unit of the literal counts: a hundredth when it is a percentage read so."""
    return abs(shown) / literal.value if literal.value else Fraction(1)


def _may_have_lost_digits(left: Node, right: Node) -> bool:
    """Whether the sides agree when every decimal may be rounded to the digits it shows; a plain sum is held to its digits."""
    if _is_sum(left) and _is_sum(right):
        return False
    try:
        (low, high), (least, most) = _span(left), _span(right)
    except (ArithmeticError, ValueError):
        return False
    return low <= most and least <= high


def _is_sum(node: Node) -> bool:
    match node:
        case Literal():
            return True
        case Negated(operand):
            return _is_sum(operand)
        case Combined(operator, left, right):
            return operator in "+-" and _is_sum(left) and _is_sum(right)
        case _:
            return False


def _span(node: Node) -> Interval:
    match node:
        case Literal():
            slack = _last_digit(node) / 2 if node.decimals >= ROUNDED_DECIMALS else Fraction(0)
            scale = Fraction(1, 100) if node.percent else Fraction(1)
            return (node.value - slack) * scale, (node.value + slack) * scale
        case Negated():
            low, high = _span(node.operand)
            return -high, -low
        case Combined(operator, left, right) if operator != "^":
            return _combined_span(operator, _span(left), _span(right))
        case Root() | Combined():
            exact = value(node)
            if exact is None:
                raise ValueError("no value")
            return exact, exact


def _combined_span(operator: str, left: Interval, right: Interval) -> Interval:
    if operator == "/" and right[0] <= 0 <= right[1]:
        raise ZeroDivisionError
    corners = [apply(operator, a, b) for a, b in product(left, right)]
    return min(corners), max(corners)


def _shown(number: Fraction) -> str:
    """A whole number as such, a short decimal as such, any other as a fraction; a huge one by its size only."""
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > SHOWN_BITS:
        return "a number too long to show"
    if number.denominator == 1:
        return str(number)
    decimal = f"{float(number):.6g}"
    return decimal if Fraction(decimal) == number else f"{number} (about {decimal})"
