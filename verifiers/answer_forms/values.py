"""Compare the values of two formulas: exactly, or in intervals of sufficient precision.

The precision depends on the sizes of all intermediate values, so that `1 + 10^-500` differs from
1. Raises UndefinedError and UnreadError as `verifiers.math.intervals` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from verifiers.math.errors import UnreadError
from verifiers.math.intervals import Evaluator, Value, excludes_zero, parts
from verifiers.math.syntax import Combined, Tree

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
        value = super().value(tree)
        re, im = parts(value)
        self.total_size += self.size(re) + self.size(im)
        return value


def compare(
    left: Tree,
    right: Tree,
    point: Mapping[str, Fraction],
    *,
    products: bool = False,
    real: bool = False,
) -> Comparison:
    """Return whether two formulas have the same value at a point.

    `products` reads mixed numbers as
    products, and `real` leaves square roots of negative numbers undefined.
    """
    evaluator, difference = _difference(left, right, point, products, real)
    re, im = parts(difference)
    if isinstance(re, Fraction) and isinstance(im, Fraction):
        return Comparison(re == im == 0, exact=im == 0)
    if excludes_zero(re) or excludes_zero(im):
        return Comparison(False, exact=False)
    tiny = evaluator.context.mpf(2) ** -(evaluator.bits // 2)
    error = max(abs(evaluator.interval(re)).b, abs(evaluator.interval(im)).b)
    return Comparison(True if error < tiny else None, exact=False)


def within(left: Tree, right: Tree, tolerance: Fraction) -> bool:
    """Return whether two closed real formulas may differ by less than the tolerance."""
    evaluator, difference = _difference(left, right, {}, products=False, real=False)
    re, im = parts(difference)
    if excludes_zero(im):
        return False
    if isinstance(re, Fraction):
        return abs(re) < tolerance
    return bool(abs(re).a < evaluator.interval(tolerance).b)


def exact_value(tree: Tree, point: Mapping[str, Fraction]) -> Fraction | None:
    """Return the value if it is computed as a rational number, else None."""
    value = _MeasuringEvaluator(FIRST_BITS, point).value(tree)
    return value if isinstance(value, Fraction) else None


def _difference(
    left: Tree, right: Tree, point: Mapping[str, Fraction], products: bool, real: bool
) -> tuple[Evaluator, Value]:
    """Return `left - right` and the evaluator, whose precision follows from a first round."""
    difference = Combined("-", left, right)
    bits = FIRST_BITS
    while True:
        evaluator = _MeasuringEvaluator(bits, point)
        evaluator.is_real = real
        evaluator.mixed_is_product = products
        value = evaluator.value(difference)
        re, im = parts(value)
        needed = SPARE_BITS + 2 * evaluator.total_size
        is_rational = isinstance(re, Fraction) and isinstance(im, Fraction)
        if bits > FIRST_BITS or needed <= bits or is_rational:
            return evaluator, value
        if needed > MAX_BITS:
            raise UnreadError("too large to compare")
        bits = -(-needed // BITS_STEP) * BITS_STEP
