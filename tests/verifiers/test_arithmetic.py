from typing import Any

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import DATA, SHARED, rows
from verifiers.arithmetic import Arithmetic
from verifiers.arithmetic_rules.equations import MAX_RELATIONS
from verifiers.base import Finding, StepClaim

MAX_FALSE_ALARMS = 0.005
"""Share of the solutions without an error, by people's judgement, in which a step may be called incorrect."""


def _finding(step: str, question: str = "") -> Finding:
    return Arithmetic().verify(StepClaim(question=question, previous=(), step=step))


@pytest.mark.parametrize("case", rows(DATA / "arithmetic.jsonl"), ids=lambda case: case["step"])
def test_case(case: dict[str, Any]) -> None:
    assert _finding(case["step"]).verdict == case["verdict"]


@pytest.mark.parametrize("case", rows(DATA / "real_steps.jsonl"), ids=lambda case: case["source"])
def test_real_step(case: dict[str, Any]) -> None:
    assert _finding(case["step"]).verdict == case["verdict"]


def test_reason_shows_the_equation_and_the_true_value() -> None:
    assert _finding("So 2 + 2 = 5.").reason == "2 + 2 = 5: the left side is 4"


@pytest.mark.parametrize(
    ("text", "verdict"), [("2 + 2 = 4. ", Verdict.CORRECT), ("2 + 2 = 5. ", Verdict.INCORRECT)]
)
def test_so_many_equals_signs_are_looked_at_and_no_more(text: str, verdict: Verdict) -> None:
    assert _finding(MAX_RELATIONS * text).verdict is verdict
    beyond = _finding((MAX_RELATIONS + 1) * text)
    assert (beyond.verdict, beyond.reason) == (
        Verdict.UNKNOWN,
        "1,001 equals signs: more than 1,000 are not looked at",
    )


def test_other_arithmetic_in_the_question_silences() -> None:
    assert _finding("7 + 1 = 10", question="Add in base 8.").verdict is Verdict.UNKNOWN


def test_processbench_false_alarms() -> None:
    """Incorrect is said of hardly any solution that people found right, and of no step before the first wrong one."""
    traces = _shared("processbench-dev.jsonl")
    flagged = [(trace, step) for trace in traces if (step := _first_flagged(trace)) is not None]
    early = [trace["id"] for trace, step in flagged if trace["label"] > step]
    alarms = [trace["id"] for trace, _ in flagged if trace["label"] == -1]
    assert not early
    assert len(alarms) <= MAX_FALSE_ALARMS * sum(trace["label"] == -1 for trace in traces), alarms


def test_gsm8k_gold_is_flagged_only_where_it_is_false() -> None:
    truly_false = {"364 / 4 = 273 yards", "$32 - $20 = $300 left"}
    steps = [
        (row["question"], step)
        for row in _shared("gsm8k-test.jsonl")
        for step in row["answer"].split("\n")
    ]
    findings = [_finding(step, question) for question, step in steps]
    assert {
        f.reason.split(":")[0] for f in findings if f.verdict is Verdict.INCORRECT
    } == truly_false


def _first_flagged(trace: dict[str, Any]) -> int | None:
    for index, step in enumerate(trace["steps"]):
        if _finding(step, trace["problem"]).verdict is Verdict.INCORRECT:
            return index
    return None


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data beside the repository")
    return rows(SHARED / name)
