"""Pairs that are claimed as solutions, against the equations in two names."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.solution_pairs import SOLUTION_PAIR
from verifiers.base import Finding, StepClaim

SYSTEM = "The equations are $x + y = 5$ and $xy = 6$."
CURVES = "We get 3x^2 + 3y = 0 and 3y^2 + 3x = 0."
TRUE = (
    (SYSTEM, "The solutions are $(2, 3)$ and $(3, 2)$."),
    (SYSTEM, "One solution is (2,3)."),
    (CURVES, "One possible solution is (0,0) and another is (-1,-1)."),
    ("$4a - b = 1$ and $2a + b = 2$.", "The solution is \\((1/2, 1)\\)."),
    ("", "From $p + q = 1$ and $p - q = 3$, the solution is $(2, -1)$."),
)
FALSE = (
    (SYSTEM, "The solutions are $(2, 3)$ and $(1, 4)$."),
    (SYSTEM, "One solution is (2,4)."),
    (CURVES, "One possible solution is (0,0) and another is (-1,1)."),
    ("$4a - b = 1$ and $2a + b = 2$.", "The solution is \\((1/2, 2)\\)."),
    ("", "From $p + q = 1$ and $p - q = 3$, the solution is $(-1, 2)$."),
)
NOT_READ = (
    (SYSTEM, "The solutions of the first equation are (1, 4) and (2, 3)."),
    (SYSTEM, "Some solutions of the linear equation are (0, 5) and (5, 0)."),
    (SYSTEM, "The possible solutions are (1, 4), (2, 3)."),
    (SYSTEM, "The candidate solutions are (1, 4), (2, 3)."),
    (SYSTEM, "The solutions on the line are (0, 5), (1, 4)."),
    (SYSTEM, "The solution is not $(1, 4)$."),
    ("The line is $x + y = 5$.", "One solution is (1, 1)."),
    (SYSTEM, "The line meets the axis at (5, 0)."),
    ("We have $x + y = 5$ and $a b = 6$.", "The solution is (1, 1)."),
    (SYSTEM, "The solutions are the points of the form (1, 4)."),
)


def _finding(previous: str, step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(previous,), step=step))


@pytest.mark.parametrize(("previous", "step"), TRUE)
def test_right_pair_holds(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert finding.holding == finding.checked >= 1, finding.reason


@pytest.mark.parametrize(("previous", "step"), FALSE)
def test_wrong_pair_is_suspected(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == SOLUTION_PAIR


@pytest.mark.parametrize(("previous", "step"), NOT_READ)
def test_other_pair_is_not_suspected(previous: str, step: str) -> None:
    assert result_of(_finding(previous, step)) != "suspicion"
