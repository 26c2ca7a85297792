"""Records: what verdicts say of the first error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import NO_ERROR, Verdict, first_error_of

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741


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
def test_the_first_error_is_named_only_when_all_before_it_is_known(
    verdicts: list[Verdict], expected: int | None
) -> None:
    assert first_error_of(verdicts) == expected


@given(st.lists(st.sampled_from(Verdict)))
def test_what_stands_before_the_first_error_is_correct(verdicts: list[Verdict]) -> None:
    first = first_error_of(verdicts)
    if first is None:
        assert U in verdicts
    elif first == NO_ERROR:
        assert set(verdicts) <= {C}
    else:
        assert set(verdicts[:first]) <= {C}
        assert verdicts[first] is I
