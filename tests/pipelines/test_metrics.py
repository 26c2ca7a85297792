"""Scores against figures worked out by hand from ProcessBench's definitions."""

from typing import Any

import pytest

from pipelines.scoring.metrics import Case, Score, score
from stepmark.records import Verdict

VERDICT_OF_LETTER = {verdict.value[0]: verdict for verdict in Verdict}


def case(gold: int, predicted: int | None, steps: str = "", *, right_answer: bool = False) -> Case:
    """Return a case; `steps` has one letter per verdict: c, i or u."""
    return Case(
        gold=gold,
        predicted=predicted,
        steps=[VERDICT_OF_LETTER[letter] for letter in steps],
        right_answer=right_answer,
    )


def test_score_matches_hand_computation() -> None:
    result = score(
        [
            case(2, 2, "ccicc"),  # exact
            case(0, 1, "ciu"),  # too late
            case(3, None, "ccuu"),  # undecided
            case(1, 0, "iic", right_answer=True),  # too early, but step 1 is incorrect as well
            case(1, 1, "ciu", right_answer=True),  # a flawed positive that is detected
            case(-1, -1, "ccc", right_answer=True),  # exact
            case(-1, 1, "cic", right_answer=True),  # false alarm
            case(-1, None, "uuu"),  # undecided
        ]
    )
    assert result == Score(
        traces=8,
        decided=6,
        exact=3 / 6,
        distinct=6,
        exact_distinct=3 / 6,
        exact_at_share=None,
        # Five cases have an error and three have none; an undecided case counts as wrong here.
        accuracy_wrong=2 / 5,
        accuracy_right=1 / 3,
        f1=2 * (2 / 5) * (1 / 3) / (2 / 5 + 1 / 3),
        # Incorrect up to the gold first error: 1 + 0 + 0 + 2 + 1 + 0 + 1 + 0; correct: 1 + 1 + 1.
        step_precision=3 / 5,
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
        # Worked out by hand: 2ab / (a + b).
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
def test_f1_is_a_harmonic_mean(accuracies: tuple[float, float], f1: float) -> None:
    # A thousand cases of each class give the accuracies exactly.
    exact_wrong, exact_right = (round(1000 * share) for share in accuracies)
    cases = [case(1, 1)] * exact_wrong + [case(1, 0)] * (1000 - exact_wrong)
    cases += [case(-1, -1)] * exact_right + [case(-1, 0)] * (1000 - exact_right)
    # The expected values have three decimals.
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
def test_empty_denominator_gives_none(cases: list[Case], expected: dict[str, Any]) -> None:
    result = score(cases)
    assert {name: getattr(result, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("gold", "steps", "precision"),
    [
        (1, "ciiii", 1.0),  # nothing after the gold first error counts
        (1, "ccii", None),
        (1, "iici", 0.5),
        (-1, "ccii", 0.0),  # in a trace without errors all steps count
        (3, "ci", 0.0),  # fewer verdicts than steps
    ],
)
def test_later_steps_do_not_count(gold: int, steps: str, precision: float | None) -> None:
    assert score([case(gold, None, steps)]).step_precision == precision


def ranked_case(ranking_value: float, *, right: bool, confidence: float | None = None) -> Case:
    return Case(
        gold=1, predicted=1 if right else 0, ranking_value=ranking_value, confidence=confidence
    )


def test_ties_count_at_their_average() -> None:
    # By rank: a correct case at 0.9, one correct and two wrong cases at 0.8, and a correct one at
    # 0.1. The last three cases are undecided.
    cases = [
        ranked_case(0.8, right=False),
        ranked_case(0.1, right=True),
        ranked_case(0.9, right=True),
        ranked_case(0.8, right=True),
        ranked_case(0.8, right=False),
    ]
    # Undecided cases have no rank, so that shares above 5 of 8 have no score.
    cases += [case(1, None)] * 3
    exact = [score(cases, share=count / 8).exact_at_share for count in range(7)]
    expected = [1, (1 + 1 / 3) / 2, (1 + 2 / 3) / 3, 2 / 4, 3 / 5]
    assert exact == [None, *map(pytest.approx, expected), None]


def test_confidence_ranks_before_ranking_value() -> None:
    cases = [
        ranked_case(1.0, right=False, confidence=0.2),
        ranked_case(0.0, right=True, confidence=0.6),
    ]
    assert score(cases, share=0.5).exact_at_share == 1.0


def confident_case(confidence: float, *, right: bool) -> Case:
    """Return an undecided case, which has a confidence nevertheless."""
    return Case(
        gold=1, predicted=None, stated_error=1 if right else 0, confidence=confidence, tokens=10
    )


def test_calibration_includes_undecided_cases() -> None:
    cases = [
        confident_case(0.95, right=True),
        # The bin from 0.9 includes 1.0 and has four cases; the mean of its confidences is 0.9475.
        confident_case(0.91, right=True),
        confident_case(0.93, right=False),
        confident_case(1.0, right=True),
        confident_case(0.3, right=False),
        confident_case(0.32, right=False),
        case(1, 1),
    ]
    result = score(cases)
    low, high = result.reliability
    assert (low.low, low.traces, low.accuracy) == (0.3, 2, 0.0)
    assert (high.low, high.traces, high.accuracy) == (0.9, 4, 0.75)
    assert (low.confidence, high.confidence) == pytest.approx((0.31, 0.9475))
    assert result.calibration_error == pytest.approx((2 * 0.31 + 4 * 0.1975) / 6)
    assert result.tokens == pytest.approx(60 / 7)


def test_copies_count_once() -> None:
    def copy(text: int, gold: int, predicted: int | None, confidence: float) -> Case:
        return Case(gold=gold, predicted=predicted, text=text, confidence=confidence)

    cases = [
        # Three exact copies, one text whose first copy is undecided, and one text that is wrong.
        *[copy(1, 0, 0, 0.9)] * 3,
        copy(2, 1, None, 0.8),
        copy(2, 1, 1, 0.8),
        copy(3, 1, 0, 0.7),
        copy(4, 1, None, 0.1),
    ]
    result = score(cases, share=0.75)
    assert (result.traces, result.decided, result.exact) == (7, 5, 4 / 5)
    assert (result.distinct, result.exact_distinct) == (3, 2 / 3)
    # Three of four texts.
    assert result.exact_at_share == 2 / 3
    assert score(cases, share=0.5).exact_at_share == 1
    assert score(cases, share=1).exact_at_share is None
