"""Records: the first error of verdicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import NO_ERROR, Verdict, first_error_of

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], NO_ERROR),
        ([C, C], NO_ERROR),
        ([I], 0),
        ([C, I, U], 1),
        ([C, I, C, I], 1),
        ([C, U, I], None),
        ([U], None),
        ([C, U], None),
    ],
)
def test_first_error_of_verdicts(verdicts: list[Verdict], expected: int | None) -> None:
    assert first_error_of(verdicts) == expected


@given(st.lists(st.sampled_from(Verdict)))
def test_steps_before_first_error_are_correct(verdicts: list[Verdict]) -> None:
    first = first_error_of(verdicts)
    if first is None:
        assert U in verdicts
    elif first == NO_ERROR:
        assert set(verdicts) <= {C}
    else:
        assert set(verdicts[:first]) <= {C}
        assert verdicts[first] is I
