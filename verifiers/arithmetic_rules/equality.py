"""Judge whether an equation is true as written, with the rounding that its digits allow.

A decimal may be the value of the other side, rounded to the digits shown. A difference that is
smaller than the last digit shown, or that the decimals on the way may have lost, is unknown. A
percent sign is a hundredth or a unit; an equation is false only if it is false under both. Units,
percent signs and long chains are reasons why an equation whose numbers disagree may be right.

What is not covered: conversions between units that are not in the lexicon; only the names of their
units distinguish the sides.
"""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from itertools import product

from stepmark.records import Verdict
from verifiers.arithmetic_rules.conversions import CONVERSION
from verifiers.arithmetic_rules.equations import WORDS_AFTER, Equation
from verifiers.arithmetic_rules.notations import other_notations
from verifiers.math import syntax
from verifiers.math.exact import OPERATIONS, bit_size, exact_value
from verifiers.math.findings import HOLDS, StepJudgement, false, undecided
from verifiers.math.lexicon import FACTORS_BY_FAMILY, FAMILIES
from verifiers.math.syntax import (
    Combined,
    Negated,
    Number,
    Tree,
    is_power,
    numbers,
    signed_number,
    walk,
)

# The relative error up to which an approximate equation is not false.
ABOUT = Fraction(1, 10)
# `<<11/18*162=99.00000000000001>>`: the relative error of floating-point output.
FLOAT_ERROR = Fraction(1, 10**14)
# Longer numbers would fill the reason.
MAX_SHOWN_BITS = 128

# Factors between common units, and of percent.
UNIT_FACTORS = (12, 24, 60, 100, 1000, 1440, 3600, 10**6, 10**9)
# Percentages that are thirds, rounded.
THIRDS = (33, 66, 67)
SMALL_EXPONENTS = (2, 3, 4)
Interval = tuple[Fraction, Fraction]

RULE = "equation"
APPROXIMATION = "approximation"
# A shorter number is often a rough value: `0.97 · 1.16 ≈ 1.1`.
MIN_SHOWN_DIGITS = 4
# The error in units of the last digit up to which an approximate value is accepted.
SHOWN_ERROR = 2
# The assumptions.
PERCENT = "percent signs are hundredths or units"
MIXED_PERCENTAGES = "a percentage is added to a number"
PERCENTAGE_OF = "a percentage of nothing else"
SIGNED_DIFFERENCE = "the sign of a difference is meant"
NOT_CARRIED_ON = "no result is carried on"
NUMBER_FIRST = "the number before the equals sign is equal, not worth"
FRACTION_FIRST = "the fraction before the equals sign is equal, not worth"
SAME_UNIT = "the sides have the same unit"
DECIMALS = "decimals are not rounded further"
NO_CONVERSION = "units are not converted"
DIFFERENT_TERMS = "terms with different units are added"
DIFFERENT_SIDES = "the units of the sides do not matter"


def judge(equation: Equation) -> StepJudgement:
    """Return the verdict and, unless it is correct, the reason."""
    if equation.sides is None:
        return undecided(equation.reason)
    left, right = equation.sides
    readings = _readings(left, right)
    if not readings:
        return undecided("no value")
    verdict = _verdict(left, right, readings, equation.is_approximate)
    if verdict is Verdict.CORRECT:
        if _is_trivial(left, right):
            return undecided("no arithmetic in it")
        return HOLDS
    if verdict is Verdict.UNKNOWN:
        if _shows_other_digits(left, right, readings, is_approximate=equation.is_approximate):
            return false(
                APPROXIMATION, f"the left side is {_format(readings[0][0])}", *equation.assumptions
            )
        return undecided("off by rounding at most")
    if signed_number(left) is not None and signed_number(right) is not None:
        return undecided("two numbers, no arithmetic")
    for other_left, other_right in other_notations(left, right):
        other_readings = _readings(other_left, other_right)
        other = _verdict(other_left, other_right, other_readings, equation.is_approximate)
        if other is not Verdict.INCORRECT:
            return undecided("true in another notation")
    left_value, right_value = readings[0]
    assumptions = (
        *equation.assumptions,
        *_assumptions(equation, left, right, left_value, right_value),
    )
    return false(RULE, f"the left side is {_format(left_value)}", *assumptions)


