"""Algebra of single steps, generated equations, and real solutions against human labels."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA, SHARED, meets, result_of
from verifiers.algebra import MAX_CHARS, MAX_LINKS, Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import Finding, StepClaim

CASES = read_json_lines(DATA / "algebra.jsonl")
# The share of solutions without an error, by human labels, that may contain an incorrect step.
MAX_FALSE_ALARMS = 0.005
# The checker is right and the human label wrong; `benchmarks/README.md` contains the proofs.
PROVEN = {"omnimath-637", "omnimath-207", "olympiadbench-451"}
# The minimum share of first errors that is detected, in a subset and in all.
MIN_DETECTED = {"gsm8k": 0.10, "": 0.06}


def _finding(step: str, question: str = "", previous: tuple[str, ...] = ()) -> Finding:
    return Algebra().verify(StepClaim(question=question, previous=previous, step=step))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["step"])
def test_case(case: dict[str, Any]) -> None:
    previous = tuple(case.get("previous", ()))
    assert meets(_finding(case["step"], case.get("question", ""), previous), case["verdict"])


@pytest.mark.parametrize(
    "case", read_json_lines(DATA / "real_algebra.jsonl"), ids=lambda case: case["source"]
)
def test_real_step(case: dict[str, Any]) -> None:
    assert meets(_finding(case["step"]), case["verdict"])


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (
            r"$\sqrt{50} = 2\sqrt{5}$",
            r"\sqrt{50} = 2\sqrt{5}: the left side is 7.07107, the right side 4.47214",
        ),
        # The reason names the statement from which it does not follow.
        ("3x = 51 ⇒ x = 16", "x = 16: it does not follow from 3x = 51"),
        (
            "3x = 51, so x = 16",
            "suspicion (consequence; a conclusion is drawn from the statement before it):"
            " x = 16: it does not follow from 3x = 51",
        ),
        (
            "(x+1)^2 = x^2 + 2x + 2",
            "suspicion (no solution; an equation without solution is a rewriting):"
            " (x+1)^2 = x^2 + 2x + 2: the sides differ, as at x = 12",
        ),
    ],
)
def test_reason_explains_false_statement(step: str, reason: str) -> None:
    assert _finding(step).reason == reason


def test_refuted_statement_is_unknown() -> None:
    assert _finding("5! = 100 would be wrong.").verdict is Verdict.UNKNOWN


def test_size_of_step_is_limited() -> None:
    assert _finding("x = 1. " * MAX_CHARS).reason == "too long"
    assert _finding("x = 1. " * (MAX_LINKS + 1)).reason == "too many statements"


ROOTS = st.integers(min_value=-9, max_value=9)
FRAMES = st.sampled_from(["{}", "${}$", r"\({}\)", r"\[ {} \]", "**{}**", "So {}."])


@given(ROOTS, ROOTS, st.integers(min_value=1, max_value=9))
def test_roots_of_quadratic_equation(first: int, second: int, scale: int) -> None:
    linear = -scale * (first + second)
    constant = scale * first * second
    equation = f"{scale}x^2 + {linear}x + {constant} = 0".replace("+ -", "- ")
    wrong = max(first, second) + 1
    assert result_of(_finding(f"${equation}$, so $x = {first}$.")) != "suspicion"
    assert result_of(_finding(f"${equation}$, so $x = {wrong}$.")) == "suspicion"
    right = rf"${equation} \Rightarrow x = {first}$."
    assert _finding(right).verdict is not Verdict.INCORRECT
    wrong_root = rf"${equation} \Rightarrow x = {wrong}$."
    assert _finding(wrong_root).verdict is Verdict.INCORRECT


@given(ROOTS, ROOTS, ROOTS, FRAMES)
def test_expansion(a: int, b: int, error: int, frame: str) -> None:
    product = f"(x + {a})(x + {b}) = x^2 + {a + b}x + {a * b + error}".replace("+ -", "- ")
    expected = "suspicion" if error else "correct"
    assert result_of(_finding(frame.format(product))) == expected


def test_processbench_against_human_labels() -> None:
    """Alarms before the first error, or without one, are proven, and enough errors are detected."""
    traces = _shared("processbench-dev.jsonl")
    detected = dict[str, int]()
    for trace in traces:
        step = _first_incorrect(trace)
        if step is not None:
            detected[trace["id"]] = step
    correct = {trace["id"] for trace in traces if trace["label"] == -1}
    for trace in traces:
        if detected.get(trace["id"], trace["label"]) < trace["label"]:
            assert trace["id"] in PROVEN
    false_alarms = correct & set(detected)
    assert false_alarms <= PROVEN
    assert len(false_alarms) <= MAX_FALSE_ALARMS * len(correct)
    for subset, share in MIN_DETECTED.items():
        wrong = [trace for trace in traces if trace["label"] != -1]
        wrong = [trace for trace in wrong if trace["id"].startswith(subset)]
        hits = sum(detected.get(trace["id"]) == trace["label"] for trace in wrong)
        # A hit names the labelled step exactly; an earlier or a later one does not count.
        assert hits >= share * len(wrong)


def test_gsm8k_reference_alarms_are_true() -> None:
    """One solution writes (x + 1) for (x + 10), and continues with the correct number."""
    alarms = set[str]()
    for row in _shared("gsm8k-test.jsonl"):
        steps = tuple(row["answer"].split("\n"))
        for index, step in enumerate(steps):
            finding = _finding(step, row["question"], steps[:index])
            if finding.verdict is Verdict.INCORRECT:
                alarms.add(finding.reason)
    assert alarms == {
        "4x + 20 = 100: it does not follow from (2x + 10) + (x + 1) + x = 100",
    }


def _first_incorrect(trace: dict[str, Any]) -> int | None:
    for index, step in enumerate(trace["steps"]):
        previous = tuple(trace["steps"][:index])
        claim = StepClaim(question=trace["problem"], previous=previous, step=step)
        for verifier in (Arithmetic(), Algebra()):
            if verifier.verify(claim).verdict is Verdict.INCORRECT:
                return index
    return None


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data next to the repository")
    return read_json_lines(SHARED / name)
