"""Sums of powers in closed form (Faulhaber's formula)."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import comb

from verifiers.math.syntax import UnreadError

MAX_DEGREE = 12


@cache
def power_sum(degree: int) -> Sequence[Fraction]:
    """Return the coefficients of the polynomial in N that is the sum of k^degree for k < N.

    They ascend. Raises UnreadError for a degree above `MAX_DEGREE`.
    """
    if degree > MAX_DEGREE:
        raise UnreadError("a sum of high powers")
    coefficients = [Fraction(0)] * (degree + 2)
    for index in range(degree + 1):
        factor = Fraction(comb(degree + 1, index), degree + 1)
        coefficients[degree + 1 - index] = factor * _bernoulli(index)
    return coefficients


@cache
def _bernoulli(index: int) -> Fraction:
    """Return a Bernoulli number, with -1/2 at index 1."""
    if index == 0:
        return Fraction(1)
    total = Fraction(0)
    for lower in range(index):
        total += comb(index + 1, lower) * _bernoulli(lower)
    return -total / (index + 1)
