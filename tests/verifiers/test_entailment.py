"""`entailment`: verdicts on its language, abstention on other texts, and reproducible reasons."""

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
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA, SHARED
from verifiers.base import Finding, StepClaim
from verifiers.entailment import Entailment
from verifiers.entailment_logic import countermodels
from verifiers.entailment_logic.countermodels import find_countermodel, may_contradict, prove

CASES = read_json_lines(DATA / "entailment.jsonl")
ROOT = Path(__file__).parents[2]
# The form of question by which a problem is recognised as a puzzle.
QUESTION = "Hypothesis: Ana is kind. Is the hypothesis true, false or unprovable?"
PRINT_REASONS = """
import json
from tests.verifiers.test_entailment import CASES, verify_case
print(json.dumps([verify_case(case).reason for case in CASES]))
"""


def verify_case(case: dict[str, Any]) -> Finding:
    return _verify(case["step"], case["question"], *case["previous"])


def _verify(step: str, question: str = "", *previous: str) -> Finding:
    return Entailment().verify(StepClaim(question=question, previous=previous, step=step))


def _clear_caches() -> None:
    for cached in (prove, find_countermodel, may_contradict):
        cached.cache_clear()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["step"])
def test_case(case: dict[str, Any]) -> None:
    finding = verify_case(case)
    assert finding.verdict == case["verdict"]
    assert finding.reason.startswith(case.get("reason", ""))


def test_real_solutions_are_unknown() -> None:
    """Steps of real solutions, with and without their problem, and their single sentences."""
    traces = [(row["problem"], row["steps"]) for row in _shared("processbench-dev.jsonl")]
    traces += [(row["question"], row["answer"].split("\n")) for row in _shared("gsm8k-test.jsonl")]
    verdicts = set[Verdict]()
    for question, steps in traces:
        for index, step in enumerate(steps):
            verdicts.add(_verify(step, question, *steps[:index]).verdict)
            verdicts.add(_verify(step).verdict)
            for sentence in step.replace("\n", " ").split(". "):
                verdicts.add(_verify(sentence).verdict)
    assert verdicts == {Verdict.UNKNOWN}


def _shared(name: str) -> Any:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data beside the repository")
    return read_json_lines(SHARED / name)


def test_reasons_are_reproducible() -> None:
    reasons = [verify_case(case).reason for case in CASES]
    _clear_caches()
    # In reverse order, so that an effect of earlier cases on a reason would be found.
    assert [verify_case(case).reason for case in reversed(CASES)] == reasons[::-1]
    # The order of sets of strings depends on the hash seed.
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_REASONS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout) == reasons, done.stderr


def test_threads_do_not_affect_each_other() -> None:
    expected = [verify_case(case) for case in CASES]

    def verify_all(_: int) -> list[Finding]:
        _clear_caches()
        return [verify_case(case) for case in CASES]

    with ThreadPoolExecutor(4) as threads:
        # Rounds overlap, so that one clears the caches while others verify.
        for findings in threads.map(verify_all, range(8)):
            assert findings == expected


def test_listing_plugins_does_not_load_z3() -> None:
    code = (
        "import sys\n"
        "from stepmark.plugins import describe\n"
        "print('entailment' in describe('verifiers'), 'z3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]


def test_undecided_by_z3_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    # A chain of eight comparisons between a and x.
    premises = ["x > 1"]
    for greater, smaller in zip("abcdefgh", "bcdefghx", strict=True):
        premises.append(f"{greater} > {smaller}")
    step = f"{'; '.join(premises)}; therefore, a > 1"
    assert _verify(step).verdict is Verdict.CORRECT
    _clear_caches()
    # Too few of z3's resource units for any proof.
    monkeypatch.setattr(countermodels, "RESOURCE_LIMIT", 1)
    finding = _verify(step)
    _clear_caches()
    assert finding == Finding(verdict=Verdict.UNKNOWN, reason="not decided in time")


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _facts(count: int) -> str:
    """Return sentences about `count` different persons."""
    sentences = ""
    for index in range(count):
        sentences += f"B{LETTERS[index // 26]}{LETTERS[index % 26]} is kind. "
    return sentences


@pytest.mark.parametrize(
    ("step", "question"),
    [
        # Beyond one limit each: clauses, people, problem, premises, step length, depth, bits.
        ("Ana is kind; therefore, Ana is kind", "Ana is kind. " * 101 + QUESTION),
        (
            "Ana is kind; therefore, Ana is kind",
            _facts(40) + "Ana is kind. " + QUESTION,
        ),
        ("Ana is kind; therefore, Ana is kind", "Ana is kind. " + " " * 20_000 + QUESTION),
        ("Ana is kind; " * 21 + "therefore, Ana is kind", "Ana is kind. " + QUESTION),
        ("Ana is kind;" + " " * 2_000 + "therefore, Ana is kind", "Ana is kind. " + QUESTION),
        ("x = " + "(" * 22 + "1" + ")" * 22 + ", so x = 1", ""),
        ("x = " + "9 * " * 300 + "9, so x = 1", ""),
    ],
)
def test_exceeded_limits_are_unknown(step: str, question: str) -> None:
    assert _verify(step, question).verdict is Verdict.UNKNOWN


def test_texts_within_limits_are_decided() -> None:
    # With Ana there are 40 people.
    question = f"{_facts(39)}Everyone who is kind is happy. Ana is kind. {QUESTION}"
    step = "Ana is kind; everyone who is kind is happy; therefore, Ana is happy"
    assert _verify(step, question).verdict is Verdict.CORRECT
    nested = "x = " + "(" * 20 + "1" + ")" * 20 + ", so x = 1"
    assert _verify(nested).verdict is Verdict.CORRECT


def test_too_many_steps_are_unknown() -> None:
    # The limit is 200 previous steps.
    steps = ["Ana is kind; therefore, Ana is kind"] * 201
    question = f"Ana is kind. {QUESTION}"
    assert _verify(steps[0], question, *steps[1:]).verdict is Verdict.CORRECT
    assert _verify(steps[0], question, *steps).reason == "too many steps"


# fmt: off
TOKENS = st.sampled_from([
    "Ana", "Ben", "kind", "tall", "is", "not", "and", "or", "if", "then", "they", "are",
    "someone", "everyone", "no", "one", "who", "therefore,", "so", ";", ",", ".",
    "x", "y", "2", "0.5", "+", "-", "*", "/", "(", ")", "=", "<", ">=", "≠", "Step", ":", "\n",
])
# fmt: on
TEXTS = st.lists(TOKENS, max_size=25).map(" ".join)


@given(step=TEXTS, question=TEXTS, previous=TEXTS, puzzle=st.booleans())
def test_random_sentences_are_decided(
    step: str, question: str, previous: str, puzzle: bool
) -> None:
    if puzzle:
        question = f"{question}. {QUESTION}"
    assert isinstance(_verify(step, question, previous), Finding)


@given(text=st.text(max_size=200))
def test_random_text_is_unknown(text: str) -> None:
    assert _verify(text, f"Ana is kind. {QUESTION}").verdict is Verdict.UNKNOWN
