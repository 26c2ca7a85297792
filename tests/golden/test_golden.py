"""Comparison of findings, posteriors and messages with those of commit 26a14a6."""

from collections.abc import Callable, Mapping

import pytest

from tests.golden import findings, messages, posteriors
from tests.golden.rows import RECORDED, Golden, compare

LARGEST = 1_000_000
"""Bytes of a recorded file: a larger one belongs in a digest."""


@pytest.mark.parametrize(
    "golden_sets",
    [
        pytest.param(findings.golden_sets, id="findings"),
        pytest.param(posteriors.golden_sets, id="posteriors"),
        pytest.param(messages.golden_sets, id="messages"),
    ],
)
def test_golden_set_is_unchanged(golden_sets: Callable[[], Mapping[str, Golden]]) -> None:
    for name, golden in golden_sets().items():
        compare(name, golden)


def test_differences_are_located() -> None:
    golden = Golden(decisions=[{"id": "A10_other_currency:1", "answers": "i"}])
    with pytest.raises(AssertionError, match=r"row 1 differs at '\.answers'"):
        compare("cases", golden)


def test_recorded_files_stay_small() -> None:
    for file in RECORDED.iterdir():
        assert file.stat().st_size < LARGEST, file
