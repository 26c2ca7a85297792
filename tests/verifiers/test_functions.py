"""Functions as atoms: unknown ones, ones that the question defines, and known ones."""

import time

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.base import Finding, StepClaim

DEFINED = "Let $f(x) = x^2 + 3x$. What is the expansion?"
UNKNOWN_FUNCTION = (
    # Equal for every function.
    ("$2(f(x) + 1) = 2f(x) + 2$", "correct"),
    ("$f(x+1) + f(1+x) = 2f(x + 1)$", "correct"),
    ("$(f(x) - g(x))(f(x) + g(x)) = f(x)^2 - g(x)^2$", "correct"),
    ("$f(2(x + 1)) - f(2x + 2) + 3 = 3 + f(x) - f(x)$", "correct"),
    ("$\\frac{f(n)^2 - 1}{f(n) - 1} = f(n) + 1$", "correct"),
    # Equal for no function.
    ("$S = 2(f(x) + 1) = 2f(x) + 1$", "incorrect"),
    ("$S = 3(g(n) - 2) + 1 = 3g(n) - 7$", "incorrect"),
    ("Simplifying, $f(x+1) + 2 - f(1+x) = 3 + f(0) - f(0)$", "incorrect"),
    # Equal for some functions only.
    ("$f(x + y) = f(x) + f(y)$", "unknown"),
    ("$f(x) + f(y) = 2f(x)$", "unknown"),
    ("$f(x)f(-y) = f(x)f(y)$", "unknown"),
    ("$2f(0) = f(0)^2$", "unknown"),
    ("$f(f(x)) + x = x + f(x)$", "unknown"),
    ("$f'(x) + 1 = f(x) + 1$", "unknown"),
)
DEFINED_FUNCTION = (
    ("$f(x+1) = x^2 + 5x + 4$", "correct"),
    ("$f(-x) = x^2 - 3x$", "correct"),
    ("$f(2t) = 4t^2 + 6t$", "correct"),
    ("$f(a + b) = (a+b)^2 + 3(a+b)$", "correct"),
    ("$f(x - 1) = f(x) - 2x - 2$", "correct"),
    ("$f(x+1) = x^2 + 5x + 5$", "false"),
    ("$f(-x) = x^2 + 3x$", "false"),
    ("$f(-x) = -x^2 - 3x - 1$", "false"),
    ("$f(2t) = 4t^2 + 6t + 1$", "false"),
    ("$f(x - 1) = x^2 + x + 2$", "false"),
    # Conditions.
    ("We solve $f(a) = a^2 + 9$.", "unknown"),
    ("$f(a) = 2a$", "unknown"),
    ("$f(x) = 0$", "unknown"),
    ("$f(x + 1) = c$", "unknown"),
    ("If $f(x+1) = x^2 + 5x + 5$, then", "unknown"),
)
KNOWN_FUNCTION = (
    # Known identities, which would be false if the functions were independent.
    ("We know that $\\sin^2 x + \\cos^2 x = \\cos^2 y + \\sin^2 y$.", "correct"),
    ("Recall that $\\sin(2x) = 2\\sin x\\cos x$.", "correct"),
    ("By the identity $\\cos(90° - x) = \\sin x$,", "correct"),
    ("We know that $\\tan(180° - x) = -\\tan x$.", "correct"),
    ("Using the property $\\ln(ab) = \\ln a + \\ln b$,", "correct"),
    ("$y = 1 - \\sin^2 x = \\cos^2 x$", "correct"),
    ("$y = \\sin(90° - x)\\sin x + \\cos x = \\cos x \\sin x + \\cos x$", "correct"),
    ("Recall that $\\cos(2x) = 1 - 2\\sin^2 x$.", "correct"),
    # Identities that are stated and false.
    ("Recall that $\\sin(2x) = 2\\sin x$.", "false"),
    ("Using the fact that $\\tan(180° - x) = \\cot x$,", "false"),
    ("By the property of logarithms, $\\ln(a + b) = \\ln a + \\ln b$.", "false"),
    ("By the identity $\\cos(2x) = 2\\cos^2 x + 1$,", "false"),
    ("We know that $\\sin(180° - x) = \\cos x$.", "false"),
    # Conditions, and identities that hold somewhere.
    ("Solving $\\sin x = 2\\cos x$,", "unknown"),
    ("$\\sin x = 2\\cos x$", "unknown"),
    ("Recall that $\\sqrt{x^2} = x$.", "unknown"),
    ("Recall that $\\sin x = \\sqrt{1 - \\cos^2 x}$.", "unknown"),
    ("We are given that $\\cos x = \\cos 2x$, and we know that.", "unknown"),
    ("Since we know that $\\log(x^2) = \\ln(x^3)$,", "unknown"),
    ("By the law of cosines, $c^2 = a^2 + b^2 - 2ab\\cos C$.", "unknown"),
)
# Much more than the time on a busy machine.
MAX_SECONDS = 20.0


def _finding(step: str, question: str = "", previous: tuple[str, ...] = ()) -> Finding:
    return Algebra().verify(StepClaim(question=question, previous=previous, step=step))


def _meets(finding: Finding, expected: str) -> bool:
    """Return whether the result is expected; a false statement is suspected."""
    if expected == "false":
        return result_of(finding) == "suspicion"
    return result_of(finding) == expected


@pytest.mark.parametrize(("step", "expected"), UNKNOWN_FUNCTION)
def test_unknown_function_may_have_any_values(step: str, expected: str) -> None:
    finding = _finding(step)
    assert _meets(finding, expected), finding


@pytest.mark.parametrize(("step", "expected"), DEFINED_FUNCTION)
def test_argument_is_put_into_definition(step: str, expected: str) -> None:
    finding = _finding(step, DEFINED)
    assert _meets(finding, expected), finding


@pytest.mark.parametrize(("step", "expected"), KNOWN_FUNCTION)
def test_known_functions_are_evaluated(step: str, expected: str) -> None:
    finding = _finding(step)
    assert _meets(finding, expected), finding


def test_given_equation_is_no_identity() -> None:
    question = "If $\\sin x = 3\\cos x$, what is $\\sin x \\cos x$?"
    finding = _finding("We know that $\\sin x = 3\\cos x$.", question)
    assert result_of(finding) != "incorrect"


@pytest.mark.parametrize(
    "step",
    [
        "f(" * 20 + "x" + ")" * 20 + " = x^2 + x",
        " + ".join(["f(x)"] * 50) + " = x",
        " + ".join([f"f(x + {number})" for number in range(40)]) + " = x + 1",
        "f(x) = " + "f(x)" * 5_000,
        "$y = f(" + "f(x+1)+" * 12 + "1) = f(x)$",
    ],
    ids=["nested", "sum", "many", "product", "inner"],
)
def test_time_is_bounded(step: str) -> None:
    start = time.process_time()
    _finding(step, "Let $f(x) = x^3 + x^2 + x + 1$.")
    assert time.process_time() - start < MAX_SECONDS
