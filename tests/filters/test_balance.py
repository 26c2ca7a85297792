"""Balance: as many with a first error as without, whichever side has too many."""

import pytest

from filters.balance import Balance
from filters.base import Candidate
from stepmark.records import NO_ERROR
from tests.filters.samples import candidate, drops


def side(letter: str, count: int, first_error: int | None) -> list[Candidate]:
    return [candidate(f"{letter}{number}", first_error=first_error) for number in range(count)]


@pytest.mark.parametrize(
    ("positives", "negatives", "ratio", "left"),
    [
        (3, 5, 1.0, (3, 3)),
        (5, 3, 1.0, (3, 3)),
        (4, 4, 1.0, (4, 4)),
        (3, 9, 2.0, (3, 6)),
        (9, 4, 2.0, (2, 4)),
        (4, 9, 0.5, (4, 2)),
        (0, 7, 1.0, (0, 0)),
        (7, 0, 1.0, (0, 0)),
    ],
)
def test_the_larger_side_is_cut_to_the_ratio(
    positives: int, negatives: int, ratio: float, left: tuple[int, int]
) -> None:
    given = side("p", positives, NO_ERROR) + side("n", negatives, 0)
    dropped = drops(Balance(negatives_per_positive=ratio), given)
    stay = [each.trace.trace_id for each in given if each.trace.trace_id not in dropped]
    assert (sum(name[0] == "p" for name in stay), sum(name[0] == "n" for name in stay)) == left


def test_the_reason_counts_both_sides() -> None:
    assert set(drops(Balance(), side("p", 1, NO_ERROR) + side("n", 3, 2)).values()) == {
        "1 of 3 with a first error are kept, for 1 without one"
    }
    assert set(drops(Balance(), side("p", 4, NO_ERROR) + side("n", 2, 2)).values()) == {
        "2 of 4 without an error are kept, for 2 with one"
    }


def test_what_is_undecided_is_not_counted_and_stays() -> None:
    assert drops(Balance(), side("p", 2, NO_ERROR) + side("u", 9, None) + side("n", 2, 0)) == {}


def test_a_trace_that_went_goes_however_many_more_there_are() -> None:
    """Of more of the larger side, the same come first."""
    few = drops(Balance(), side("p", 10, NO_ERROR) + side("n", 20, 0))
    more = drops(Balance(), side("p", 10, NO_ERROR) + side("n", 40, 0))
    assert few.keys() < more.keys()
    assert len(few) == 10
    assert len(more) == 30
