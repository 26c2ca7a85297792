"""How labels of two kinds are made one kind and scored; distilabel itself is run by the benchmark."""

from dataclasses import replace

import pytest

from benchmarks.peer import (
    AT_ONCE,
    IN_TURN,
    OURS,
    Labels,
    Spent,
    _is_numbered,
    merged,
    score,
    summary,
    table,
)
from tests.filters.samples import C, I, U, candidate


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([C, C, C], [C, C]),
        ([C, C, I], [C, I]),
        ([C, I, C], [C, I]),
        ([C, U, C], [C, U]),
        ([U, U, I], [U, I]),
    ],
)
def test_the_answer_is_one_step_with_the_last(steps: Labels, expected: Labels) -> None:
    assert merged(steps) == expected


def test_a_label_counts_where_both_know_and_an_undecided_trace_is_a_miss() -> None:
    labels = [[C, I, I], [C, U, I], [C, C, C], [I, I, I]]
    truths = [[C, I, C], [C, I, I], [C, C, U], [C, C, C]]
    told = score(labels, truths, Spent(seconds=2.0, generated_tokens=50), foreign_cores=0.0)
    assert (told.labelled_steps, told.steps_per_second) == (11, 5.5)
    # 10 steps are known to both, and 6 of them are the same.
    assert told.steps_right == pytest.approx(0.6)
    # The third trace's truth is not known; of the others one first error is found, one is undecided, one is invented.
    assert told.first_errors_right == pytest.approx(0.333)


@pytest.mark.parametrize(
    ("steps", "numbered"),
    [
        (("Step 1: a\n", "Step 2: b\n", "Step 3: c\n", "The answer is 3."), True),
        (("Step 1: a\n", "Step 2: b\n", "The answer is 3."), False),
        (("Step 1: a\n", "Step 3: b\n", "Step 3: c\n", "The answer is 3."), False),
        (("Step 1: a\n", "Step 2: b\n", "Step 3: c\n", "Step 4: d\n"), False),
    ],
    ids=["as both read it", "too short for distilabel", "numbered wrongly", "no answer"],
)
def test_only_traces_that_both_can_label_are_compared(
    steps: tuple[str, ...], numbered: bool
) -> None:
    assert _is_numbered(candidate("t", *steps).trace) is numbered


def test_the_ratio_is_to_the_faster_way_of_distilabel() -> None:
    quick = score([[C]], [[C]], Spent(seconds=1.0, generated_tokens=1), foreign_cores=0.0)
    ways = {
        OURS: quick,
        AT_ONCE: replace(quick, steps_per_second=0.8),
        IN_TURN: replace(quick, steps_per_second=0.4),
    }
    told = summary([ways, ways])
    assert told["ratio"] == 1.25
    assert table(told).row_count == 6
