"""PROF, on the paper's own figure (arXiv 2509.03403, figure 1) and by hand."""

import pytest

from filters.base import Candidate
from filters.prof import Prof
from stepmark.records import Verdict
from tests.filters.samples import C, I, U, candidate, drops


def traces(outcome: Verdict, *values: float, problem: str = "p") -> list[Candidate]:
    return [
        candidate(f"{problem} {outcome} {value}", outcome=outcome, values=(value,), problem=problem)
        for value in values
    ]


def left(filter_: Prof, given: list[Candidate]) -> list[str]:
    dropped = drops(filter_, given)
    return sorted(each.trace.trace_id for each in given if each.trace.trace_id not in dropped)


def test_of_five_right_and_three_wrong_the_paper_keeps_two_and_two() -> None:
    """Eight rollouts, four kept: the three lowest right ones go, and the highest wrong one."""
    given = traces(C, 0.9, 0.8, 0.75, 0.6, 0.5) + traces(I, 0.1, 0.2, 0.4)
    assert left(Prof(), given) == [
        "p correct 0.8",
        "p correct 0.9",
        "p incorrect 0.1",
        "p incorrect 0.2",
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "keep", "share", "kept"),
    [
        (6, 2, 0.5, 0.5, (2, 2)),
        (7, 1, 0.5, 0.5, (3, 1)),
        (1, 7, 0.5, 0.5, (1, 3)),
        (8, 0, 0.5, 0.5, (4, 0)),
        (0, 8, 0.5, 0.5, (0, 4)),
        (3, 3, 0.5, 0.5, (2, 1)),
        (1, 0, 0.5, 0.5, (1, 0)),
        (5, 3, 1.0, 0.5, (5, 3)),
        (5, 3, 0.0, 0.5, (0, 0)),
        (8, 8, 0.5, 0.25, (2, 6)),
        (8, 8, 0.5, 1.0, (8, 0)),
        (10, 0, 0.7, 0.5, (7, 0)),
    ],
)
def test_as_many_right_as_wrong_are_kept_where_there_are_enough(
    right: int, wrong: int, keep: float, share: float, kept: tuple[int, int]
) -> None:
    given = traces(C, *(index / 20 for index in range(right))) + traces(
        I, *(index / 20 for index in range(wrong))
    )
    stay = left(Prof(keep=keep, right=share), given)
    assert (
        sum(" correct" in name for name in stay),
        sum(" incorrect" in name for name in stay),
    ) == kept


def test_every_problem_is_filtered_alone() -> None:
    given = traces(C, 0.9, 0.1) + traces(C, 0.5, 0.2, problem="q")
    assert left(Prof(), given) == ["p correct 0.9", "q correct 0.5"]


def test_the_mean_is_of_the_steps_that_have_a_value_and_the_reason_tells_it() -> None:
    given = [candidate("a", values=(1.0, None, 0.0)), candidate("b", values=(None, 0.6))]
    reason = "mean step value 0.500, not among the 1 highest of the problem's 2 right answers"
    assert drops(Prof(), given) == {"a": reason}
    wrong = [each._replace(trace=candidate(each.trace.trace_id, outcome=I).trace) for each in given]
    assert drops(Prof(), wrong) == {
        "b": "mean step value 0.600, not among the 1 lowest of the problem's 2 wrong answers"
    }


def test_what_has_no_value_or_no_known_outcome_is_not_counted_and_stays() -> None:
    mute = [candidate("mute", values=(None, None)), *traces(U, 0.1, 0.2)]
    assert drops(Prof(), mute) == {}
    assert drops(Prof(), [*mute, *traces(C, 0.9, 0.8)]).keys() == {"p correct 0.8"}


def test_equal_values_are_told_apart_the_same_way_each_time() -> None:
    given = [candidate(name, values=(0.5,)) for name in "abcdef"]
    assert len(drops(Prof(), given)) == 3
    assert drops(Prof(), given) == drops(Prof(), given[::-1])
