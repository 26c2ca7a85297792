"""Balance: traces of the larger class are dropped."""

import pytest

from filters.balance import Balance
from filters.base import Candidate
from stepmark.records import NO_ERROR
from tests.filters.samples import candidate, drops


def traces(letter: str, count: int, first_error: int | None) -> list[Candidate]:
    """Build traces whose ids begin with a letter."""
    return [candidate(f"{letter}{number}", first_error=first_error) for number in range(count)]


@pytest.mark.parametrize(
    ("positives", "negatives", "ratio", "expected"),
    [
        (3, 5, 1.0, (3, 3)),
        (5, 3, 1.0, (3, 3)),
        (4, 4, 1.0, (4, 4)),
        # Two negatives for each positive.
        (3, 9, 2.0, (3, 6)),
        # Here the positives are the larger class, relative to the ratio.
        (9, 4, 2.0, (2, 4)),
        (4, 9, 0.5, (4, 2)),
        # Without one class nothing can be balanced.
        (0, 7, 1.0, (0, 0)),
        (7, 0, 1.0, (0, 0)),
    ],
)
def test_larger_class_is_reduced(
    positives: int, negatives: int, ratio: float, expected: tuple[int, int]
) -> None:
    candidates = traces("p", positives, NO_ERROR) + traces("n", negatives, 0)
    dropped = drops(Balance(negatives_per_positive=ratio), candidates)
    kept_classes = []
    for kept in candidates:
        if kept.trace.trace_id not in dropped:
            kept_classes.append(kept.trace.trace_id[0])
    assert (kept_classes.count("p"), kept_classes.count("n")) == expected


def test_reason_counts_both_classes() -> None:
    many_negatives = traces("p", 1, NO_ERROR) + traces("n", 3, 2)
    assert set(drops(Balance(), many_negatives).values()) == {
        "1 of 3 traces with a first error are kept, because 1 have none"
    }
    many_positives = traces("p", 4, NO_ERROR) + traces("n", 2, 2)
    assert set(drops(Balance(), many_positives).values()) == {
        "2 of 4 traces without an error are kept, because 2 have one"
    }


def test_undecided_traces_are_kept() -> None:
    undecided = traces("u", 9, None)
    assert drops(Balance(), traces("p", 2, NO_ERROR) + undecided + traces("n", 2, 0)) == {}


def test_selection_is_stable() -> None:
    """Check that a trace that is dropped is also dropped among more traces."""
    few = drops(Balance(), traces("p", 10, NO_ERROR) + traces("n", 20, 0))
    more = drops(Balance(), traces("p", 10, NO_ERROR) + traces("n", 40, 0))
    # More traces of the larger class do not bring back a dropped one.
    assert few.keys() < more.keys()
    assert len(few) == 10
    assert len(more) == 30
