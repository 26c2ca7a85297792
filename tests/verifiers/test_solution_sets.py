"""Equations in one name against the equation from which they are derived."""

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.solution_sets import SOLUTION_SETS
from verifiers.base import Finding, StepClaim

FALSE = (
    "$x^2 - 5x + 6 = 0$, factoring, $(x - 2)(x - 4) = 0$.",
    "\\[ x^2 + x - 6 = 0 \\implies (x + 3)(x + 2) = 0 \\]",
    "y - 1 - 8y = -3 \n y - 8y = -3 - 1",
    "\\begin{align*} 3n + 4 &= 19 \\\\ 3n &= 23 \\end{align*}",
    "We get $2(a + 5) = 16$. Expanding: $2a + 5 = 16$.",
    "$x^3 - x = 0$, so $x(x - 1)(x - 2) = 0$.",
    "5k - 7 = 18 => 5k = 11",
)
FALSE_AFTER_STEP = (
    (("Step 5: 193 - x - 13 = 160",), "Step 6: -x + 18 = 160"),
    (("This leads to $4m + 12 = 40$.",), "Simplifying, $4m = 52$."),
    (("\\[ 6w - 9 = 3w \\]",), "\\[ 3w - 8 = 0 \\]"),
    (("So 7 - 2c = 1.",), "Subtracting 7 from both sides, -2c = 6."),
    (("We obtain $z^2 - 7z + 10 = 0$.",), "Factoring, $(z - 2)(z - 6) = 0$."),
)
TRUE = (
    "$x^2 - 5x + 6 = 0$, factoring, $(x - 2)(x - 3) = 0$.",
    "$x^2 = 5x$, dividing both sides by $x$, we get $x - 5 = 0$.",
    "$x - 3 = 2$. Squaring both sides, $(x - 3)^2 = 4$.",
    "\\begin{align*} 3n + 4 &= 19 \\\\ 3n &= 15 \\end{align*}",
    "5k - 7 = 18 => 5k = 25",
    "$x^3 - x = 0$, so $x(x - 1)(x + 1) = 0$.",
)
UNDECIDED = (
    # Cases, in words or in lines.
    "$x - 8 = 12$ or $x - 8 = -12$",
    "$x - 8 = 12$ \n $x - 8 = -12$",
    "$(x + 2)(x - 4) = 0$ holds. $x + 2 = 0$ \n $x - 4 = 0$",
    "If $2a - 17 = 1$, fine. If $2a - 17 = 17$, also.",
    # Lines of a calculation.
    "$z^3 + z = z + 1$ \n $z + 1 = 2z^2$",
    # Another equation.
    "$3p = 12$ is the first one, and the second one is $3p = 15$.",
    "Solving $4x - 2 = 8$, fine. Solving $2x - 4 = 8$ is next.",
    "From $x^2 = 7$ we pass to the cubes: $x^3 = 8$.",
    # Lost notation.
    "x-618=3 ⇒ x-6=3*18",
    "46x+220/x+4=48 ⇒ 2x=28",
)


def _finding(step: str, previous: tuple[str, ...] = ()) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=previous, step=step))


def _check_contradiction(finding: Finding) -> None:
    """Check that an equation is suspected, or refuted by `consequence`, which is more reliable."""
    expected = {"solution sets": "suspicion", "consequence": "incorrect"}
    assert result_of(finding) == expected[finding.rule]


@pytest.mark.parametrize("step", FALSE)
def test_other_roots_are_suspected(step: str) -> None:
    finding = _finding(step)
    _check_contradiction(finding)


@pytest.mark.parametrize(("previous", "step"), FALSE_AFTER_STEP)
def test_step_before_is_continued(previous: tuple[str, ...], step: str) -> None:
    finding = _finding(step, previous)
    _check_contradiction(finding)


@pytest.mark.parametrize("step", TRUE)
def test_derived_equation_is_accepted(step: str) -> None:
    assert result_of(_finding(step)) not in ("incorrect", "suspicion")


@pytest.mark.parametrize("step", UNDECIDED)
def test_other_equation_is_unknown(step: str) -> None:
    finding = _finding(step)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.rule != SOLUTION_SETS
