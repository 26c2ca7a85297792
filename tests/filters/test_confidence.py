"""Confidence: the threshold is the lowest confidence that stays."""

import pytest

from filters.confidence import Confidence
from tests.filters.samples import candidate, drops


@pytest.mark.parametrize(
    ("confidence", "reason"),
    [
        (1.0, None),
        (0.8, None),
        (0.799, "0.799 is below 0.8"),
        (0.0, "0.000 is below 0.8"),
        (None, "no confidence"),
    ],
)
def test_what_is_below_the_threshold_goes(confidence: float | None, reason: str | None) -> None:
    assert (
        drops(Confidence(threshold=0.8), [candidate("t", confidence=confidence)]).get("t") == reason
    )
