"""Formulas that contain an expression whose value is stated before."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.known_expressions import KNOWN_EXPRESSION
from verifiers.base import Finding, StepClaim

SUM = "So $x + \\frac{1}{x} = 3$."
TRUE = (
    (SUM, "Then $(x + \\frac{1}{x})^2 = x^2 + 2 + \\frac{1}{x^2} = 9$."),
    ("", "We have $a + b = 4$ and thus $(a + b)^3 = 64$."),
    ("We know that $xy = 6$.", "Therefore $2(xy) - 5 = 7$."),
    ("", "$\\sin t + 1 = \\frac{3}{2}$, hence $4(\\sin t + 1) = 6$."),
    ("We get $p - q = \\sqrt{2}$.", "So $(p - q)^4 = 4$."),
)
FALSE = (
    (SUM, "Then $(x + \\frac{1}{x})^2 = x^2 + 2 + \\frac{1}{x^2} = 3$."),
    ("", "We have $a + b = 4$ and thus $(a + b)^3 = 12$."),
    ("We know that $xy = 6$.", "Therefore $2(xy) - 5 = 17$."),
    ("", "$\\sin t + 1 = \\frac{3}{2}$, hence $4(\\sin t + 1) = 5$."),
    ("We get $p - q = \\sqrt{2}$.", "So $(p - q)^4 = 2$."),
)
NOT_READ = (
    ("", "The first factor gives x^2 = 4; the second factor gives x^2 - 9 = 0."),
    ("", "In the first shop, x + y = 10. In the second shop, 2(x + y) = 24."),
    ("", "When k = 1, 2k + 1 = 3. When k = 2, (2k + 1)^2 = 25."),
    ("", "The old sum was a + b = 20, and the new sum is a + b + 2 = 24."),
    ("", "We get x^2 = 4, and from the circle x^2 + 3 = 5."),
    ("If $x + y = 3$, we stop.", "The other case is $(x + y)^2 = 16$."),
    (SUM, "Then $x^2 + \\frac{1}{x^2} = 8$."),
    ("", "Suppose $a + b = 4$. Otherwise, $(a + b)^2 = 25$."),
    ("", "We have $a + b = 0.3$ and thus $(a + b)^2 = 1$."),
    ("", "We have $a + b = 4$, so $(a + b)c = 12$."),
)


def _finding(previous: str, step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(previous,), step=step))


@pytest.mark.parametrize(("previous", "step"), TRUE)
def test_right_value_holds(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert finding.holding == finding.checked >= 1, finding.reason


@pytest.mark.parametrize(("previous", "step"), FALSE)
def test_wrong_value_is_suspected(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == KNOWN_EXPRESSION


@pytest.mark.parametrize(("previous", "step"), NOT_READ)
def test_other_value_is_not_suspected(previous: str, step: str) -> None:
    assert result_of(_finding(previous, step)) != "suspicion"
