"""The real values of formulas, and their order."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from verifiers.math import syntax
from verifiers.math.intervals import Evaluator, Real
from verifiers.math.series import SERIES, SUM
from verifiers.math.syntax import (
    PI,
    TRIGONOMETRIC,
    Call,
    Combined,
    Constant,
    Negated,
    Tree,
    UndefinedError,
    UnreadError,
    walk,
)

DIGITS = 40
# The precision of intervals: `DIGITS` decimal digits.
BITS = 136
# The bound of intervals that are compared.
HUGE = 10**300
# The relative width up to which two intervals that overlap show equal values.
NARROW = Fraction(1, 10 ** (DIGITS // 2))
# The largest number of terms of all series in a formula. A term that is an interval counts more,
# because it takes more time.
MAX_TERMS = 2_000
INTERVAL_TERMS = 10
# The base of a logarithm without one, where only one reading is tried.
DECIMAL_BASE = Fraction(10)
# The signs of `left - right` under which a relation holds.
HOLDING_SIGNS = {"<": (-1,), ">": (1,), "≤": (-1, 0), "≥": (0, 1), "≠": (-1, 1)}
INEQUALITIES = ("<", ">", "≤", "≥")


class _RealEvaluator(Evaluator):
    """An evaluator that converts angles from the unit that they are written in.

    An angle with a degree sign is in degrees, and one that contains pi or a variable is in
    radians. The sine of a plain number has no value. Degrees outside a function are numbers.
    """

    max_power_bits = 8_192
    max_factorial = 200
    max_choice = 1_000
    is_real = True

    def __init__(self, bits: int, environment: Mapping[str, Real]) -> None:
        super().__init__(bits, environment)
        self.terms = 0

    def constant(self, name: str) -> Any:
        # The index of a series has a value while its terms are added.
        return self.environment[name] if name in self.environment else super().constant(name)

    def series(self, function: str, arguments: tuple[Tree, ...]) -> Real:
        """Return the value of a sum or a product, within the bounds of all series together."""
        index, lower, upper, term = arguments
        assert isinstance(index, Constant)
        start = self.whole(lower)
        end = self.whole(upper)
        self.terms += max(0, end - start + 1)
        if end < start or self.terms > MAX_TERMS:
            raise UndefinedError
        outside = self.environment
        operator = "+" if function == SUM else "*"
        total: Real | None = None
        for number in range(start, end + 1):
            self.environment = {**outside, index.text: Fraction(number)}
            value = self.real(term)
            if not isinstance(value, Fraction):
                self.terms += INTERVAL_TERMS
            if self.terms > MAX_TERMS:
                raise UndefinedError
            total = value if total is None else self.combined(operator, total, value)
            self.size(total)
        self.environment = outside
        return total

    def whole(self, tree: Tree) -> int:
        """Return the value of a tree as a whole number. Raises UndefinedError if it is not one."""
        number = self.real(tree)
        if not isinstance(number, Fraction) or number.denominator != 1:
            raise UndefinedError
        return int(number)

    def call(self, function: str, arguments: tuple[Tree, ...]) -> Any:
        if function in SERIES:
            return self.series(function, arguments)
        if function not in TRIGONOMETRIC:
            return super().call(function, arguments)
        angle = arguments[0]
        in_degrees, in_radians = _angle_units(angle)
        if in_degrees == in_radians and (in_degrees or not syntax.names(angle)):
            raise UndefinedError
        number = self.real(angle)
        if in_degrees:
            number = super().function("degrees", number)
        return self.function(function, number)

    def function(self, function: str, number: Real) -> Real:
        return number if function == "degrees" else super().function(function, number)


def with_equal_angle_units(*trees: Tree) -> Sequence[Tree]:
    """Return the trees with all angles in degrees if one of them is.

    In `cos(90° - x) = sin x`, both angles are in degrees. Raises UnreadError if a variable is an
    angle in degrees in one place and in radians in another one.
    """
    units = set[tuple[bool, bool]]()
    for tree in trees:
        for part in walk(tree):
            if isinstance(part, Call) and part.function in TRIGONOMETRIC:
                units.add(_angle_units(part.arguments[0]))
    if not any(in_degrees for in_degrees, _ in units):
        return trees
    if any(in_radians for _, in_radians in units):
        raise UnreadError("angles in different units")
    return [_in_degrees(tree) for tree in trees]


def _angle_units(angle: Tree) -> tuple[bool, bool]:
    """Return whether an angle contains degrees, and whether it contains pi."""
    in_degrees = in_radians = False
    for part in walk(angle):
        in_degrees = in_degrees or (isinstance(part, Call) and part.function == "degrees")
        in_radians = in_radians or part == PI
    return in_degrees, in_radians


def _in_degrees(tree: Tree) -> Tree:
    match tree:
        case Call(function, (angle,)) if function in TRIGONOMETRIC:
            in_degrees, _ = _angle_units(angle)
            return tree if in_degrees else Call(function, (Call("degrees", (angle,)),))
        case Call(function, arguments):
            return Call(function, tuple([_in_degrees(argument) for argument in arguments]))
        case Combined(operator, left, right):
            return Combined(operator, _in_degrees(left), _in_degrees(right))
        case Negated(operand):
            return Negated(_in_degrees(operand))
        case _:
            return tree


def evaluate(tree: Tree, environment: Mapping[str, Real], log_base: Fraction | None = None) -> Real:
    """Return the value. Raises UndefinedError if there is none, or none within the bounds."""
    evaluator = _RealEvaluator(BITS, environment)
    evaluator.log_base = log_base
    try:
        value = evaluator.real(tree)
        if not isinstance(value, Fraction) and not abs(value) < HUGE:
            raise UndefinedError
        return value
    except (ArithmeticError, ValueError, UnreadError) as error:
        raise UndefinedError from error


def rational_value(tree: Tree) -> Fraction | None:
    """Return the value of a closed formula without decimals; None if it is not rational."""
    if syntax.names(tree) or syntax.has_decimals(tree):
        return None
    try:
        value = evaluate(tree, {})
    except UndefinedError:
        return None
    return value if isinstance(value, Fraction) else None


def order(
    left: Tree, right: Tree, environment: Mapping[str, Real], log_base: Fraction | None = None
) -> int | None:
    """Return the `difference_sign` of two formulas. Raises UndefinedError as `evaluate` does."""
    left_value = evaluate(left, environment, log_base)
    return difference_sign(left_value, evaluate(right, environment, log_base))


def difference_sign(left: Real, right: Real) -> int | None:
    """Return -1, 0 or 1 as `left` is less than, equal to or greater than `right`.

    Narrow intervals that overlap are equal. The result is None if they are too wide.
    """
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return (left > right) - (left < right)
    evaluator = _RealEvaluator(BITS, {})
    left = evaluator.interval(left)
    right = evaluator.interval(right)
    if left < right:
        return -1
    if right < left:
        return 1
    width = max(left.delta.b, right.delta.b)
    return 0 if width <= evaluator.interval(NARROW) * (1 + abs(left).b) else None


def midpoint(value: Real) -> Fraction:
    """Return the value, or the middle of its interval with the digits of a float."""
    return value if isinstance(value, Fraction) else Fraction(float(value.mid))
