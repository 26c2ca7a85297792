"""Monte Carlo estimates, and verdicts on the steps around a first error."""

import pytest

from annotators.estimates import monte_carlo_estimate, verdict_from_first_error
from stepmark.records import NO_ERROR, StepAnnotation, Verdict
from tests.annotators.simulated import C, I, U


@pytest.mark.parametrize(
    ("outcomes", "verdict", "value", "counts"),
    [
        ([], U, None, (0, 0, 0)),
        ([U, U], U, None, (0, 0, 2)),
        ([I, I], I, 0.0, (0, 2, 0)),
        ([I, U], I, 0.0, (0, 1, 1)),
        ([I, I, I, C], C, 0.25, (1, 4, 0)),
        ([C, U, U, I], C, 0.5, (1, 2, 2)),
        ([C], C, 1.0, (1, 1, 0)),
    ],
)
def test_estimate_ignores_unknown_outcomes(
    outcomes: list[Verdict], verdict: Verdict, value: float | None, counts: tuple[int, int, int]
) -> None:
    successes, trials, unknowns = counts
    expected = StepAnnotation(
        verdict=verdict, value=value, successes=successes, trials=trials, unknowns=unknowns
    )
    assert monte_carlo_estimate(outcomes) == expected


@pytest.mark.parametrize(
    ("sound_steps", "first_error", "expected"),
    [
        (2, 2, [C, C, I, U]),
        (0, 0, [I, U, U, U]),
        (1, None, [C, U, U, U]),
        (4, NO_ERROR, [C, C, C, C]),
        (0, 3, [U, U, U, I]),
    ],
)
def test_verdicts_around_first_error(
    sound_steps: int, first_error: int | None, expected: list[Verdict]
) -> None:
    verdicts = [verdict_from_first_error(index, sound_steps, first_error) for index in range(4)]
    assert verdicts == expected
