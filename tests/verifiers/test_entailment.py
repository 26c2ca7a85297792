"""`entailment`: its language decided, everything else left alone, whatever is asked, however often, from whatever thread."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.cases import DATA, SHARED, rows
from verifiers.base import Finding, StepClaim
from verifiers.entailment import Entailment
from verifiers.entailment_logic import countermodels
from verifiers.entailment_logic.countermodels import contradict, countermodel, follow

CASES = rows(DATA / "entailment.jsonl")
ROOT = Path(__file__).parents[2]
ASKED = "Hypothesis: Ana is kind. Is the hypothesis true, false or unprovable?"
TELL_ALL = """
import json
from tests.verifiers.test_entailment import CASES, finding
print(json.dumps([finding(case).reason for case in CASES]))
"""


def finding(case: dict[str, Any]) -> Finding:
    return Entailment().verify(
        StepClaim(question=case["question"], previous=tuple(case["previous"]), step=case["step"])
    )


def _said(step: str, question: str = "", *previous: str) -> Finding:
    return finding({"question": question, "previous": previous, "step": step})


def _forget() -> None:
    for remembered in (follow, countermodel, contradict):
        remembered.cache_clear()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["step"])
def test_case(case: dict[str, Any]) -> None:
    found = finding(case)
    assert found.verdict == case["verdict"]
    assert found.reason.startswith(case.get("reason", ""))


def test_real_solutions_are_left_alone() -> None:
    """Every step of real solutions, with its problem and on its own, and every sentence of them, is unknown."""
    traces = [(row["problem"], row["steps"]) for row in _shared("processbench-dev.jsonl")]
    traces += [(row["question"], row["answer"].split("\n")) for row in _shared("gsm8k-test.jsonl")]
    verdicts = set()
    for question, steps in traces:
        for index, step in enumerate(steps):
            verdicts |= {_said(step, question, *steps[:index]).verdict, _said(step).verdict}
            verdicts |= {
                _said(sentence).verdict for sentence in step.replace("\n", " ").split(". ")
            }
    assert verdicts == {Verdict.UNKNOWN}


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data beside the repository")
    return rows(SHARED / name)


def test_another_process_and_another_order_say_the_same_to_the_letter() -> None:
    told = [finding(case).reason for case in CASES]
    _forget()
    assert [finding(case).reason for case in reversed(CASES)] == told[::-1]
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", TELL_ALL],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout) == told, done.stderr


def test_threads_do_not_disturb_each_other() -> None:
    told = [finding(case) for case in CASES]

    def all_again(_: int) -> list[Finding]:
        _forget()
        return [finding(case) for case in CASES]

    with ThreadPoolExecutor(4) as threads:
        assert all(again == told for again in threads.map(all_again, range(8)))


def test_listing_the_plugins_does_not_load_z3() -> None:
    code = "import sys; from stepmark.plugins import describe; print('entailment' in describe('verifiers'), 'z3' in sys.modules)"
    assert subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    ).stdout.split() == ["True", "False"]


def test_what_z3_does_not_decide_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = "; ".join(
        ["x > 1", *(f"{a} > {b}" for a, b in zip("abcdefgh", "bcdefghx", strict=True))]
    )
    assert _said(f"{chain}; therefore, a > 1").verdict is Verdict.CORRECT
    _forget()
    monkeypatch.setattr(countermodels, "RESOURCES", 1)
    found = _said(f"{chain}; therefore, a > 1")
    _forget()
    assert found == Finding(verdict=Verdict.UNKNOWN, reason="not decided in time")


def _names(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"B{letters[index // 26]}{letters[index % 26]}" for index in range(count)]


@pytest.mark.parametrize(
    ("step", "question"),
    [
        ("Ana is kind; therefore, Ana is kind", "Ana is kind. " * 101 + ASKED),
        (
            "Ana is kind; therefore, Ana is kind",
            "".join(f"{name} is kind. " for name in _names(40)) + "Ana is kind. " + ASKED,
        ),
        ("Ana is kind; therefore, Ana is kind", "Ana is kind. " + " " * 20_000 + ASKED),
        ("Ana is kind; " * 21 + "therefore, Ana is kind", "Ana is kind. " + ASKED),
        ("Ana is kind;" + " " * 2_000 + "therefore, Ana is kind", "Ana is kind. " + ASKED),
        ("x = " + "(" * 22 + "1" + ")" * 22 + ", so x = 1", ""),
        ("x = " + "9 * " * 300 + "9, so x = 1", ""),
    ],
)
def test_what_is_too_large_is_unknown(step: str, question: str) -> None:
    assert _said(step, question).verdict is Verdict.UNKNOWN


def test_up_to_the_limits_it_is_decided() -> None:
    people = "".join(f"{name} is kind. " for name in _names(39))
    question = f"{people}Everyone who is kind is happy. Ana is kind. {ASKED}"
    assert (
        _said(
            "Ana is kind; everyone who is kind is happy; therefore, Ana is happy", question
        ).verdict
        is Verdict.CORRECT
    )
    assert _said("x = " + "(" * 20 + "1" + ")" * 20 + ", so x = 1").verdict is Verdict.CORRECT


def test_more_steps_than_anyone_writes_are_unknown() -> None:
    steps = ["Ana is kind; therefore, Ana is kind"] * 201
    assert _said(steps[0], f"Ana is kind. {ASKED}", *steps[1:]).verdict is Verdict.CORRECT
    assert _said(steps[0], f"Ana is kind. {ASKED}", *steps).reason == "too many steps"


WORDS = st.sampled_from(
    [
        *(
            "Ana",
            "Ben",
            "kind",
            "tall",
            "is",
            "not",
            "and",
            "or",
            "if",
            "then",
            "they",
            "are",
            "someone",
            "everyone",
            "no",
            "one",
            "who",
        ),
        *(
            "therefore,",
            "so",
            ";",
            ",",
            ".",
            "x",
            "y",
            "2",
            "0.5",
            "+",
            "-",
            "*",
            "/",
            "(",
            ")",
            "=",
            "<",
            ">=",
            "≠",
            "Step",
            ":",
            "\n",
        ),
    ]
)
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)


@given(step=TEXTS, question=TEXTS, previous=TEXTS, puzzle=st.booleans())
def test_nothing_that_can_be_written_breaks_it(
    step: str, question: str, previous: str, puzzle: bool
) -> None:
    question = f"{question}. {ASKED}" if puzzle else question
    assert isinstance(_said(step, question, previous), Finding)


@given(text=st.text(max_size=200))
def test_other_text_is_unknown(text: str) -> None:
    assert _said(text, f"Ana is kind. {ASKED}").verdict is Verdict.UNKNOWN
