r"""Finite sums and products: with an index, and with dots."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.base import Finding, StepClaim

CASES = (
    ("$\\sum_{k=1}^{5} k^2 = 55$", "correct"),
    ("\\[ \\sum_{i=1}^{199} i = \\frac{199 \\cdot 200}{2} = 19900 \\]", "correct"),
    ("$\\sum\\limits_{n=0}^{9} 2^n = 1023$", "correct"),
    ("$\\prod_{k=2}^{4} (1 - \\frac{1}{k^2}) = \\frac{5}{8}$", "correct"),
    ("$\\sum^{3}_{j=1} (2j + 1) = 15$", "correct"),
    ("$\\sum_{k=1}^3 k + \\sum_{k=1}^3 k^2 = 20$", "correct"),
    ("$\\sum_{i=1}^{2} \\sum_{j=1}^{3} i j = 18$", "correct"),
    ("$\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}$", "correct"),
    ("$\\sum_{k=0}^{n} x^k = \\frac{x^{n+1} - 1}{x - 1}$", "correct"),
    ("$\\sum_{k=0}^{4} \\binom{4}{k} = 16$", "correct"),
    ("$\\sum_{k=1}^{5} k^2 = 50$", "suspicion"),
    ("$\\sum_{n=0}^{9} 2^n = 1024$", "suspicion"),
    ("$\\prod_{k=1}^{5} k = 125$", "suspicion"),
    ("$2 \\cdot \\sum_{k=1}^{10} k = 100$", "suspicion"),
    ("$\\sum_{k=0}^{4} \\binom{4}{k} = 15$", "suspicion"),
    ("$\\sum_{k=1}^{n} k = \\frac{n(n-1)}{2}$", "suspicion"),
    # Without end, without numbers, too long, or with two meanings.
    ("$\\sum_{k=1}^\\infty \\frac{1}{2^k} = 2$", "unknown"),
    ("$\\sum_{k=1}^{5} a_k = 55$", "unknown"),
    ("$\\sum_{k=1}^{5} k + 1 = 16$", "unknown"),
    ("$\\sum_{k=1}^{99999999} k = 3$", "unknown"),
    ("$\\sum_{k} k = 3$", "unknown"),
    ("$\\sum_{i=1}^{3} x_i = 6$", "unknown"),
    # With dots.
    ("$1 + 2 + \\cdots + 100 = 5050$", "correct"),
    ("$1 + 2 + 3 + ... + 10 = 55$", "correct"),
    (
        "So $2+4+6+\\cdots+38+40 = 2 (1 + 2 + \\dots + 20) = 2 \\cdot 20 \\cdot 21/2 = 420$.",
        "correct",
    ),
    ("$1^2 + 2^2 + \\cdots + 10^2 = 385$", "correct"),
    ("$1 + 4 + 9 + \\cdots + 100 = 385$", "correct"),
    ("$1 + 2 + 4 + \\cdots + 512 = 1023$", "correct"),
    ("$1\\cdot 2 + 2\\cdot 3 + \\cdots + 9 \\cdot 10 = 330$", "correct"),
    ("$1 + 2 + \\cdots + n = \\frac{n(n+1)}{2}$", "correct"),
    ("$1 + x + x^2 + \\cdots + x^{10} = \\frac{x^{11} - 1}{x - 1}$", "correct"),
    ("$(1-2)+(3-4)+ \\dots +(97-98)+(99-100) = 50(-1)$", "correct"),
    (
        "$\\binom{10}{0} + \\binom{10}{1} + \\cdots + \\binom{10}{9} + \\binom{10}{10} = 2^{10}$",
        "correct",
    ),
    ("$100 + 99 + \\cdots + 1 = 5050$", "correct"),
    ("$5 \\cdot 4 \\cdot 3 \\cdots 1 = 120$", "correct"),
    ("$\\frac{1}{2} \\cdot \\frac{2}{3} \\cdots \\frac{99}{100} = \\frac{1}{100}$", "correct"),
    ("$1 + 2 + \\cdots + 100 = 5000$", "suspicion"),
    ("The sum is $1 + 3 + 5 + ... + 99 = 2600$.", "suspicion"),
    ("$1^2 + 2^2 + \\cdots + 10^2 = 380$", "suspicion"),
    ("$1 + 2 + 4 + \\cdots + 512 = 1024$", "suspicion"),
    ("$5 + 10 + 15 + \\cdots + 100 = \\frac{20 \\cdot 100}{2}$", "suspicion"),
    # The terms show no way to continue, or several.
    ("$1 + 2 + \\cdots + 64 = 127$", "unknown"),
    ("$2 + 3 + 5 + 7 + \\cdots + 29 = 129$", "unknown"),
    ("$1 + 1 + 2 + 3 + \\cdots + 55 = 143$", "unknown"),
    ("$1 - 2 + 3 - \\cdots + 99 = 50$", "unknown"),
    ("$1 + 2 + 3 + \\cdots = 100$", "unknown"),
    ("$1 + \\cdots + 10 = 50$", "unknown"),
    ("$a_1 + a_2 + \\cdots + a_{10} = 50$", "unknown"),
    ("$0.333... = 1/4$", "unknown"),
    ("$3 + 7 + \\cdots + 100 = 1000$", "unknown"),
    ("$7 \\cdot 77 \\cdots 7 = 10$", "unknown"),
)
HOSTILE = (
    "$\\sum_{k=1}^{2000} xk = 3x$. " * 300,
    "$\\sum_{k=1}^{2000} \\log k = 3$. " * 12,
    "$" + "\\sum_{k=1}^{2000} " * 20 + "k = 1$",
    "$" + "\\sum_{k=1}^{9} " * 12 + "k = 1$",
    "$\\prod_{k=1}^{2000} k^{60} = 1$",
    "$\\sum_{k=1}^{2000} \\sqrt{k} = 3$",
    "$" + "(1 + 2 + " * 20 + "… + 9" + ")" * 20 + " = 1$",
    "$" + "1 + " * 100 + "… + 9 = 1$",
    "$" + "… + " * 100 + "9 = 1$",
    "$" + "\\sum_{" * 4_000 + "= 1$",
    "$" + "…" * 15_000 + "= 1$",
    "$1 + 2 + … + 9^{9^9} = 1$",
    "$2^1 + 2^2 + … + 2^{99999999999} = 1$",
    "$1 + 1.0000001 + … + 9999999999999999 = 1$",
)
# Much more than the time on a busy machine.
MAX_SECONDS = 10.0


def _finding(step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(), step=step))


@pytest.mark.parametrize(("step", "expected"), CASES)
def test_series(step: str, expected: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == expected, finding


@given(st.integers(-20, 20), st.integers(1, 9), st.integers(5, 60), st.integers(-1, 1))
def test_arithmetic_series(first: int, step: int, count: int, error: int) -> None:
    terms = [first + step * index for index in range(count)]
    shown = [f"({term})" for term in terms]
    text = f"{' + '.join(shown[:3])} + \\cdots + {shown[-1]} = {sum(terms) + error}"
    result = result_of(_finding(f"${text}$"))
    assert result == ("suspicion" if error else "correct")


@pytest.mark.parametrize("step", HOSTILE, ids=lambda step: step[:20])
def test_time_is_bounded(step: str) -> None:
    start = time.process_time()
    _finding(step)
    assert time.process_time() - start < MAX_SECONDS
