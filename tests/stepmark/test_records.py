"""Records: the first error of verdicts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import (
    NO_ERROR,
    Annotation,
    StepAnnotation,
    Verdict,
    first_error_of,
    with_neutral_steps_as,
)
from tests.columns import column

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


@pytest.mark.parametrize(
    ("verdict", "verdicts", "first_error"),
    [(C, [C, C, I], 2), (I, [C, I, I], 1), (U, [C, U, I], None)],
)
def test_neutral_steps_become_verdict(
    verdict: Verdict, verdicts: list[Verdict], first_error: int | None
) -> None:
    steps = tuple(StepAnnotation(verdict=given) for given in (C, C, I))
    annotation = Annotation(trace_id="t", method="human", first_error=2, steps=steps)
    assert with_neutral_steps_as(annotation, verdict) is annotation
    mapped = with_neutral_steps_as(replace(annotation, neutral_steps=(1,)), verdict)
    assert column(mapped.steps, "verdict") == verdicts
    assert (mapped.first_error, mapped.neutral_steps) == (first_error, (1,))


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
