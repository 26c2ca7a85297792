"""Compare two expressions, or two equations, by their values.

Formulas are evaluated exactly, or in intervals of sufficient precision: with variables at several
points, where equal ones agree to hundreds of digits. Equal values that are not rational need the
agreement of math-verify. See `verifiers.answers` for the verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from random import Random

from stepmark.records import Verdict
from verifiers.answer_forms import second_opinion
from verifiers.answer_forms.decimals import (
    DOUBLE_PRECISION,
    LOST_PRECISION,
    NEARLY_EQUAL,
    is_double,
    literal,
)
from verifiers.answer_forms.forms import Equation, Quantity
from verifiers.math import syntax
from verifiers.math.exact import exact_value
from verifiers.math.findings import Judgement
from verifiers.math.intervals import (
    INVERSES,
    Complex,
    Evaluator,
    Value,
    excludes_zero,
    parts,
)
from verifiers.math.lexicon import FAMILIES, PARAMETERS
from verifiers.math.syntax import (
    Call,
    Combined,
    I,
    Negated,
    Tree,
    UndefinedError,
    functions,
    names,
    walk,
)

Point = Mapping[str, Fraction]
# Half of the points are positive, half have mixed signs; half of each are below 1.
POINTS = 12
# The number of points at which both formulas must have a value.
MIN_POINTS = 3
ZERO = syntax.Number(Fraction(0))
HUNDRED = syntax.Number(Fraction(100))
LOGARITHM = "a logarithm without a base"
# The precision of the first evaluation, which measures the sizes.
FIRST_BITS = 512
SPARE_BITS = 256
# Precisions are multiples of this, so that few contexts are created.
BITS_STEP = 256
MAX_BITS = 2**15


@dataclass(frozen=True, slots=True)
class Comparison:
    """`equal` is None if intervals do not decide; `exact` means that both values are rational."""

    equal: bool | None
    exact: bool


class _MeasuringEvaluator(Evaluator):
    """An evaluator that adds up the sizes of all values in `total_size`, in bits."""

    max_power_bits = 2**16
    max_factorial = 5_000
    max_choice = 10_000
    # An unusual base: only what holds for every base holds for this one.
    log_base = Fraction(7919, 1009)
    total_size = 0

    def value(self, tree: Tree) -> Value:
        value = self._exponential_of_complex(tree)
        if value is None:
            value = super().value(tree)
        re, im = parts(value)
        self.total_size += self.size(re) + self.size(im)
        return value

    def _exponential_of_complex(self, tree: Tree) -> Value | None:
        """Return e to a power that is not real, by Euler's formula; None for anything else."""
        match tree:
            case Combined("^", syntax.E, exponent) | Call("exp", (exponent,)) if I in walk(
                exponent
            ):
                power = super().value(exponent)
            case _:
                return None
        if not isinstance(power, Complex):
            return None
        size = self.interval(self.exponential(power.re))
        re = size * self.interval(self.function("cos", power.im))
        im = size * self.interval(self.function("sin", power.im))
        return Complex(re, im)


def judge_quantities(left: Quantity, right: Quantity) -> Judgement:
    """Compare two expressions with their units and percent signs."""
    if not (left.unit <= right.unit or right.unit <= left.unit):
        return Verdict.UNKNOWN, "different units"
    if left.percent is right.percent:
        return _judge_trees(left, right)
    plain, percentage = sorted((left, right), key=lambda side: side.percent)
    fraction = Combined("/", percentage.tree, HUNDRED)
    multiple = Combined("*", plain.tree, HUNDRED)
    # The last two are equivalent, but a decimal may be rounded only if it is the whole side.
    judgements = [
        _judge_trees(percentage, plain),
        _judge_trees(replace(percentage, tree=fraction, source=""), plain),
        _judge_trees(percentage, replace(plain, tree=multiple, source="")),
    ]
    for judgement in judgements:
        if judgement[0] is Verdict.CORRECT:
            return judgement
    if all(verdict is Verdict.INCORRECT for verdict, _ in judgements):
        return judgements[0]
    return Verdict.UNKNOWN, "possibly a percentage"