def judge_conversion(sides: tuple[Tree, Tree]) -> StepJudgement:
    """Judge an equation between quantities; its sides are in one unit."""
    left, right = sides
    readings = _readings(left, right)
    if not readings:
        return undecided("no value")
    verdict = _verdict(left, right, readings, is_approximate=False)
    if verdict is Verdict.CORRECT:
        return HOLDS
    if verdict is Verdict.UNKNOWN:
        return undecided("off by rounding at most")
    left_value, right_value = readings[0]
    reason = f"in one unit, the sides are {_format(left_value)} and {_format(right_value)}"
    return false(CONVERSION, reason)


def _verdict(
    left: Tree, right: Tree, readings: Sequence[Interval], is_approximate: bool
) -> Verdict:
    """Return the best verdict of the readings."""
    verdicts = set[Verdict]()
    for left_value, right_value in readings:
        verdicts.add(_compare(left, right, left_value, right_value, is_approximate))
    if Verdict.CORRECT in verdicts:
        return Verdict.CORRECT
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.INCORRECT


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
    last = _last_digit(side, rounded)
    number = signed_number(side)
    if last is None:
        return False
    if number is None or number.decimals > 0:
        if abs(exact - rounded) <= FLOAT_ERROR * abs(exact):
            return True
    elif is_approximate:
        # The zeros at the end of 1200 may all be rounded.
        while rounded != 0 and rounded % (last * 10) == 0:
            last *= 10
    else:
        return False
    return abs(exact - rounded) <= last / 2


def _is_nearly(exact: Fraction, side: Tree, rounded: Fraction) -> bool:
    """Return whether `exact` has digits that `side` does not show and is off by less than its last.

    This is the case if the digits are cut off or rounded in the other direction.
    """
    last = _last_digit(side, rounded)
    if last is None:
        return False
    return (exact / last).denominator != 1 and abs(exact - rounded) < last


def _last_digit(side: Tree, shown: Fraction) -> Fraction | None:
    r"""Return the value of the last digit of a number or of `5.3 \times 10^{-20}`, else None.

    `shown` is the value of the side: a percentage may be read as a hundredth.
    """
    number = signed_number(side)
    if number is None and isinstance(side, Combined) and side.operator == "*":
        is_power_of_ten = is_power(side.right) and exact_value(side.right.left) == 10
        number = signed_number(side.left) if is_power_of_ten else None
    if number is None:
        return None
    return number.last_digit * (abs(shown) / number.value if number.value else 1)


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


def _shows_other_digits(
    left: Tree, right: Tree, readings: Sequence[Interval], *, is_approximate: bool
) -> bool:
    """Return whether an approximate value has wrong digits, whatever digits the decimals have lost.

    `0.971 * 1.164231 ≈ 1.1358` is off by more than the last digits of its decimals explain.
    """
    number = signed_number(right)
    if not is_approximate or number is None or number.decimals == 0 or has_percent_sign(left):
        return False
    # Two numbers may have different units: `$1.50 ≈ 1.3862 euros`.
    if signed_number(left) is not None:
        return False
    if len(str(abs(number.value / number.last_digit))) < MIN_SHOWN_DIGITS:
        return False
    for left_value, right_value in readings:
        if abs(left_value - right_value) <= SHOWN_ERROR * number.last_digit:
            return False
    try:
        low, high = _span(left, every_decimal=True)
    except (ArithmeticError, ValueError):
        return False
    return not low - number.last_digit <= number.value <= high + number.last_digit


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


