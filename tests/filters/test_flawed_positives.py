"""Flawed positives: only correct answers with a first error are dropped."""

import pytest

from filters.flawed_positives import FlawedPositives
from stepmark.records import NO_ERROR, Verdict
from tests.filters.samples import C, I, U, candidate, drops


@pytest.mark.parametrize("outcome", [C, I, U])
@pytest.mark.parametrize("first_error", [None, NO_ERROR, 0, 2])
def test_flawed_positive_is_dropped(outcome: Verdict, first_error: int | None) -> None:
    dropped = drops(FlawedPositives(), [candidate("t", outcome=outcome, first_error=first_error)])
    if outcome is C and first_error in (0, 2):
        assert dropped == {"t": f"correct answer, first error at step {first_error}"}
    else:
        assert dropped == {}