def judge_equations(left: Equation, right: Equation) -> Judgement:
    """Compare two equations: equal ones are multiples at rational points."""
    variables = names(left.difference)
    if variables != names(right.difference) or not variables:
        return Verdict.UNKNOWN, "different variables"
    if left.source == right.source:
        return Verdict.CORRECT, "the same equation"
    points = _points(sorted(variables), left.difference, right.difference)
    left_values = rational_values(left.difference, points)
    right_values = rational_values(right.difference, points)
    if left_values is None or right_values is None or 0 in (*left_values, *right_values):
        return Verdict.UNKNOWN, "no rational value"
    quotients = {a / b for a, b in zip(left_values, right_values, strict=True)}
    if len(quotients) == 1:
        return _confirm(left, right)
    if _is_linear(left.difference, variables) and _is_linear(right.difference, variables):
        return Verdict.INCORRECT, "different linear equations"
    return Verdict.UNKNOWN, "equations that are not multiples"


def has_value(tree: Tree) -> bool:
    """Return whether the expression has a value at some point."""
    points = _points(sorted(names(tree)), tree)
    return any(_equal_at(tree, tree, point) for point in points)


def _judge_trees(left: Quantity, right: Quantity) -> Judgement:
    """Compare two expressions; a reading that differs from the text has no source."""
    if left.source == right.source and left.tree == right.tree:
        return Verdict.CORRECT, "the same formula"
    variables = names(left.tree)
    other_variables = names(right.tree)
    if variables != other_variables and variables and other_variables:
        return Verdict.UNKNOWN, "different variables"
    if variables or other_variables:
        return _judge_at_points(left, right)
    try:
        comparison = compare(left.tree, right.tree, {})
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"
    if comparison.equal is None:
        return Verdict.UNKNOWN, "too close to distinguish"
    if not comparison.equal:
        return _judge_different(left, right)
    if comparison.exact:
        return Verdict.CORRECT, "equal numbers"
    return _confirm(left, right)


def _judge_different(left: Quantity, right: Quantity) -> Judgement:
    """Judge closed values that differ: they may be equal in another reading."""
    a = left.tree
    b = right.tree
    is_mixed = any(isinstance(part, syntax.Mixed) for part in (*walk(a), *walk(b)))
    if is_mixed and compare(a, b, {}, mixed_operator="*").equal is not False:
        return Verdict.UNKNOWN, "a mixed number or a product"
    if syntax.BARE_LOG in functions(a) | functions(b):
        return Verdict.UNKNOWN, LOGARITHM
    if _are_equal_in_degrees(a, b):
        return Verdict.UNKNOWN, "possibly an angle in degrees"
    for side, other in ((a, b), (b, a)):
        judgement = _judge_double(side, other)
        if judgement is not None:
            return judgement
    units = left.unit | right.unit
    if left.unit != right.unit and not FAMILIES.keys().isdisjoint(units):
        return Verdict.UNKNOWN, "a unit that may have been converted"
    if units and compare(a, Negated(b), {}).equal is not False:
        return Verdict.UNKNOWN, "the opposite sign, with words"
    if _may_be_rounded(a, b) or _may_be_rounded(b, a):
        return Verdict.UNKNOWN, "equal when rounded"
    return Verdict.INCORRECT, "different numbers"


def _are_equal_in_degrees(left: Tree, right: Tree) -> bool:
    r"""Return whether closed values may be equal if plain angles are in degrees: `\sin 30`."""
    a = syntax.map_calls(left, in_degrees)
    b = syntax.map_calls(right, in_degrees)
    if (a, b) == (left, right):
        return False
    may_be_equal = compare(a, b, {}).equal is not False
    return may_be_equal or _may_be_rounded(a, b) or _may_be_rounded(b, a)


def in_degrees(call: Call) -> Tree:
    """Return a call whose plain angle is in degrees; calls without one stay."""
    if call.function in syntax.TRIGONOMETRIC and exact_value(call.arguments[0]) is not None:
        return Call(call.function, (Call("degrees", call.arguments),))
    if call.function in INVERSES:
        one_degree = Call("degrees", (syntax.Number(Fraction(1)),))
        return Combined("/", call, one_degree)
    return call


