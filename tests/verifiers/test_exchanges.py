"""States of names before and after an exchange."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.exchanges import EXCHANGE
from verifiers.base import Finding, StepClaim

BEFORE = "At the start: Ann: red, Bo: blue, Cy: the green one."
TRUE = (
    "Ann and Bo swap balls: Ann: blue, Bo: red, Cy: the green one.",
    "Cy and Bo trade: Ann: red, Bo: green one, Cy: blue.",
    "Then, Bo and Ann switch: Cy: green, Bo: red, Ann: blue",
    "Ann and Cy exchange their balls: Ann: the green one, Bo: blue, Cy: red.",
    "Ann and Cy swapped: Ann: green one; Bo: blue; Cy: red",
)
FALSE = (
    "Ann and Bo swap balls: Ann: red, Bo: blue, Cy: the green one.",
    "Cy and Bo trade: Ann: green one, Bo: red, Cy: blue.",
    "Then, Bo and Ann switch: Cy: blue, Bo: red, Ann: green",
    "Ann and Cy exchange their balls: Ann: the green one, Bo: red, Cy: blue.",
    "Ann and Cy swapped: Ann: green one; Bo: blue; Cy: blue",
)
NOT_READ = (
    "Ann and Bo swap, and then Bo and Cy trade: Ann: blue, Bo: the green one, Cy: red.",
    "Ann and Bo swap twice: Ann: red, Bo: blue, Cy: the green one.",
    "Ann and Bo swap and swap back: Ann: red, Bo: blue, Cy: the green one.",
    "Before Ann and Bo swap: Ann: red, Bo: blue, Cy: the green one.",
    "Ann and Bo swap seats, which changes nothing: Ann: red, Bo: blue, Cy: the green one.",
    "Not Ann and Bo swap but Bo and Cy: Ann: red, Bo: the green one, Cy: blue.",
    "Ann and Bo swap balls.",
    "Ann and Bo swap balls: Ann: red, Bo: blue.",
    "Ann and Dan swap balls: Ann: red, Bo: blue, Cy: the green one.",
    "Ann and Bo swap: Ann: red, Bo: blue, Cy: green. Bo and Cy swap: Ann: blue, Bo: red, Cy: red.",
    "Ann and Bo talk: Ann: red, Bo: blue, Cy: the green one.",
    "Ann and Bo swap balls: Ann: red, Ann: blue, Bo: blue, Cy: the green one.",
)


def _finding(step: str, *previous: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=previous, step=step))


@pytest.mark.parametrize("step", TRUE)
def test_right_state_holds(step: str) -> None:
    finding = _finding(step, BEFORE)
    assert finding.holding == finding.checked == 1, finding.reason


@pytest.mark.parametrize("step", FALSE)
def test_wrong_state_is_suspected(step: str) -> None:
    finding = _finding(step, BEFORE)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == EXCHANGE


@pytest.mark.parametrize("step", NOT_READ)
def test_other_state_is_unknown(step: str) -> None:
    assert _finding(step, BEFORE).checked == 0


def test_state_without_step_before_is_unknown() -> None:
    assert _finding(TRUE[0]).checked == 0
