"""Targets are held, missed or open: too few problems or rounds decide nothing."""

import json

import pytest

from benchmarks.common.targets import (
    HELD,
    MISSED,
    OPEN,
    Interval,
    compare_with_target,
    median_ratio,
    worst_verdict,
)


@pytest.mark.parametrize(
    ("measurement", "verdict"),
    [
        # The value is within the limits, so the interval does not matter.
        (Interval(value=0.01, low=-0.05, high=0.07), HELD),
        (Interval(value=-0.02, low=-0.05, high=0.02), HELD),
        # The value is outside, but the interval reaches the limit.
        (Interval(value=0.05, low=0.01, high=0.09), OPEN),
        (Interval(value=-0.05, low=-0.09, high=-0.01), OPEN),
        # The whole interval is outside.
        (Interval(value=0.05, low=0.04, high=0.06), MISSED),
        (Interval(value=-0.05, low=-0.06, high=-0.04), MISSED),
        # A number without an interval is never open.
        (0.03, HELD),
        (0.031, MISSED),
    ],
)
def test_target_is_open_within_interval(measurement: Interval | float, verdict: str) -> None:
    assert compare_with_target(measurement, least=-0.03, most=0.03)["verdict"] == verdict


def test_infinite_limits_are_left_out() -> None:
    comparison = compare_with_target(2.0, most=1.0)
    assert json.loads(json.dumps(comparison)) == {
        "value": 2.0,
        "low": 2.0,
        "high": 2.0,
        "at_most": 1.0,
        "verdict": MISSED,
    }


def test_worst_verdict_of_several_targets() -> None:
    assert worst_verdict([HELD, OPEN, HELD]) == OPEN
    assert worst_verdict([HELD, MISSED, OPEN]) == MISSED


def test_more_rounds_narrow_the_interval() -> None:
    # One round below the target decides nothing.
    assert compare_with_target(median_ratio([0.85]), least=0.9)["verdict"] == OPEN
    # The median is 0.85.
    four_rounds = median_ratio([0.85, 0.7, 0.85, 0.99])
    assert compare_with_target(four_rounds, least=0.9)["verdict"] == MISSED
    # The median is 0.91.
    three_rounds = median_ratio([0.8, 0.91, 1.1])
    assert compare_with_target(three_rounds, least=0.9)["verdict"] == HELD
