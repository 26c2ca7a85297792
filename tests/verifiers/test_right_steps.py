"""Right steps that are easily misread: no checker may call them incorrect.

The cases are our own, made after kinds of text on which earlier versions raised false alarms.
"""

from typing import Any

import pytest

from stepmark.records import Verdict
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA, result_of
from verifiers.algebra import Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import Finding, StepClaim

CASES = read_json_lines(DATA / "right_steps.jsonl")
# A false step near each kind, which the strict reading still finds.
FALSE_STEPS = (
    "5 - 3 + 2 = 0",
    "(2 + 3)(2 - 3) = 13",
    "20 + 8 + 8 = 40",
    "4 × 3 × 2 × 1 = 25",
    "60 ÷ (2 + 3) = 13",
    "1,500 + 500 = 2,100",
    "$(30 + 4) \\times 2 = 70$",
    "20 apples × 5 = 110 apples",
    "So the total is 3 + 40 = 44.",
    "5! / 3! = 21",
    "\\sqrt{50} = 2\\sqrt{5}",
    "2x + 3 = 7 ⇒ 2x = 5",
    "A = (x + 2)(x + 3) = x^2 + 6x + 6",
    "A = (x + 2)(x + 3) = x^2 + 5x + 5",
    r"$y = \frac{(n-2)(n^2+1)(n+3)(n-2)^2}{(n-2)(n+3)(n^2+1)(n^2+5)} = \frac{(n-2)^3}{n^2+5}$",
    "Expanding, we get A = (x + 2)(x + 3) = x^2 + 6x + 5",
)


def _findings(claim: StepClaim) -> tuple[Finding, Finding]:
    return Arithmetic().verify(claim), Algebra().verify(claim)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['step']}")
def test_right_step_is_not_incorrect(case: dict[str, Any]) -> None:
    claim = StepClaim(
        question=case.get("question", ""),
        previous=tuple(case.get("previous", ())),
        step=case["step"],
    )
    for finding in _findings(claim):
        assert finding.verdict is Verdict.UNKNOWN, finding.reason


@pytest.mark.parametrize("step", FALSE_STEPS)
def test_false_step_is_incorrect(step: str) -> None:
    results = [result_of(finding) for finding in _findings(_claim(step))]
    assert "incorrect" in results


def test_finding_names_rule_and_assumptions() -> None:
    finding, _ = _findings(_claim("So 3 apples + 40 = 44."))
    assert finding.verdict is Verdict.INCORRECT
    assert finding.rule == "equation"
    assert finding.assumptions == ("words precede it", "units are skipped")


def test_unreliable_assumption_gives_suspicion() -> None:
    finding, _ = _findings(_claim("We suppose this: 3 + 40 = 44."))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason.startswith("suspicion (equation; ")
    assert (finding.checked, finding.holding) == (1, 0)


def test_true_equations_are_counted() -> None:
    finding, _ = _findings(_claim("1 + 2 = 3, 2 + 3 = 5, and 4 * 5 = 20."))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason == "holds: 3 of 3 equations"
    assert (finding.checked, finding.holding) == (3, 3)


def _claim(step: str) -> StepClaim:
    return StepClaim(question="", previous=(), step=step)
