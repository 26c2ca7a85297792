"""The values of expressions: exact where they are rational, otherwise enclosed in an interval.

A real value is a `Fraction` or an interval of mpmath that contains the true value. A value with an
imaginary part is a `Complex`. Precision belongs to an evaluator, and every precision has an mpmath
context of its own: mpmath's global contexts are never changed.

Raises `UndefinedError` where there is no value (a division by zero, the logarithm of a negative
number) or none that people agree on (a fractional power of a negative number), and `UnreadError`
for a value that is too large to compute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb, factorial
from typing import Any, ClassVar

import mpmath
from mpmath.ctx_iv import MPIntervalContext

from verifiers.math import syntax
from verifiers.math.exact import OPERATIONS, bit_size, rational_root
from verifiers.math.syntax import Combined, Name, Negated, Number, Tree, UndefinedError, UnreadError

# A `Fraction`, or an interval of mpmath, whose classes have no types.
Real = Any
ZERO = Fraction(0)
ONE = Fraction(1)
TWO = Fraction(2)
# The base-2 logarithm of the largest value that is not rational.
MAX_LOGARITHM = 2**13
MAX_COMPLEX_EXPONENT = 64
MAX_DEGREE = 24
# Additional bits for functions that mpmath computes for numbers and not for intervals.
GUARD_BITS = 32
# Functions as quotients of two others; None stands for 1.
QUOTIENTS = {
    "tan": ("sin", "cos"),
    "cot": ("cos", "sin"),
    "sec": (None, "cos"),
    "csc": (None, "sin"),
    "tanh": ("sinh", "cosh"),
}
INVERSES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}


@dataclass(frozen=True, slots=True)
class Complex:
    """A value whose imaginary part is not exactly zero."""

    re: Real
    im: Real


Value = Real | Complex


# A context takes about 1 ms to create and is not changed afterwards.
@lru_cache(maxsize=16)
def interval_context(bits: int) -> Any:
    """Return the interval arithmetic of a precision."""
    context = MPIntervalContext()
    context.prec = bits
    return context


class Evaluator:
    """Evaluates trees with intervals of `bits` bits and the `environment`'s values of the names.

    Roots of negative numbers are imaginary, or undefined if `is_real` is set. A mixed number is
    the sum of its parts, or their product if `mixed_operator` is `*`.
    """

    # The bits of a rational power, and the arguments of `!` and `binom`.
    max_power_bits: ClassVar[int]
    max_factorial: ClassVar[int]
    max_choice: ClassVar[int]
    # The base of logarithms without one; None if they have no value.
    log_base: Fraction | None = None
    is_real: bool = False
    mixed_operator: str = "+"

    def __init__(self, bits: int, environment: Mapping[str, Real]) -> None:
        self.bits = bits
        self.context = interval_context(bits)
        self.environment = environment

    def value(self, tree: Tree) -> Value:
        """Return the value of a tree."""
        match tree:
            case Number():
                return tree.value
            case Combined(operator, left, right):
                return self.combined(operator, self.value(left), self.value(right))
            case Negated(operand):
                return _negative(self.value(operand))
            case syntax.Constant(text):
                return self.constant(text)
            case Name(text):
                if text not in self.environment:
                    raise UndefinedError
                return self.environment[text]
            case syntax.Mixed(integer, part):
                return OPERATIONS[self.mixed_operator](integer.value, part)
            case syntax.Call(function, arguments):
                return self.call(function, arguments)

    def real(self, tree: Tree) -> Real:
        """Return the value of a tree. Raises UndefinedError if it is not real."""
        value = self.value(tree)
        if isinstance(value, Complex):
            raise UndefinedError
        return value

    def interval(self, number: Real) -> Any:
        """Return a real value as an interval."""
        if isinstance(number, Fraction):
            return self.context.mpf(number.numerator) / self.context.mpf(number.denominator)
        return number

    def constant(self, name: str) -> Value:
        r"""Return the value of `\pi`, `e` or `i`."""
        if name == "i":
            return Complex(ZERO, ONE)
        return self.context.exp(1) if name == "e" else +self.context.pi

    def combined(self, operator: str, left: Value, right: Value) -> Value:
        """Return the result of an operation."""
        if operator == "^":
            return self.power(left, right)
        if operator == "-":
            return self.combined("+", left, _negative(right))
        if isinstance(left, Complex) or isinstance(right, Complex):
            return self.combined_complex(operator, left, right)
        if operator == "/" and not excludes_zero(right):
            raise UndefinedError
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return OPERATIONS[operator](left, right)
        # A product with an exact zero is exactly zero, whatever the width of the interval.
        if operator != "+" and (_is_zero(left) or _is_zero(right)):
            return ZERO
        return OPERATIONS[operator](self.interval(left), self.interval(right))

    def combined_complex(self, operator: str, left: Value, right: Value) -> Value:
        """Return the sum, product or quotient of two values by their parts."""
        a, b = parts(left)
        c, d = parts(right)
        combined = self.combined
        if operator == "+":
            re = combined("+", a, c)
            im = combined("+", b, d)
        elif operator == "*":
            re = combined("-", combined("*", a, c), combined("*", b, d))
            im = combined("+", combined("*", a, d), combined("*", b, c))
        elif _is_zero(d):
            re = combined("/", a, c)
            im = combined("/", b, c)
        else:
            size = combined("+", combined("*", c, c), combined("*", d, d))
            product = self.combined_complex("*", left, Complex(c, -d))
            return combined("/", product, size)
        return re if _is_zero(im) else Complex(re, im)

    def power(self, base: Value, exponent: Value) -> Value:
        """Return a power; fractional exponents need a positive base."""
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self.whole_power(base, int(exponent))
        if isinstance(exponent, Complex) or isinstance(base, Complex):
            raise UndefinedError
        is_rational = isinstance(exponent, Fraction) and isinstance(base, Fraction)
        if is_rational and base > 0 and exponent.denominator <= MAX_COMPLEX_EXPONENT:
            root = self.positive_root(base, exponent.denominator)
            return self.whole_power(root, exponent.numerator)
        if sign(base) <= 0:
            raise UndefinedError
        return self.exponential(self.combined("*", self.logarithm(base), exponent))

    def whole_power(self, base: Value, exponent: int) -> Value:
        """Return a power with a whole exponent."""
        if isinstance(base, Complex):
            return self.complex_power(base, exponent)
        if exponent <= 0 and _is_zero(base):
            raise UndefinedError
        if isinstance(base, Fraction):
            if bit_size(base) * abs(exponent) > self.max_power_bits:
                raise UnreadError("a power that is too large")
            return base**exponent
        if self.size(base) * abs(exponent) > MAX_LOGARITHM:
            raise UnreadError("a power that is too large")
        if exponent < 0 and sign(base) == 0:
            raise UndefinedError
        return base**exponent

    def complex_power(self, base: Complex, exponent: int) -> Value:
        """Return a power of a complex number, by repeated multiplication."""
        if abs(exponent) > MAX_COMPLEX_EXPONENT:
            raise UnreadError("a power that is too large")
        value: Value = ONE
        for _ in range(abs(exponent)):
            value = self.combined("*", value, base)
        if exponent < 0:
            value = self.combined("/", ONE, value)
        return value

    def call(self, function: str, arguments: tuple[Tree, ...]) -> Value:
        """Return the value of a function."""
        numbers = [self.real(argument) for argument in arguments]
        match function:
            case "!":
                return Fraction(factorial(self.natural(numbers[0], self.max_factorial)))
            case "binom":
                upper, lower = [self.natural(number, self.max_choice) for number in numbers]
                return Fraction(comb(upper, lower))
            case "root":
                return self.root(*numbers)
            case "log":
                base = self.log_base
                if len(numbers) > 1:
                    base = numbers[1]
                if base is None:
                    raise UndefinedError
                return self.combined("/", self.logarithm(numbers[0]), self.logarithm(base))
            case _:
                return self.function(function, numbers[0])

    def function(self, function: str, number: Real) -> Real:
        """Return the value of a function of one real number."""
        match function:
            case "abs":
                return abs(number)
            case "degrees":
                return self.interval(number) * self.context.pi / 180
            case "exp":
                return self.exponential(number)
            case "ln":
                return self.logarithm(number)
            case "sinh":
                power = self.interval(self.exponential(number))
                return (power - 1 / power) / 2
            case "cosh":
                power = self.interval(self.exponential(number))
                return (power + 1 / power) / 2
            case "sin" | "cos":
                return getattr(self.context, function)(self.interval(number))
            case _ if function in INVERSES:
                return self.inverse(function, self.interval(number))
        upper, lower = QUOTIENTS[function]
        numerator = ONE if upper is None else self.function(upper, number)
        return self.combined("/", numerator, self.function(lower, number))

    def natural(self, number: Real, limit: int) -> int:
        """Return a value as a natural number. Raises UndefinedError if it is not one."""
        if not isinstance(number, Fraction) or number.denominator != 1 or number < 0:
            raise UndefinedError
        if number > limit:
            raise UnreadError("a factorial that is too large")
        return int(number)

    def root(self, radicand: Real, degree: Real = TWO) -> Value:
        """Return the real root, or the imaginary square root of a negative number."""
        is_whole = isinstance(degree, Fraction) and degree.denominator == 1
        if not is_whole or not 2 <= degree <= MAX_DEGREE:
            raise UndefinedError
        whole_degree = int(degree)
        if _is_zero(radicand) or sign(radicand) > 0:
            return self.positive_root(radicand, whole_degree)
        if whole_degree % 2:
            return -self.positive_root(-radicand, whole_degree)
        if whole_degree > 2 or self.is_real:
            raise UndefinedError
        return Complex(ZERO, self.positive_root(-radicand, 2))

    def positive_root(self, radicand: Real, degree: int) -> Real:
        """Return the root of a number that is not negative; exact if it is rational."""
        if isinstance(radicand, Fraction):
            root = rational_root(radicand, degree)
            if root is not None:
                return root
        if degree == 2:
            return self.context.sqrt(self.interval(radicand))
        return self.context.exp(self.context.log(self.interval(radicand)) / degree)

    def exponential(self, number: Real) -> Real:
        """Return e to a power."""
        if _is_zero(number):
            return ONE
        if abs(self.interval(number)).b > MAX_LOGARITHM:
            raise UnreadError("a power that is too large")
        return self.context.exp(self.interval(number))

    def logarithm(self, number: Real) -> Real:
        """Return the natural logarithm."""
        if sign(number) <= 0:
            raise UndefinedError
        return ZERO if number == 1 else self.context.log(self.interval(number))

    def inverse(self, function: str, number: Any) -> Real:
        """Return the value of a monotonic function that mpmath computes for numbers only."""
        if function != "arctan" and not (number.a >= -1 and number.b <= 1):
            raise UndefinedError
        with mpmath.workprec(self.bits + GUARD_BITS):
            compute = getattr(mpmath, INVERSES[function])
            ends = sorted([compute(mpmath.mpf(number.a)), compute(mpmath.mpf(number.b))])
            slack = (1 + abs(ends[0])) * mpmath.mpf(2) ** -(self.bits + 8)
            return self.context.mpf([ends[0] - slack, ends[1] + slack])

    def size(self, number: Real) -> int:
        """Return the bits of a rational number, or the magnitude of an interval in bits.

        It is 0 for an interval that may contain zero. Raises UnreadError beyond the bounds.
        """
        bits = 0
        limit = MAX_LOGARITHM
        if isinstance(number, Fraction):
            bits = bit_size(number)
            limit = self.max_power_bits
        elif excludes_zero(number):
            bits = abs(int(self.context.mag(abs(number).b)))
        if bits > limit:
            raise UnreadError("a number that is too large")
        return bits


def parts(value: Value) -> tuple[Real, Real]:
    """Return the real and the imaginary part."""
    if isinstance(value, Complex):
        return value.re, value.im
    return value, ZERO


def excludes_zero(number: Real) -> bool:
    """Return whether a real value is certainly not zero."""
    if isinstance(number, Fraction):
        return number != 0
    return bool(number > 0 or number < 0)


def sign(number: Real) -> int:
    """Return 1, -1, or 0 for an exact zero. Raises UndefinedError if an interval contains zero."""
    if isinstance(number, Fraction):
        return (number > 0) - (number < 0)
    if not excludes_zero(number):
        raise UndefinedError
    return 1 if number > 0 else -1


def _negative(value: Value) -> Value:
    return Complex(-value.re, -value.im) if isinstance(value, Complex) else -value


def _is_zero(number: Real) -> bool:
    return isinstance(number, Fraction) and number == 0
