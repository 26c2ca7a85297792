"""Linear equations and values that have no common solution with earlier statements."""

import time

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.systems import LINEAR_SYSTEM
from verifiers.base import Finding, StepClaim

FALSE = (
    (("We get $3a + 5b = -8$ and $5a - 3b = 32$.",), "Solving this system, $a = 4$ and $b = -1$."),
    (("So m + h = 80 and m = 10h.",), "Inserting one into the other, we get 10h + h = 88."),
    (("Then $x + y = 10$.", "Also $x - y = 4$."), "Adding both, $2x = 16$."),
    ((), "The weights satisfy $p + q = 9$ and $p - q = 1$. Therefore $p = 6$ and $q = 3$."),
    ((), "We have $A + B = 4$ and $A - 2B = 5$, so $A = 1$ and $B = 3$."),
    ((), "From $a = -2b$ and $b = -1$ we see that $a = -2$."),
    (("Here $u + v + w = 12$, $u = v$ and $w = 2u$.",), "Hence $u = 4$."),
)
TRUE = (
    (("We get $3a + 5b = -8$ and $5a - 3b = 32$.",), "Solving this system, $a = 4$ and $b = -4$."),
    (("So m + h = 88 and m = 10h.",), "Inserting one into the other, we get 10h + h = 88."),
    (("Then $x + y = 10$.", "Also $x - y = 4$."), "Adding both, $2x = 14$."),
    ((), "The weights satisfy $p + q = 9$ and $p - q = 1$. Therefore $p = 5$ and $q = 4$."),
    (("Here $u + v + w = 12$, $u = v$ and $w = 2u$.",), "Hence $u = 3$."),
)
UNDECIDED = (
    # Cases and alternatives.
    ((), "If $a_2 = 0$, then $5a_1 + a_0 = 27$. But $a_2 + a_1 = 4$ and $a_1 = 3$, so $a_2 = 1$."),
    (("In the second case, $b = 9$ and $c = 12$.",), "$b + c = 20$"),
    ((), "Such digits satisfy $A - 1 = B$, such as $A = 3, B = 2$ or $A = 2, B = 1$."),
    (("Suppose $a + b = 7$ and $a = 4$.",), "So $b = 2$."),
    # Coordinates.
    (("The graph of $y = 4x + 6$ is given.",), "The line $y = 4x + b$ has $10 = 4 \\cdot 5 + b$."),
    ((), "The lines $y = x$ and $y = 2x$ meet. On the first, $x = 1$ and $y = 1$."),
    # Proportions and cut formulas.
    (("$AB = 6$, $AC = 10$.",), "$DB:DC = AB:AC$, and $DC = 5$, $DB = 3$."),
    (("4 - 3t = -2 + 2u", "-7 + 3t = -5 + 4u"), "t = \\frac{4}{3} + \\frac{1}{3} u."),
    # Statements that contradict each other already.
    (("We have $a + b = 7$, $a = 4$ and $b = 2$.",), "So $a + 2b = 11$."),
    # Products and decimals.
    (("$ab = 12$ and $a = 4$.",), "So $b = 2$."),
    (("$a + b = 0.7$ and $a = 0.33$.",), "So $b = 0.4$."),
)
HOSTILE = (
    "a + b = 1. " * 5_000,
    " ".join([f"$x_{{{index}}} + x_{{{index + 1}}} = {index}$." for index in range(200)]),
    "a = " + "(" * 20_000,
    "a + " * 20_000 + "a = 1",
)


def _finding(previous: tuple[str, ...], step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=previous, step=step))


@pytest.mark.parametrize(("previous", "step"), FALSE)
def test_contradiction_is_suspected(previous: tuple[str, ...], step: str) -> None:
    finding = _finding(previous, step)
    assert result_of(finding) == "suspicion"
    assert finding.rule == LINEAR_SYSTEM


@pytest.mark.parametrize(("previous", "step"), TRUE)
def test_common_solution_is_accepted(previous: tuple[str, ...], step: str) -> None:
    assert result_of(_finding(previous, step)) not in ("incorrect", "suspicion")


@pytest.mark.parametrize(("previous", "step"), UNDECIDED)
def test_doubtful_system_is_unknown(previous: tuple[str, ...], step: str) -> None:
    finding = _finding(previous, step)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.rule != LINEAR_SYSTEM or finding.assumptions


@pytest.mark.parametrize("text", HOSTILE)
def test_long_texts_take_bounded_time(text: str) -> None:
    started = time.process_time()
    _finding((text, text), text[:19_000])
    assert time.process_time() - started < 3


def test_reason_names_smallest_contradiction() -> None:
    finding = _finding(("$a + b = 7$, $c + d = 1$.",), "Since $a = 4$, we get $b = 2$.")
    assert finding.reason.endswith("b = 2: it contradicts a + b = 7 and a = 4")
