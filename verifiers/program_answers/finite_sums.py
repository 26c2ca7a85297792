"""Sums of powers in closed form (Faulhaber's formula)."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from verifiers.math.syntax import UnreadError

MAX_DEGREE = 12


@cache
def power_sum(degree: int) -> Sequence[Fraction]:
    """Return the coefficients of the polynomial in N that is the sum of k^degree for k < N.

    They ascend. Raises UnreadError for a degree above `MAX_DEGREE`.
    """
    from sympy.polys.appellseqs import bernoulli_poly

    if degree > MAX_DEGREE:
        raise UnreadError("a sum of high powers")
    coefficients = bernoulli_poly(degree + 1, polys=True).all_coeffs()[-2::-1]
    return [
        Fraction(0),
        *[Fraction(int(value.p), int(value.q) * (degree + 1)) for value in coefficients],
    ]
