"""Labels of Stepmark and distilabel become comparable; distilabel itself runs in the benchmark."""

from dataclasses import replace

import pytest

from benchmarks.peer.benchmark import (
    DISTILABEL_AT_ONCE,
    DISTILABEL_IN_TURN,
    STEPMARK,
    is_numbered,
    score_table,
    summarize,
)
from benchmarks.peer.scores import Labels, Usage, merge_answer, score_labels
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
def test_answer_is_merged_with_last_step(steps: Labels, expected: Labels) -> None:
    assert merge_answer(steps) == expected


def test_undecided_traces_count_as_misses() -> None:
    labels = [[C, I, I], [C, U, I], [C, C, C], [I, I, I]]
    truths = [[C, I, C], [C, I, I], [C, C, U], [C, C, C]]
    score = score_labels(labels, truths, Usage(seconds=2.0, generated_tokens=50), foreign_cores=0.0)
    # 11 of the 12 steps have a label, in 2 s.
    assert (score.labelled_steps, score.steps_per_second) == (11, 5.5)
    # Of the 10 steps that both decide, 6 have the same label.
    assert score.steps_right == pytest.approx(0.6)
    # The truth of the third trace is unknown. Of the others, one first error is exact, one is
    # undecided, and one is found where there is none.
    assert score.first_errors_right == pytest.approx(0.333)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("Step 1: a\n", "Step 2: b\n", "Step 3: c\n", "The answer is 3."), True),
        (("Step 1: a\n", "Step 2: b\n", "The answer is 3."), False),
        (("Step 1: a\n", "Step 3: b\n", "Step 3: c\n", "The answer is 3."), False),
        (("Step 1: a\n", "Step 2: b\n", "Step 3: c\n", "Step 4: d\n"), False),
    ],
    ids=["readable by both", "too short for distilabel", "wrong numbers", "no answer"],
)
def test_only_numbered_traces_are_compared(steps: tuple[str, ...], expected: bool) -> None:
    assert is_numbered(candidate("t", *steps).trace) is expected


def test_ratio_is_to_faster_distilabel() -> None:
    usage = Usage(seconds=1.0, generated_tokens=1)
    score = score_labels([[C]], [[C]], usage, foreign_cores=0.0)
    scores = {
        STEPMARK: score,
        DISTILABEL_AT_ONCE: replace(score, steps_per_second=0.8),
        DISTILABEL_IN_TURN: replace(score, steps_per_second=0.4),
    }
    summary = summarize([scores, scores])
    # One step per second, divided by the 0.8 of the faster distilabel.
    assert summary["ratio"] == 1.25
    assert score_table(summary).row_count == 6
