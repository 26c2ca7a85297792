"""What is true is correct in every style, what is false as written is incorrect, and a condition is neither."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.cases import DATA, SHARED, rows
from verifiers.algebra import MAX_CHARS, MAX_LINKS, Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import Finding, StepClaim

CASES = rows(DATA / "algebra.jsonl")
MAX_FALSE_ALARMS = 0.005
"""Share of the solutions without an error, by people's judgement, in which a step may be called incorrect."""
PROVEN = {"omnimath-637", "omnimath-207", "olympiadbench-451"}
"""Where people are wrong and the checker is right; the proofs are in `benchmarks/README.md`."""
MIN_FOUND = {"gsm8k": 0.10, "": 0.06}
"""The least share of people's first errors that is found, of a subset and of all."""


def _finding(step: str, question: str = "", previous: tuple[str, ...] = ()) -> Finding:
    return Algebra().verify(StepClaim(question=question, previous=previous, step=step))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["step"])
def test_case(case: dict[str, Any]) -> None:
    assert (
        _finding(case["step"], case.get("question", ""), tuple(case.get("previous", ()))).verdict
        == case["verdict"]
    )


@pytest.mark.parametrize("case", rows(DATA / "real_algebra.jsonl"), ids=lambda case: case["source"])
def test_real_step(case: dict[str, Any]) -> None:
    assert _finding(case["step"]).verdict == case["verdict"]


def test_reason_shows_what_is_false_and_why() -> None:
    assert (
        _finding(r"$\sqrt{50} = 2\sqrt{5}$").reason
        == r"\sqrt{50} = 2\sqrt{5}: the left side is 7.07107, the right side 4.47214"
    )
    assert _finding("3x = 51, so x = 16").reason == "x = 16: it does not follow from 3x = 51"
    assert (
        _finding("(x+1)^2 = x^2 + 2x + 2").reason
        == "(x+1)^2 = x^2 + 2x + 2: the sides differ, as at x = 12"
    )


def test_refutation_in_the_step_silences() -> None:
    assert _finding("5! = 100 would be wrong.").verdict is Verdict.UNKNOWN


def test_long_steps_and_many_statements_are_left_alone() -> None:
    assert _finding("x = 1. " * MAX_CHARS).reason == "too long"
    assert _finding("x = 1. " * (MAX_LINKS + 1)).reason == "too many statements"


roots = st.integers(min_value=-9, max_value=9)


@given(roots, roots, st.integers(min_value=1, max_value=9))
def test_a_root_is_a_root(first: int, second: int, scale: int) -> None:
    equation = f"{scale}x^2 + {-scale * (first + second)}x + {scale * first * second} = 0".replace(
        "+ -", "- "
    )
    wrong = max(first, second) + 1
    assert _finding(f"${equation}$, so $x = {first}$.").verdict is not Verdict.INCORRECT
    assert _finding(f"${equation}$, so $x = {wrong}$.").verdict is Verdict.INCORRECT


@given(
    roots, roots, roots, st.sampled_from(["{}", "${}$", r"\({}\)", r"\[ {} \]", "**{}**", "So {}."])
)
def test_an_expansion_is_right_or_wrong(a: int, b: int, error: int, frame: str) -> None:
    claim = f"(x + {a})(x + {b}) = x^2 + {a + b}x + {a * b + error}".replace("+ -", "- ")
    assert _finding(frame.format(claim)).verdict is (
        Verdict.INCORRECT if error else Verdict.CORRECT
    )


def test_processbench_against_people() -> None:
    """Hardly a right solution is called wrong, no step before the first wrong one is but with a proof, and enough errors are found."""
    traces = _shared("processbench-dev.jsonl")
    named = {trace["id"]: step for trace in traces if (step := _first_named(trace)) is not None}
    right = {trace["id"] for trace in traces if trace["label"] == -1}
    assert {
        trace["id"] for trace in traces if named.get(trace["id"], trace["label"]) < trace["label"]
    } <= PROVEN
    assert right & set(named) <= PROVEN
    assert len(right & set(named)) <= MAX_FALSE_ALARMS * len(right)
    for subset, share in MIN_FOUND.items():
        wrong = [
            trace for trace in traces if trace["label"] != -1 and trace["id"].startswith(subset)
        ]
        assert sum(named.get(trace["id"]) == trace["label"] for trace in wrong) >= share * len(
            wrong
        )


def test_gsm8k_gold_is_called_false_only_where_it_is() -> None:
    """One solution writes (x + 1) for (x + 10) and goes on from what it means."""
    found = set[str]()
    for row in _shared("gsm8k-test.jsonl"):
        steps = tuple(row["answer"].split("\n"))
        findings = [
            _finding(step, row["question"], steps[:index]) for index, step in enumerate(steps)
        ]
        found |= {finding.reason for finding in findings if finding.verdict is Verdict.INCORRECT}
    assert found == {"4x + 20 = 100: it does not follow from (2x + 10) + (x + 1) + x = 100"}


def _first_named(trace: dict[str, Any]) -> int | None:
    for index, step in enumerate(trace["steps"]):
        claim = StepClaim(
            question=trace["problem"], previous=tuple(trace["steps"][:index]), step=step
        )
        if any(
            verifier.verify(claim).verdict is Verdict.INCORRECT
            for verifier in (Arithmetic(), Algebra())
        ):
            return index
    return None


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data beside the repository")
    return rows(SHARED / name)
