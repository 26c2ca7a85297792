"""Scores against figures worked out by hand, after ProcessBench's definitions."""

from typing import Any

import pytest

from pipelines.scoring.metrics import Case, Score, score
from stepmark.records import Verdict

VERDICTS = {verdict.value[0]: verdict for verdict in Verdict}


def case(gold: int, predicted: int | None, steps: str = "", *, right_answer: bool = False) -> Case:
    return Case(
        gold=gold,
        predicted=predicted,
        steps=[VERDICTS[letter] for letter in steps],
        right_answer=right_answer,
    )


def test_a_score_worked_out_by_hand() -> None:
    found = score(
        [
            case(2, 2, "ccicc"),  # hit
            case(0, 1, "ciu"),  # late
            case(3, None, "ccuu"),  # undecided
            case(1, 0, "iic", right_answer=True),  # early, though it names the right step too
            case(1, 1, "ciu", right_answer=True),  # a flawed positive that is found
            case(-1, -1, "ccc", right_answer=True),  # hit
            case(-1, 1, "cic", right_answer=True),  # false alarm
            case(-1, None, "uuu"),  # undecided
        ]
    )
    assert found == Score(
        traces=8,
        decided=6,
        exact=3 / 6,
        exact_at_share=None,
        accuracy_wrong=2 / 5,
        accuracy_right=1 / 3,
        f1=2 * (2 / 5) * (1 / 3) / (2 / 5 + 1 / 3),
        step_precision=3
        / 5,  # said up to the gold first error: 1 + 0 + 0 + 2 + 1 + 0 + 1 + 0, true: 1 + 1 + 1
        step_recall=3 / 5,
        step_f1=3 / 5,
        flawed_positives=2,
        flawed_found=1,
        reliability=(),
        calibration_error=None,
        tokens=0.0,
    )


@pytest.mark.parametrize(
    ("accuracies", "f1"),
    [
        # worked out by hand: 2ab / (a + b)
        ((0.324, 0.917), 0.479),
        ((0.531, 0.953), 0.682),
        ((1, 1), 1.0),
        ((1, 0), 0.0),
        ((0, 0), 0.0),
        ((0.5, 0.5), 0.5),
        ((0.2, 0.8), 0.32),
        ((0.75, 0.25), 0.375),
    ],
)
def test_f1_is_the_harmonic_mean_of_the_two_accuracies(
    accuracies: tuple[float, float], f1: float
) -> None:
    wrong, right = (round(1000 * share) for share in accuracies)
    cases = [case(1, 1 if index < wrong else 0) for index in range(1000)]
    cases += [case(-1, -1 if index < right else 0) for index in range(1000)]
    assert score(cases).f1 == pytest.approx(f1, abs=5e-4)


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        (
            [],
            {
                "traces": 0,
                "decided": 0,
                "exact": None,
                "f1": None,
                "step_precision": None,
                "step_recall": None,
            },
        ),
        (
            [case(-1, -1, "cc")],
            {"accuracy_wrong": None, "accuracy_right": 1.0, "f1": None, "step_recall": None},
        ),
        (
            [case(0, 0, "ic")],
            {"accuracy_wrong": 1.0, "accuracy_right": None, "f1": None, "step_precision": 1.0},
        ),
        (
            [case(0, None, "uu")],
            {"exact": None, "accuracy_wrong": 0.0, "step_precision": None, "step_recall": 0.0},
        ),
    ],
)
def test_there_is_no_share_of_nothing(cases: list[Case], expected: dict[str, Any]) -> None:
    found = score(cases)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("gold", "steps", "precision"),
    [
        (1, "ciiii", 1.0),  # nothing after the gold first error counts
        (1, "ccii", None),
        (1, "iici", 0.5),
        (-1, "ccii", 0.0),  # in a trace without errors everything does
        (3, "ci", 0.0),  # fewer verdicts than steps
    ],
)
def test_only_steps_up_to_the_gold_first_error_count(
    gold: int, steps: str, precision: float | None
) -> None:
    assert score([case(gold, None, steps)]).step_precision == precision


def sure(sureness: float, *, right: bool, confidence: float | None = None) -> Case:
    return Case(gold=1, predicted=1 if right else 0, sureness=sureness, confidence=confidence)


def test_at_a_share_the_surest_traces_count_and_equally_sure_ones_at_their_average() -> None:
    # ranked: one at 0.9 that is right, three at 0.8 of which one is right, one at 0.1; the last three decide nothing
    cases = [
        sure(0.8, right=False),
        sure(0.1, right=True),
        sure(0.9, right=True),
        sure(0.8, right=True),
        sure(0.8, right=False),
    ]
    cases += [case(1, None)] * 3
    found = [score(cases, share=count / 8).exact_at_share for count in range(7)]
    thirds = [1, (1 + 1 / 3) / 2, (1 + 2 / 3) / 3, 2 / 4, 3 / 5]
    assert found == [None, *map(pytest.approx, thirds), None]


def test_a_stated_confidence_ranks_before_what_the_values_show() -> None:
    cases = [sure(1.0, right=False, confidence=0.2), sure(0.0, right=True, confidence=0.6)]
    assert score(cases, share=0.5).exact_at_share == 1.0


def believing(confidence: float, *, right: bool) -> Case:
    return Case(
        gold=1, predicted=None, believed=1 if right else 0, confidence=confidence, tokens=10
    )


def test_calibration_is_of_what_is_believed_kept_or_not() -> None:
    cases = [
        believing(0.95, right=True),
        believing(0.91, right=True),
        believing(0.93, right=False),
        believing(1.0, right=True),
    ]
    cases += [believing(0.3, right=False), believing(0.32, right=False), case(1, 1)]
    found = score(cases)
    low, high = found.reliability
    assert (low.low, low.traces, low.accuracy) == (0.3, 2, 0.0)
    assert (high.low, high.traces, high.accuracy) == (0.9, 4, 0.75)
    assert (low.confidence, high.confidence) == pytest.approx((0.31, 0.9475))
    assert found.calibration_error == pytest.approx((2 * 0.31 + 4 * 0.1975) / 6)
    assert found.tokens == pytest.approx(60 / 7)