def _judge_double(double: Tree, exact: Tree) -> Judgement | None:
    """Compare a printed double; None if it is none, or differs by more than its precision."""
    if not is_double(double):
        return None
    value = exact_value(double)
    if value is None:
        return None
    if within(double, exact, abs(value) * DOUBLE_PRECISION):
        return Verdict.CORRECT, "equal within the precision of a double"
    if within(double, exact, abs(value) * LOST_PRECISION):
        return Verdict.UNKNOWN, NEARLY_EQUAL
    # A computation whose result is zero prints 1.2246467991473532e-16.
    if abs(value) <= LOST_PRECISION and compare(exact, ZERO, {}).equal is not False:
        return Verdict.UNKNOWN, NEARLY_EQUAL
    return None


def _may_be_rounded(rounded: Tree, exact: Tree) -> bool:
    """Return whether `rounded` is a decimal that may be `exact` with fewer digits."""
    while isinstance(rounded, Negated):
        rounded = rounded.operand
        exact = exact.operand if isinstance(exact, Negated) else Negated(exact)
    if isinstance(rounded, syntax.Number) and not rounded.may_round(exact):
        return False
    decimal = literal(rounded)
    return decimal is not None and within(rounded, exact, decimal.last_digit)


def _judge_at_points(left: Quantity, right: Quantity) -> Judgement:
    """Compare formulas with variables at the points where both are defined."""
    a = left.tree
    b = right.tree
    variables = names(a) | names(b)
    points = _points(sorted(variables), a, b)
    results = list[bool]()
    for point in points:
        equal = _equal_at(a, b, point)
        if equal is not None:
            results.append(equal)
    if len(results) < MIN_POINTS:
        return Verdict.UNKNOWN, "too few common values"
    if all(results):
        return _confirm(left, right)
    if any(results):
        return Verdict.UNKNOWN, "equal for some values"
    if syntax.BARE_LOG in functions(a) | functions(b):
        return Verdict.UNKNOWN, LOGARITHM
    if len(variables) > 1 or not PARAMETERS.isdisjoint(variables) or names(a) != names(b):
        return Verdict.UNKNOWN, "formulas that differ, but a condition may restrict their variables"
    if _are_equal_somewhere_in_degrees(a, b, points):
        return Verdict.UNKNOWN, "possibly an angle in degrees"
    return Verdict.INCORRECT, "different formulas"


def _are_equal_somewhere_in_degrees(left: Tree, right: Tree, points: Sequence[Point]) -> bool:
    a = syntax.map_calls(left, in_degrees)
    b = syntax.map_calls(right, in_degrees)
    return (a, b) != (left, right) and any(_equal_at(a, b, point) for point in points)


def _equal_at(left: Tree, right: Tree, point: Point) -> bool | None:
    is_complex = I in walk(left) or I in walk(right)
    try:
        return compare(left, right, point, real=not is_complex).equal
    except UndefinedError:
        return None


def _points(variables: Sequence[str], *trees: Tree) -> Sequence[Point]:
    """Return the points, which depend only on the names; whole ones for factorials."""
    random = Random(" ".join(variables))
    need_whole = any(functions(tree) & {"!", "binom"} for tree in trees)
    points = list[Point]()
    for index in range(POINTS):
        point = dict[str, Fraction]()
        for name in variables:
            if need_whole:
                point[name] = Fraction(random.randint(2, 40))
            else:
                point[name] = _coordinate(random, index)
        points.append(point)
    return points


def _coordinate(random: Random, index: int) -> Fraction:
    """Return a number of 1/3 to 10 for even indices and below 1 for odd ones."""
    size = Fraction(random.randint(1_000, 9_999), random.randint(1_000, 3_000))
    if index % 2 == 1:
        size /= 16
    if index < POINTS // 2:
        return size
    return size * random.choice((1, -1))


def _confirm(left: Quantity | Equation, right: Quantity | Equation) -> Judgement:
    """Confirm an equality of what the text states, which math-verify reads."""
    if not left.source or not right.source:
        return Verdict.UNKNOWN, "possibly a percentage"
    if second_opinion.says_equal(left.source, right.source):
        return Verdict.CORRECT, "equal formulas"
    return Verdict.UNKNOWN, "equal here, but not according to math-verify"


def rational_values(tree: Tree, points: Sequence[Point]) -> Sequence[Fraction] | None:
    """Return the values at all points, or None if one is undefined or not rational."""
    values = list[Fraction]()
    for point in points:
        try:
            value = _MeasuringEvaluator(FIRST_BITS, point).value(tree)
        except UndefinedError:
            return None
        if not isinstance(value, Fraction):
            return None
        values.append(value)
    return values


