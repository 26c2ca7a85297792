"""A target is held, missed, or open: too few problems or rounds are no failure, and no success."""

import json

import pytest

from benchmarks._targets import HELD, MISSED, OPEN, Interval, beside, of_rounds, worst


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Interval(value=0.01, low=-0.05, high=0.07), HELD),
        (Interval(value=-0.02, low=-0.05, high=0.02), HELD),
        (Interval(value=0.05, low=0.01, high=0.09), OPEN),
        (Interval(value=-0.05, low=-0.09, high=-0.01), OPEN),
        (Interval(value=0.05, low=0.04, high=0.06), MISSED),
        (Interval(value=-0.05, low=-0.06, high=-0.04), MISSED),
        (0.03, HELD),
        (0.031, MISSED),
    ],
)
def test_missed_is_what_chance_does_not_explain(figure: Interval | float, verdict: str) -> None:
    assert beside(figure, least=-0.03, most=0.03)["verdict"] == verdict


def test_a_target_is_told_with_the_ends_that_it_has() -> None:
    told = beside(2.0, most=1.0)
    assert json.loads(json.dumps(told)) == {
        "value": 2.0,
        "low": 2.0,
        "high": 2.0,
        "at_most": 1.0,
        "verdict": MISSED,
    }


def test_several_are_as_good_as_the_worst() -> None:
    assert worst([HELD, OPEN, HELD]) == OPEN
    assert worst([HELD, MISSED, OPEN]) == MISSED


def test_more_rounds_leave_less_doubt() -> None:
    assert beside(of_rounds([0.85]), least=0.9)["verdict"] == OPEN
    assert beside(of_rounds([0.85, 0.7, 0.85, 0.99]), least=0.9)["verdict"] == MISSED
    assert beside(of_rounds([0.8, 0.91, 1.1]), least=0.9)["verdict"] == HELD
