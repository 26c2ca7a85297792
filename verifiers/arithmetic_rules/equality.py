"""Judge whether an equation is true as written, with the rounding that its digits allow.

A decimal may be the value of the other side, rounded to the digits shown. A difference that is
smaller than the last digit shown, or that the decimals on the way may have lost, is unknown. A
percent sign is a hundredth or a unit; an equation is false only if it is false under both. Units,
percent signs and long chains are reasons why an equation whose numbers disagree may be right.

What is not covered: conversions between units that are not in the lexicon; only the names of their
units distinguish the sides.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product

from stepmark.records import Verdict
from verifiers.arithmetic_rules.equations import Equation
from verifiers.math import syntax
from verifiers.math.exact import OPERATIONS, bit_size, exact_value
from verifiers.math.findings import Judgement
from verifiers.math.lexicon import FAMILIES
from verifiers.math.syntax import Combined, Negated, Number, Tree, numbers, signed_number, walk

# The relative error up to which an approximate equation is not false.
ABOUT = Fraction(1, 10)
# `<<11/18*162=99.00000000000001>>`: the relative error of floating-point output.
FLOAT_ERROR = Fraction(1, 10**14)
# Longer numbers would fill the reason.
MAX_SHOWN_BITS = 128

COMPARING = frozenset(["more", "less", "fewer"])
Interval = tuple[Fraction, Fraction]


def judge(equation: Equation) -> Judgement:
    """Return the verdict and, unless it is correct, the reason."""
    if equation.sides is None:
        return Verdict.UNKNOWN, equation.doubt or "not closed arithmetic"
    left, right = equation.sides
    readings = _readings(left, right)
    if not readings:
        return Verdict.UNKNOWN, "no value"
    verdicts = set[Verdict]()
    for left_value, right_value in readings:
        verdicts.add(_compare(left, right, left_value, right_value, equation.is_approximate))
    if Verdict.CORRECT in verdicts:
        if _is_trivial(left, right):
            return Verdict.UNKNOWN, "no arithmetic in it"
        return Verdict.CORRECT, ""
    if Verdict.UNKNOWN in verdicts:
        return Verdict.UNKNOWN, "off by rounding at most"
    doubt = equation.doubt or _doubt_of(equation, left, right)
    if doubt:
        return Verdict.UNKNOWN, doubt
    return Verdict.INCORRECT, f"the left side is {_format(readings[0][0])}"


def _readings(left: Tree, right: Tree) -> Sequence[Interval]:
    """Return the values of both sides under every meaning of their percent signs."""
    readings = list[Interval]()
    for left_percent, right_percent in product(_percent_readings(left), _percent_readings(right)):
        left_value = exact_value(left, percent_is_hundredth=left_percent)
        right_value = exact_value(right, percent_is_hundredth=right_percent)
        if left_value is not None and right_value is not None:
            readings.append((left_value, right_value))
    return readings


def _percent_readings(side: Tree) -> Sequence[bool]:
    """Return whether a percent sign is a hundredth: the possible answers."""
    if has_percent_sign(side) and not mixes_percentages(side):
        return (True, False)
    return (True,)


def _compare(left: Tree, right: Tree, a: Fraction, b: Fraction, is_approximate: bool) -> Verdict:
    """Compare the sides, whose values are `a` and `b`."""
    if a == b:
        return Verdict.CORRECT
    if _rounds_to(a, right, b, is_approximate) or _rounds_to(b, left, a, is_approximate):
        return Verdict.CORRECT
    if is_approximate and abs(a - b) <= ABOUT * max(abs(a), abs(b)):
        return Verdict.UNKNOWN
    if _is_nearly(a, right, b) or _is_nearly(b, left, a) or _may_have_lost_digits(left, right):
        return Verdict.UNKNOWN
    return Verdict.INCORRECT


def _rounds_to(exact: Fraction, side: Tree, rounded: Fraction, is_approximate: bool) -> bool:
    """Return whether `side` shows `exact` rounded; whole numbers only if approximate."""
    number = signed_number(side)
    if number is None:
        return False
    last = number.last_digit
    if number.decimals > 0:
        if abs(exact - rounded) <= FLOAT_ERROR * abs(exact):
            return True
    elif is_approximate:
        # The zeros at the end of 1200 may all be rounded.
        while rounded != 0 and rounded % (last * 10) == 0:
            last *= 10
    else:
        return False
    return abs(exact - rounded) <= last * _scale(number, rounded) / 2


def _is_nearly(exact: Fraction, side: Tree, rounded: Fraction) -> bool:
    """Return whether `exact` has digits that `side` does not show and is off by less than its last.

    This is the case if the digits are cut off or rounded in the other direction.
    """
    number = signed_number(side)
    if number is None:
        return False
    last = number.last_digit * _scale(number, rounded)
    return (exact / last).denominator != 1 and abs(exact - rounded) < last


def _scale(number: Number, rounded: Fraction) -> Fraction:
    """Return the value of one unit of the number: 1, or 1/100 for a percentage read so."""
    return abs(rounded) / number.value if number.value else Fraction(1)


def _may_have_lost_digits(left: Tree, right: Tree) -> bool:
    """Return whether the sides agree if every decimal may be rounded to the digits it shows.

    Sums of numbers are not granted this: their digits are exact.
    """
    if _is_sum(left) and _is_sum(right):
        return False
    try:
        low, high = _span(left)
        other_low, other_high = _span(right)
    except (ArithmeticError, ValueError):
        return False
    return low <= other_high and other_low <= high


def _is_sum(tree: Tree) -> bool:
    match tree:
        case Number():
            return True
        case Negated(operand):
            return _is_sum(operand)
        case Combined(operator, left, right):
            return operator in "+-" and _is_sum(left) and _is_sum(right)
        case _:
            return False


def _span(tree: Tree) -> Interval:
    """Return the lowest and the highest value if decimals may be rounded."""
    match tree:
        case Number():
            slack = Fraction(0)
            if tree.decimals >= syntax.MIN_ROUNDED_DECIMALS:
                slack = tree.last_digit / 2
            ends = (tree.value - slack, tree.value + slack)
            return (ends[0] / 100, ends[1] / 100) if tree.percent else ends
        case Negated(operand):
            low, high = _span(operand)
            return -high, -low
        case Combined(operator, left, right) if operator != "^":
            left_span = _span(left)
            right_span = _span(right)
            if operator == "/" and right_span[0] <= 0 <= right_span[1]:
                raise ZeroDivisionError
            corners = [OPERATIONS[operator](a, b) for a, b in product(left_span, right_span)]
            return min(corners), max(corners)
    exact = exact_value(tree)
    if exact is None:
        raise ValueError("no value")
    return exact, exact


def _format(number: Fraction) -> str:
    """Return a number as a short decimal if that is exact, otherwise as a fraction."""
    if bit_size(number) > MAX_SHOWN_BITS:
        return "a number too long to show"
    if number.denominator == 1:
        return str(number)
    decimal = f"{float(number):.6g}"
    return decimal if Fraction(decimal) == number else f"{number} (about {decimal})"


def _doubt_of(equation: Equation, left: Tree, right: Tree) -> str:
    """Return why an equation whose numbers disagree may not be false, or an empty string."""
    if signed_number(left) is not None and signed_number(right) is not None:
        return "two numbers, no arithmetic"
    if mixes_percentages(left) or mixes_percentages(right):
        return "a percentage is added to a number"
    if _is_percentage_of(left, right) or _is_percentage_of(right, left):
        return "a percentage of something"
    value = exact_value(left)
    opposite = exact_value(right)
    if value == -(opposite or 0) and not COMPARING.isdisjoint(equation.text.split()):
        return "a difference without its sign"
    # `2 + 3 = 5 + 4 = 9`: the result is carried on.
    if equation.continues and numbers(right)[0].value == value:
        return "a running calculation"
    return _doubt_about_units(left, right)


def _is_trivial(left: Tree, right: Tree) -> bool:
    """Return whether the sides are two plain numbers: `5 = 5`, `1 hour = 1 minute`."""
    for side in (left, right):
        number = signed_number(side)
        if number is None or number.percent:
            return False
    return True


def mixes_percentages(tree: Tree) -> bool:
    """Return whether a percentage and a plain number are added, as in `$100 - 20%`."""
    for term in _sums(tree):
        if _is_percentage(term.left) is not _is_percentage(term.right):
            return True
    return False


def has_percent_sign(tree: Tree) -> bool:
    """Return whether a number has a percent sign."""
    return any(number.percent for number in numbers(tree))


def units_of(tree: Tree) -> set[str]:
    """Return the words of all units."""
    units = set[str]()
    for number in numbers(tree):
        units.update(number.unit)
    return units


def _doubt_about_units(left: Tree, right: Tree) -> str:
    left_units = units_of(left)
    right_units = units_of(right)
    families = [FAMILIES[unit] for unit in left_units | right_units if unit in FAMILIES]
    if len(families) > len(set(families)):
        return "units that convert into one another"
    if _adds_different_units(left) or _adds_different_units(right):
        return "different units are added"
    if left_units and right_units and left_units.isdisjoint(right_units):
        return "the sides have different units"
    return ""


def _is_percentage_of(result: Tree, side: Tree) -> bool:
    return signed_number(result) is not None and not _is_percentage(result) and _is_percentage(side)


def _is_percentage(tree: Tree) -> bool:
    return all(number.percent for number in numbers(tree))


def _adds_different_units(tree: Tree) -> bool:
    """Return whether two terms of a sum have units without a common word."""
    for term in _sums(tree):
        left = units_of(term.left)
        right = units_of(term.right)
        if left and right and left.isdisjoint(right):
            return True
    return False


def _sums(tree: Tree) -> Iterator[Combined]:
    for part in walk(tree):
        if isinstance(part, Combined) and part.operator in "+-":
            yield part
