"""Claimed values of names against the equations that are stated about them."""

import time

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.claimed_solutions import CLAIMED_SOLUTION
from verifiers.base import Finding, StepClaim

FALSE = (
    "The equation is $2x + 1 = 7$. There is one unknown only. Solving for it, we get $x = 4$.",
    "We are told that 3n - 5 = 16, where n counts the boxes. Dividing everything, we find n = 6.",
    "\\[ 5t + 2 = 17 \\] Now the tank is full at that moment. Therefore \\( t = 4 \\).",
    "Both plans cost the same: 20 + 3m = 5m. The plans agree exactly once. So m = 8.",
    "The condition reads $\\frac{x}{4} + 1 = 3$. This has one solution. Hence $x = 6$.",
    "The lengths satisfy $x^2 - 5x + 6 = 0$. It factors. So $x = 2$ or $x = 4$.",
    "We need $|x - 3| = 2$. Then $x = 5$ or $x = 2$.",
    "We have $\\sqrt{x + 1} = 3$. Squaring removes the root. Therefore $x = 9$.",
)
FALSE_AFTER_STEP = (
    (("So we can write 30 + 4y = 54.",), "Step 7: Solving for y, we get y = 5."),
    (("This gives \\[ 6 - X = 3. \\]",), "So $X = 3 - 6 = -3$."),
    (("Hence 8k = 72 in all.",), "Each box weighs the same. We obtain k = 8."),
    (("Adding the parts: x + 2x + 3x = 90.",), "Solving this, x = 90 / 5 = 18."),
    (("The balance is $100 - 7w = 44$.",), "Rearranging and dividing gives $w = 9$."),
)
TRUE = (
    "The equation is $2x + 1 = 7$. There is one unknown only. Solving for it, we get $x = 3$.",
    "The lengths satisfy $x^2 - 5x + 6 = 0$. It factors. So $x = 2$ or $x = 3$.",
    "The lengths satisfy $x^2 - 9 = 0$. A length is positive, so $x = 3$.",
    "We need $x^2 = 2$ and $x > 0$. So $x = \\sqrt{2}$.",
    "\\[ 5t + 2 = 17 \\] Now the tank is full at that moment. Therefore \\( t = 3 \\).",
)
UNDECIDED = (
    # Cases and alternatives.
    "Either $x - 8 = 12$ or $x - 8 = -12$. In the end $x = 20$ or $x = -4$.",
    "If $2x + 1 = 7$, the sum is odd. Otherwise $x = 5$.",
    "When 2n + 1 = 9, the row is full. For n = 2 it is not.",
    "We have $x - 4 = 0$, which gives $x = 4$, and $x + 2 = 0$, which gives $x = -2$.",
    "The first equation is $x + 3 = 8$, so $x = 5$; the second is $x + 3 = 10$, so $x = 7$.",
    # Values that are tried, chosen or refuted.
    "The equation is $2x + 1 = 7$. Let x = 1 for the start.",
    "From $n^2 - n = 110$, n = 10 is too small.",
    "Substituting $x = 2$ into $x^2 + 1 = 10$ does not work.",
    "Check $x = 5$ in $2x + 1 = 7$: it fails.",
    # Rounding and whole numbers.
    "Since 7x = 50, the nearest whole number is x = 7.",
    "Because 3x = 10, at most x = 3 boxes fit.",
    # Lost notation.
    "96/x-4-96/x=4 so finally x=12",
    "We have 5000 = 72(100/R)2. Hence R = 12.",
    "Then $x−618=3$. So $x - 6 = 54$ and $x = 60$.",
    # Angles and other units.
    "We get $\\sin 3x = \\frac{1}{2}$. Therefore $x = 10^\\circ$.",
    # Functions and words.
    "$f(x) + 1 = 7$ holds there. So $x = 4$.",
)
UNDECIDED_AFTER_STEP = (
    (("For $b = 0$, $2^x - 4 = 0$, so $x = 2$.",), "For $a = 0$, $x = \\frac{1}{2}$."),
    (("If $r = 2$, then $s^2 = 4$.",), "If $r = -1$, then $s = 1$."),
    (("Then $a^2 = -4$ has no real solutions.",), "Therefore, $a = 2$."),
    (("In case 1, $3c + 1 = 10$.",), "In the other one, $c = 4$."),
    (("Suppose $3c + 1 = 10$.",), "Therefore $c = 4$."),
)
HOSTILE = (
    "We have $2x + 1 = 7$. " * 32 + "Then $x = 4$. " * 32,
    "".join([f"We have ${number}x + 1 = {3 * number + 1}$. " for number in range(2, 34)])
    + "Then $x = 4$. " * 32,
    "".join([f"It is $(x - 3)({number}x + 1)^{{12}} = 0$. " for number in range(2, 34)])
    + "Then $x = 4$. " * 32,
    "So $x^2 = 4$. Then $x = 3$ or $x = 5$. " * 100,
)


def _finding(step: str, previous: tuple[str, ...] = (), question: str = "") -> Finding:
    return Algebra().verify(StepClaim(question=question, previous=previous, step=step))


@pytest.mark.parametrize("step", FALSE)
def test_false_solution_is_suspected(step: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == "suspicion"
    assert finding.rule == CLAIMED_SOLUTION


@pytest.mark.parametrize(("previous", "step"), FALSE_AFTER_STEP)
def test_equation_of_step_before_is_used(previous: tuple[str, ...], step: str) -> None:
    finding = _finding(step, previous)
    assert result_of(finding) == "suspicion"
    assert finding.rule == CLAIMED_SOLUTION


@pytest.mark.parametrize("step", TRUE)
def test_true_solution_is_accepted(step: str) -> None:
    assert result_of(_finding(step)) not in ("incorrect", "suspicion")


@pytest.mark.parametrize("step", UNDECIDED)
def test_doubtful_solution_is_unknown(step: str) -> None:
    finding = _finding(step)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.rule != CLAIMED_SOLUTION


@pytest.mark.parametrize(("previous", "step"), UNDECIDED_AFTER_STEP)
def test_equation_of_other_case_is_unused(previous: tuple[str, ...], step: str) -> None:
    finding = _finding(step, previous)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.rule != CLAIMED_SOLUTION


def test_earlier_equation_gives_suspicion() -> None:
    finding = _finding("So x = 4.", ("We have 2x + 1 = 7.", "There is one unknown."))
    assert result_of(finding) == "suspicion"
    question = "Find the number x for which 2x + 1 = 7."
    assert result_of(_finding("We get x = 4.", question=question)) == "suspicion"
    options = "Which one is right? A) x + 1 = 4 B) x + 1 = 5"
    assert result_of(_finding("We get x = 4.", question=options)) == "unknown"


@pytest.mark.parametrize("step", HOSTILE, ids=lambda step: step[:20])
def test_long_texts_take_bounded_time(step: str) -> None:
    started = time.process_time()
    _finding(step)
    assert time.process_time() - started < 5
