"""What steps say about the sum and the product of the roots of a polynomial."""

import time

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.vieta import VIETA
from verifiers.base import Finding, StepClaim

FALSE = (
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is 3.",
    "We have $2x^2 + 8x - 6 = 0$. By Vieta, the product of the roots is $-6/2 = 3$.",
    "The sum of the roots of $x^2 + 7x + 10$ is $7$.",
    "The sum of the roots of the equation $x^3 - 4x^2 + x - 1 = 0$ is $\\boxed{-4}$.",
    "Since \\(3t^2 - t = 4\\), the sum of its roots equals \\(-\\frac{1}{3}\\).",
    "We get $x^3 + 2x - 8 = 0$, so the product of the three roots is -8.",
)
TRUE = (
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is 5.",
    "We have $2x^2 + 8x - 6 = 0$. By Vieta, the product of the roots is $-6/2 = -3$.",
    "The sum of the roots of $x^2 + 7x + 10$ is $-7$.",
    "The sum of the roots of the equation $x^3 - 4x^2 + x - 1 = 0$ is $\\boxed{4}$.",
    "We get $x^3 + 2x - 8 = 0$, so the product of the three roots is 8.",
)
UNDECIDED = (
    # Some of the roots, or something else about them.
    "For $x^4 - 5x^2 + 4 = 0$, the sum of the positive roots is 3.",
    "For $x^2 - 4x + 4 = 0$, the sum of the distinct roots is 2.",
    "For $x^2 - 4x + 4 = 0$, the sum of the solutions is 2.",
    "For $x^2 - 5x + 6 = 0$, the sum of the reciprocals of the roots is 5/6.",
    # Other polynomials.
    "The sum of the roots of $x^2 - px + 3 = 0$ is 6, so $p = 6$.",
    "For $x^2 - 5x + 3 = 0$ and $x^2 - 6x + 3 = 0$, the sum of the roots is 6.",
    # Not a number alone.
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is $-b/a$.",
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is 3 more than 2.",
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is 3 + 2.",
    "For $x^2 - 5x + 3 = 0$, the sum of the roots is 2.5 times 2.",
)
HOSTILE = (
    "For $x^2 - 5x + 3 = 0$ it is. " * 100 + "the sum of the roots is 3. " * 500,
    "sum of the roots of " * 5_000,
    "sum of the roots is $" + "1" * 100_000,
    "the sum of the roots of $" + "x" * 100_000,
    "\\boxed{" * 10_000 + " roots",
    "sum of the roots is $\\boxed{" + "{" * 50_000,
)


def _finding(step: str, previous: tuple[str, ...] = (), question: str = "") -> Finding:
    return Algebra().verify(StepClaim(question=question, previous=previous, step=step))


@pytest.mark.parametrize("step", FALSE)
def test_wrong_sum_is_suspected(step: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == "suspicion"
    assert finding.rule == VIETA


@pytest.mark.parametrize("step", TRUE)
def test_right_sum_holds(step: str) -> None:
    finding = _finding(step)
    assert result_of(finding) not in ("incorrect", "suspicion")
    assert finding.holding > 0


@pytest.mark.parametrize("step", UNDECIDED)
def test_other_sum_is_unknown(step: str) -> None:
    finding = _finding(step)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.rule != VIETA


def test_polynomial_of_step_before_is_used() -> None:
    before = ("We get $x^2 - 5x + 3 = 0$.",)
    assert result_of(_finding("The sum of the roots is $6$.", before)) == "suspicion"
    question = "What do we know about the roots if $x^2 - 5x + 3 = 0$?"
    assert result_of(_finding("The sum of the roots is $6$.", question=question)) == "suspicion"


@pytest.mark.parametrize("text", HOSTILE)
def test_long_texts_take_bounded_time(text: str) -> None:
    started = time.process_time()
    _finding(text[:19_900])
    assert time.process_time() - started < 2
