"""Flawed positives: a right answer with a wrong step, and nothing else."""

import pytest

from filters.flawed_positives import FlawedPositives
from stepmark.records import NO_ERROR, Verdict
from tests.filters.samples import C, I, U, candidate, drops


@pytest.mark.parametrize("outcome", [C, I, U])
@pytest.mark.parametrize("first_error", [None, NO_ERROR, 0, 2])
def test_a_right_answer_with_a_wrong_step_goes(outcome: Verdict, first_error: int | None) -> None:
    dropped = drops(FlawedPositives(), [candidate("t", outcome=outcome, first_error=first_error)])
    assert dropped == (
        {"t": f"right answer, wrong step {first_error}"}
        if outcome is C and first_error in (0, 2)
        else {}
    )
