"""PROF, with the example of the paper (arXiv 2509.03403, figure 1) and computed by hand."""

import pytest

from filters.base import Candidate
from filters.prof import Prof
from stepmark.records import Verdict
from tests.filters.samples import C, I, U, candidate, drops


def traces(outcome: Verdict, *values: float, problem: str = "p") -> list[Candidate]:
    # The ids name the outcome and the value, for readable expectations.
    return [
        candidate(f"{problem} {outcome} {value}", outcome=outcome, values=(value,), problem=problem)
        for value in values
    ]


def kept_ids(filter_: Prof, candidates: list[Candidate]) -> list[str]:
    """Return the sorted ids of the traces that the filter keeps."""
    trace_ids = {candidate.trace.trace_id for candidate in candidates}
    return sorted(trace_ids - drops(filter_, candidates).keys())


def test_example_of_the_paper() -> None:
    """Keep four of eight: the three lowest correct and the highest incorrect are dropped."""
    candidates = traces(C, 0.9, 0.8, 0.75, 0.6, 0.5) + traces(I, 0.1, 0.2, 0.4)
    assert kept_ids(Prof(), candidates) == [
        "p correct 0.8",
        "p correct 0.9",
        "p incorrect 0.1",
        "p incorrect 0.2",
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "keep", "share", "expected"),
    [
        (6, 2, 0.5, 0.5, (2, 2)),
        # One class is too small for its share, and the other fills the rest.
        (7, 1, 0.5, 0.5, (3, 1)),
        (1, 7, 0.5, 0.5, (1, 3)),
        (8, 0, 0.5, 0.5, (4, 0)),
        (0, 8, 0.5, 0.5, (0, 4)),
        # An odd number to keep: the correct class gets one more.
        (3, 3, 0.5, 0.5, (2, 1)),
        (1, 0, 0.5, 0.5, (1, 0)),
        (5, 3, 1.0, 0.5, (5, 3)),
        (5, 3, 0.0, 0.5, (0, 0)),
        (8, 8, 0.5, 0.25, (2, 6)),
        (8, 8, 0.5, 1.0, (8, 0)),
        # Seven of ten are kept, all of the only class.
        (10, 0, 0.7, 0.5, (7, 0)),
    ],
)
def test_outcomes_are_balanced(
    right: int, wrong: int, keep: float, share: float, expected: tuple[int, int]
) -> None:
    values = [index / 20 for index in range(10)]
    candidates = traces(C, *values[:right]) + traces(I, *values[:wrong])
    outcomes = [
        trace_id.split()[1] for trace_id in kept_ids(Prof(keep=keep, right=share), candidates)
    ]
    assert (outcomes.count("correct"), outcomes.count("incorrect")) == expected


def test_problems_are_filtered_separately() -> None:
    candidates = traces(C, 0.9, 0.1) + traces(C, 0.5, 0.2, problem="q")
    assert kept_ids(Prof(), candidates) == ["p correct 0.9", "q correct 0.5"]


def test_reason_contains_mean_value() -> None:
    # Steps without a value do not enter the mean.
    correct = [candidate("a", values=(1.0, None, 0.0)), candidate("b", values=(None, 0.6))]
    reason = "mean step value 0.500, not among the 1 highest of the problem's 2 right answers"
    assert drops(Prof(), correct) == {"a": reason}
    incorrect = [
        candidate("a", values=(1.0, None, 0.0), outcome=I),
        candidate("b", values=(None, 0.6), outcome=I),
    ]
    assert drops(Prof(), incorrect) == {
        "b": "mean step value 0.600, not among the 1 lowest of the problem's 2 wrong answers"
    }


def test_traces_without_value_are_kept() -> None:
    not_counted = [candidate("no value", values=(None, None)), *traces(U, 0.1, 0.2)]
    assert drops(Prof(), not_counted) == {}
    assert drops(Prof(), [*not_counted, *traces(C, 0.9, 0.8)]).keys() == {"p correct 0.8"}


def test_ties_are_broken_deterministically() -> None:
    candidates = [candidate(name, values=(0.5,)) for name in "abcdef"]
    assert len(drops(Prof(), candidates)) == 3
    # The order of candidates does not decide between equal values.
    assert drops(Prof(), candidates) == drops(Prof(), candidates[::-1])
