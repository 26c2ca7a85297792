"""Decide whether two formulas are equal always, sometimes or never, wherever both are defined.

Sample points of every sort (whole, between 0 and 1, negative, large) show "never"; for ratios of
polynomials the numerator of the difference proves it. "Always" is a proof for ratios of
polynomials, and for other formulas an agreement to twenty digits at every sample point. In a
formula with `i`, both a variable and the imaginary unit are considered. Applications of unknown
functions are variables; functions such as sine are always evaluated, and never taken as independent
of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction

from verifiers.algebra_rules.applications import applied_letters, without_applications
from verifiers.algebra_rules.ratios import (
    Polynomial,
    difference,
    numerators,
    ratios,
    vanishes_only_at_poles,
)
from verifiers.algebra_rules.values import DECIMAL_BASE, order, with_equal_angle_units
from verifiers.math.syntax import (
    Combined,
    Name,
    Number,
    Tree,
    UndefinedError,
    UnreadError,
    functions,
    names,
)

MAX_NAMES = 6
POINTS = 8
# The number of points at which both sides must be defined.
MIN_POINTS = 3
# Primes and fractions of primes, so that an equality is hardly ever an accident.
FRACTIONS = ("7", "11/3", "5/7", "23", "13", "2/9", "17/5", "29", "19", "3/11", "31/4", "37")
SAMPLES = [Fraction(text) for text in FRACTIONS]
# Factorials and binomials need small natural numbers.
SMALL_SAMPLES = [Fraction(number) for number in (7, 9, 11, 12, 10, 8, 13, 14)]
IMAGINARY_UNIT = Name("i")
# `i^2 + 1`, which is zero if `i` is the imaginary unit.
SQUARE_OF_I = Combined("+", Combined("^", IMAGINARY_UNIT, Number(Fraction(2))), Number(Fraction(1)))


class Equality(Enum):
    """How often two formulas are equal."""

    ALWAYS = auto()
    SOMETIMES = auto()
    NEVER_SEEN = auto()
    """At no sample point; there may be solutions."""
    NEVER = auto()
    """There is no solution."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Relation:
    """The equality of two formulas.

    `left` and `right` are numerators over a common denominator if the formulas are ratios of
    polynomials. `counterexample` describes a point at which the formulas differ.
    """

    equality: Equality
    left: Polynomial = None
    right: Polynomial = None
    counterexample: str = ""


def compare(left: Tree, right: Tree) -> Relation:
    """Return how the two formulas relate."""
    comparable = _comparable(left, right)
    if comparable is None:
        return Relation(Equality.UNKNOWN)
    left, right, variables = comparable
    fractions = ratios(left, right)
    if fractions is None:
        equality, counterexample = _compare_at_samples(left, right, variables)
        return Relation(equality, counterexample=counterexample)
    first, second = numerators(*fractions)
    remainder = first - second
    if not remainder:
        return Relation(Equality.ALWAYS)
    equality, counterexample = _compare_at_samples(left, right, variables)
    if equality is Equality.NEVER_SEEN:
        if IMAGINARY_UNIT.text in variables:
            # With functions, `i` may not be any number.
            if functions(left) or functions(right):
                return Relation(Equality.UNKNOWN)
            if _vanishes_at_i(left, right):
                return Relation(Equality.ALWAYS)
        if vanishes_only_at_poles(remainder, *fractions):
            equality = Equality.NEVER
    return Relation(equality, first, second, counterexample)


def _comparable(left: Tree, right: Tree) -> tuple[Tree, Tree, Sequence[str]] | None:
    """Return the formulas with angles in one unit and without unknown functions, and their names.

    The result is None if they cannot be compared.
    """
    is_applied = bool(applied_letters(left, right))
    try:
        left, right = with_equal_angle_units(left, right)
        if is_applied:
            left, right = without_applications(left, right)
    except UnreadError:
        return None
    variables = sorted(names(left) | names(right))
    if len(variables) > MAX_NAMES or any("(" in name for name in variables):
        return None
    # The values of an unknown function may be imaginary.
    if is_applied and IMAGINARY_UNIT.text in variables:
        return None
    return left, right, variables


def _vanishes_at_i(left: Tree, right: Tree) -> bool:
    """Return whether the sides are equal if i² = -1."""
    fractions = ratios(left, right, SQUARE_OF_I)
    if fractions is None:
        return True
    first, second, square = fractions
    return not difference(first, second).rem(square.numerator)


def _compare_at_samples(left: Tree, right: Tree, variables: Sequence[str]) -> tuple[Equality, str]:
    """Return the equality at the sample points, and a point at which the sides differ."""
    differences = list[bool]()
    counterexample = ""
    for number in range(POINTS if variables else 1):
        environment = _sample(variables, number)
        try:
            sign = order(left, right, environment, DECIMAL_BASE)
        except UndefinedError:
            continue
        if sign is None:
            return Equality.UNKNOWN, ""
        differences.append(sign != 0)
        if sign != 0 and not counterexample:
            values = [f"{name} = {value}" for name, value in environment.items()]
            counterexample = ", ".join(values)
    if len(differences) < (MIN_POINTS if variables else 1):
        return Equality.UNKNOWN, ""
    if all(differences):
        return Equality.NEVER_SEEN if variables else Equality.NEVER, counterexample
    return Equality.SOMETIMES if any(differences) else Equality.ALWAYS, counterexample


def _sample(variables: Sequence[str], number: int) -> dict[str, Fraction]:
    """Return a sample point by its number.

    In the first half, the values are natural and mostly decrease in the order of the variables, for
    binomials and factorials of differences. The values of the last point are negative.
    """
    sample = dict[str, Fraction]()
    for index, name in enumerate(variables):
        if number < POINTS // 2:
            rank = len(variables) - index
            sample[name] = SMALL_SAMPLES[(number + rank) % len(SMALL_SAMPLES)] + 3 * rank
        else:
            sample[name] = SAMPLES[(5 * number + 7 * index) % len(SAMPLES)]
            if number == POINTS - 1:
                sample[name] = -sample[name]
    return sample