def _is_linear(tree: Tree, variables: frozenset[str]) -> bool:
    """Return whether f(p + q) + f(0) = f(p) + f(q) at random points."""
    first, second, *_ = _points(sorted(variables))
    both = {name: first[name] + second[name] for name in variables}
    origin = dict.fromkeys(variables, Fraction(0))
    values = rational_values(tree, (first, second, both, origin))
    return values is not None and values[0] + values[1] == values[2] + values[3]


def compare(
    left: Tree,
    right: Tree,
    point: Mapping[str, Fraction],
    *,
    mixed_operator: str = "+",
    real: bool = False,
) -> Comparison:
    """Return whether two formulas have the same value at a point.

    `mixed_operator` combines the parts of mixed numbers, and `real` leaves square roots of negative
    numbers undefined. The precision depends on the sizes of all intermediate values, so that
    `1 + 10^-500` differs from 1. Raises UndefinedError and UnreadError.
    """
    evaluator, difference = _difference(left, right, point, mixed_operator, real)
    re, im = parts(difference)
    if isinstance(re, Fraction) and isinstance(im, Fraction):
        return Comparison(re == im == 0, exact=im == 0)
    if excludes_zero(re) or excludes_zero(im):
        return Comparison(False, exact=False)
    tiny = evaluator.context.mpf(2) ** -(evaluator.bits // 2)
    error = max(abs(evaluator.interval(re)).b, abs(evaluator.interval(im)).b)
    return Comparison(error < tiny or None, exact=False)


def order(left: Tree, right: Tree) -> int:
    """Return -1, 0 or 1: whether the left closed real value is smaller, equal or larger.

    Raises UndefinedError for values that are not real, and UnreadError if intervals do not decide.
    """
    _, difference = _difference(left, right, {}, "+", real=True)
    re, im = parts(difference)
    if im != 0:
        raise UndefinedError
    if excludes_zero(re):
        if re > 0:
            return 1
        return -1
    if not isinstance(re, Fraction) and compare(left, right, {}).equal is not True:
        raise syntax.UnreadError("too close to distinguish")
    return 0


def within(left: Tree, right: Tree, tolerance: Fraction) -> bool:
    """Return whether two closed real formulas may differ by less than the tolerance."""
    evaluator, difference = _difference(left, right, {}, "+", real=False)
    re, im = parts(difference)
    if excludes_zero(im):
        return False
    if isinstance(re, Fraction):
        return abs(re) < tolerance
    return bool(abs(re).a < evaluator.interval(tolerance).b)


def _difference(
    left: Tree, right: Tree, point: Mapping[str, Fraction], mixed_operator: str, real: bool
) -> tuple[Evaluator, Value]:
    """Return `left - right` and the evaluator, whose precision follows from a first round."""
    key = frozenset(point.items())
    bits = FIRST_BITS
    while True:
        evaluator = _evaluator(bits, point, mixed_operator, real)
        first, first_size = _measured(left, bits, key, mixed_operator, real)
        second, second_size = _measured(right, bits, key, mixed_operator, real)
        value = evaluator.combined("-", first, second)
        re, im = parts(value)
        total_size = first_size + second_size + evaluator.size(re) + evaluator.size(im)
        needed = SPARE_BITS + 2 * total_size
        is_rational = isinstance(re, Fraction) and isinstance(im, Fraction)
        if bits > FIRST_BITS or needed <= bits or is_rational:
            return evaluator, value
        if needed > MAX_BITS:
            raise syntax.UnreadError("too large to compare")
        bits = -(-needed // BITS_STEP) * BITS_STEP


def _evaluator(bits: int, point: Point, mixed_operator: str, real: bool) -> _MeasuringEvaluator:
    evaluator = _MeasuringEvaluator(bits, point)
    evaluator.is_real = real
    evaluator.mixed_operator = mixed_operator
    return evaluator


# Every item of a set is compared with every item of another set, at the same points.
@lru_cache(maxsize=1_024)
def _measured(
    tree: Tree, bits: int, point: frozenset[tuple[str, Fraction]], mixed_operator: str, real: bool
) -> tuple[Value, int]:
    """Return the value of an expression, and the bits of all values from which it was computed."""
    evaluator = _evaluator(bits, dict(point), mixed_operator, real)
    value = evaluator.value(tree)
    return value, evaluator.total_size