def _span(tree: Tree, *, every_decimal: bool = False) -> Interval:
    """Return the lowest and the highest value if decimals may be rounded.

    With `every_decimal`, those with one digit may be, and every decimal may be cut off.
    """
    match tree:
        case Number():
            slack = Fraction(0)
            is_third = tree.percent and tree.value in THIRDS
            if every_decimal and tree.decimals > 0:
                slack = tree.last_digit
            elif tree.decimals >= syntax.MIN_ROUNDED_DECIMALS or is_third:
                slack = tree.last_digit / 2
            ends = (tree.value - slack, tree.value + slack)
            return (ends[0] / 100, ends[1] / 100) if tree.percent else ends
        case Negated(operand):
            low, high = _span(operand, every_decimal=every_decimal)
            return -high, -low
        case Combined("^", base, Number(exponent)) if exponent in SMALL_EXPONENTS:
            low, high = _span(base, every_decimal=every_decimal)
            if low >= 0:
                return low ** int(exponent), high ** int(exponent)
        case Combined(operator, left, right) if operator != "^":
            left_span = _span(left, every_decimal=every_decimal)
            right_span = _span(right, every_decimal=every_decimal)
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


def _assumptions(
    equation: Equation, left: Tree, right: Tree, left_value: Fraction, right_value: Fraction
) -> Iterator[str]:
    """Yield the reasons why an equation whose numbers disagree may not be false."""
    units = units_of(left) | units_of(right)
    if has_percent_sign(left) or has_percent_sign(right):
        yield PERCENT
    if mixes_percentages(left) or mixes_percentages(right):
        yield MIXED_PERCENTAGES
    if _is_percentage_of(left, right) or _is_percentage_of(right, left):
        yield PERCENTAGE_OF
    # `5 - 8 = 3 short`, `the gap is 5 - 8 = 3`: the words give the sign.
    has_words = bool(units_of(right)) or WORDS_AFTER in equation.assumptions
    is_named = is_difference(left) and not equation.starts_text
    if left_value == -right_value and (has_words or is_named):
        yield SIGNED_DIFFERENCE
    # `2 + 3 = 5 + 4 = 9`: the result is carried on.
    starts_with_result = numbers(right)[0].value == left_value and not equation.opens_bracket
    if equation.continues and starts_with_result:
        yield NOT_CARRIED_ON
    if signed_number(left) is not None:
        yield NUMBER_FIRST
    if _is_proper_fraction(left) and not 0 < right_value < 1:
        yield FRACTION_FIRST
    if _may_be_converted(left, right) and _differ_by_factor(left_value, right_value, units):
        yield SAME_UNIT
    if syntax.has_decimals(left, right):
        yield DECIMALS
    yield from _assumptions_about_units(left, right)


def is_difference(tree: Tree) -> bool:
    """Return whether the tree is a difference of two plain numbers: `5 - 8`."""
    return isinstance(tree, Combined) and (
        tree.operator == "-" and isinstance(tree.left, Number) and isinstance(tree.right, Number)
    )


def _is_proper_fraction(tree: Tree) -> bool:
    """Return whether the tree is a fraction of two numbers below 1, as in `2/5 = 30 pages`."""
    match tree:
        case Combined("/", Number(upper), Number(lower)):
            return 0 < upper < lower
        case _:
            return False


def _may_be_converted(left: Tree, right: Tree) -> bool:
    """Return whether the sides need not have the same unit: `$32 - $20 = $300` has one."""
    known = [units_of(side) & FAMILIES.keys() for side in (left, right)]
    return not known[0] or known[0] != known[1]


def _differ_by_factor(a: Fraction, b: Fraction, units: Collection[str]) -> bool:
    """Return whether one value is the other in another unit: in minutes, cents or percent."""
    if a == 0 or b == 0:
        return False
    factors = set(UNIT_FACTORS)
    for unit in units:
        factors.update(FACTORS_BY_FAMILY.get(FAMILIES.get(unit, ""), ()))
    return not factors.isdisjoint((abs(a / b), abs(b / a)))


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


def _assumptions_about_units(left: Tree, right: Tree) -> Iterator[str]:
    left_units = units_of(left)
    right_units = units_of(right)
    families = [FAMILIES[unit] for unit in left_units | right_units if unit in FAMILIES]
    if len(families) > len(set(families)):
        yield NO_CONVERSION
    if _adds_different_units(left) or _adds_different_units(right):
        yield DIFFERENT_TERMS
    if left_units and right_units and left_units.isdisjoint(right_units):
        yield DIFFERENT_SIDES


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
