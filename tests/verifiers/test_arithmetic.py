"""Arithmetic of single steps, and of real solutions against human labels."""

from typing import Any

import pytest

from stepmark.records import Verdict
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA, SHARED, meets, result_of
from verifiers.arithmetic import Arithmetic
from verifiers.arithmetic_rules.equations import MAX_RELATIONS
from verifiers.base import Finding, StepClaim

# The share of solutions without an error, by human labels, that may contain an incorrect step.
MAX_FALSE_ALARMS = 0.005


def _finding(step: str, question: str = "") -> Finding:
    return Arithmetic().verify(StepClaim(question=question, previous=(), step=step))


@pytest.mark.parametrize(
    "case", read_json_lines(DATA / "arithmetic.jsonl"), ids=lambda case: case["step"]
)
def test_case(case: dict[str, Any]) -> None:
    assert meets(_finding(case["step"]), case["verdict"])


@pytest.mark.parametrize(
    "case", read_json_lines(DATA / "real_steps.jsonl"), ids=lambda case: case["source"]
)
def test_real_step(case: dict[str, Any]) -> None:
    assert meets(_finding(case["step"]), case["verdict"])


def test_reason_states_true_value() -> None:
    assert _finding("So 2 + 2 = 5.").reason == "2 + 2 = 5: the left side is 4"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("2 + 2 = 4. ", "correct"), ("2 + 2 = 5. ", "incorrect")],
)
def test_number_of_equations_is_limited(text: str, verdict: str) -> None:
    # Both sides of the limit.
    assert result_of(_finding(MAX_RELATIONS * text)) == verdict
    beyond = _finding((MAX_RELATIONS + 1) * text)
    assert beyond.verdict is Verdict.UNKNOWN
    assert beyond.reason == "1,001 equals signs: more than 1,000 are not checked"


# 7 + 1 = 10 is true in base 8.
def test_other_arithmetic_in_question_abstains() -> None:
    assert _finding("7 + 1 = 10", question="Add in base 8.").verdict is Verdict.UNKNOWN


def test_processbench_false_alarms() -> None:
    """Hardly any correct solution has an incorrect step, and no step before the first error is."""
    traces = _shared("processbench-dev.jsonl")
    early = list[str]()
    false_alarms = list[str]()
    for trace in traces:
        step = _first_incorrect(trace)
        if step is None:
            continue
        if trace["label"] == -1:
            false_alarms.append(trace["id"])
        elif step < trace["label"]:
            early.append(trace["id"])
    assert not early
    correct = sum(trace["label"] == -1 for trace in traces)
    assert len(false_alarms) <= MAX_FALSE_ALARMS * correct, false_alarms


def test_gsm8k_reference_alarms_are_true() -> None:
    alarms = set[str]()
    for row in _shared("gsm8k-test.jsonl"):
        for step in row["answer"].split("\n"):
            finding = _finding(step, row["question"])
            if finding.verdict is Verdict.INCORRECT:
                alarms.add(finding.reason.split(":")[0])
    # Two mistakes of the reference solutions themselves.
    assert alarms == {"364 / 4 = 273 yards", "$32 - $20 = $300 left"}


def _first_incorrect(trace: dict[str, Any]) -> int | None:
    for index, step in enumerate(trace["steps"]):
        if _finding(step, trace["problem"]).verdict is Verdict.INCORRECT:
            return index
    return None


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data next to the repository")
    return read_json_lines(SHARED / name)
