"""What steps say about the midpoint, the distance and the slope of two points."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.points import POINTS
from verifiers.base import Finding, StepClaim

TRUE = (
    "The midpoint of $(2, 4)$ and $(6, -4)$ is $(4, 0)$.",
    "So the midpoint of the segment joining \\((1, 0)\\) and \\((2, 5)\\) is \\((1.5, 2.5)\\).",
    "The slope of the line through (1, 2) and (3, 8) is 3.",
    "The distance between $(0, 0)$ and $(3, 4)$ is $5$.",
    "The distance from $A(1, 1)$ to $B(2, 3)$ is $\\sqrt{5}$.",
    "the midpoint between (0, 7) and (3, 7) is \\left(\\frac{3}{2}, 7\\right)",
)
FALSE = (
    "The midpoint of $(2, 4)$ and $(6, -4)$ is $(4, 4)$.",
    "So the midpoint of the segment joining \\((1, 0)\\) and \\((2, 5)\\) is \\((1, 2.5)\\).",
    "The slope of the line through (1, 2) and (3, 8) is 2.",
    "The distance between $(0, 0)$ and $(3, 4)$ is $7$.",
    "The distance from $A(1, 1)$ to $B(2, 3)$ is $\\sqrt{3}$.",
    "The slope of the line connecting $(0, 1)$ and $(4, 3)$ is $-\\frac{1}{2}$.",
    "the midpoint between (0, 7) and (3, 7) is \\left(\\frac{3}{4}, 7\\right)",
)
OTHER = (
    "The midpoint of $(a, 4)$ and $(6, -4)$ is $(4, 4)$.",
    "The slope of the line perpendicular to that through (1, 2) and (3, 8) is x.",
    "The distance between (1, 1) and (2, 3) is about 2.2.",
    "The slope of the line through (1, 2) and (1, 8) is 0.",
    "The midpoint of (1, 2, 3) and (3, 4, 5) is (2, 3, 5).",
    "The midpoint of (1, 2) and (3, 4) lies on the line through (5, 5).",
    "The distance of (1, 2) is 3.",
    # Another value than that of the two points.
    "The square of the distance between (0, 0) and (3, 4) is 25.",
    "The squared distance between (0, 0) and (3, 4) is 25.",
    "Half the distance between (0, 0) and (6, 8) is 5.",
    "The horizontal distance between (1, 2) and (4, 6) is 3.",
    "The slope of the altitude to the side joining (0, 0) and (2, 4) is -1/2.",
    "The negative reciprocal of the slope of the line through (1, 2) and (3, 8) is -1/3.",
    "The reflection of the midpoint of (0, 0) and (2, 4) is (2, 1).",
    "The distance between the projections of (1, 2) and (4, 6) is 3.",
)


def _finding(step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(), step=step))


@pytest.mark.parametrize("step", TRUE)
def test_true_statement_about_points_holds(step: str) -> None:
    finding = _finding(step)
    assert finding.holding == finding.checked >= 1, finding.reason


@pytest.mark.parametrize("step", FALSE)
def test_false_statement_about_points_is_suspected(step: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == POINTS


@pytest.mark.parametrize("step", OTHER)
def test_other_statement_is_not_suspected(step: str) -> None:
    assert result_of(_finding(step)) != "suspicion"
