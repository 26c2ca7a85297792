"""Confidence: the threshold is the lowest confidence that is kept."""

import pytest

from filters.confidence import Confidence
from tests.filters.samples import candidate, drops


@pytest.mark.parametrize(
    ("confidence", "reason"),
    [
        (1.0, None),
        # Equal to the threshold.
        (0.8, None),
        (0.799, "confidence 0.799, below 0.8"),
        (0.0, "confidence 0.000, below 0.8"),
        (None, "no confidence"),
    ],
)
def test_low_confidence_is_dropped(confidence: float | None, reason: str | None) -> None:
    dropped = drops(Confidence(threshold=0.8), [candidate("t", confidence=confidence)])
    assert dropped.get("t") == reason
