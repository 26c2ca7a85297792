"""Labels of people are carried over to other steps of the same text where that is exact."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepmark.records import (
    NO_ERROR,
    Annotation,
    StepAnnotation,
    Verdict,
    with_neutral_steps_as,
)
from storage.labelling.carry_over import CUT, INVALID, OTHER_TEXT, UNKNOWN_STEPS, carry_over
from tests.storage.labelling.samples import human

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN


def verdicts_of(annotation: Annotation | str) -> Sequence[Verdict]:
    assert isinstance(annotation, Annotation)
    return [step.verdict for step in annotation.steps]


def test_same_steps_keep_the_label() -> None:
    row = human(1, C, I, posterior=(0.1, 0.8, 0.1))
    assert carry_over(row, ("ab", "cd"), ("ab", "cd")) is row


@pytest.mark.parametrize(
    ("new_steps", "first_error", "verdicts"),
    [
        # Split finer: the first error is where its step begins.
        (("ab", "c", "d", "ef"), 1, [C, I, I, C]),
        (("a", "b", "c", "d", "ef"), 2, [C, C, I, I, C]),
        # Inside a larger step.
        (("abcd", "ef"), 0, [I, C]),
        (("a", "bcdef"), 1, [C, I]),
        (("abcdef",), 0, [I]),
        # A step begins where the step of the first error begins, and ends inside another.
        (("ab", "cde", "f"), 1, [C, I, C]),
    ],
)
def test_first_error_moves_by_position(
    new_steps: Sequence[str], first_error: int, verdicts: Sequence[Verdict]
) -> None:
    carried = carry_over(human(1, C, I, C), ("ab", "cd", "ef"), new_steps)
    assert isinstance(carried, Annotation)
    assert carried.first_error == first_error
    assert verdicts_of(carried) == verdicts


@pytest.mark.parametrize("new_steps", [("abc", "def"), ("a", "bc", "def"), ("abc", "d", "ef")])
def test_divided_first_error_is_not_carried(new_steps: Sequence[str]) -> None:
    assert carry_over(human(1, C, I, C), ("ab", "cd", "ef"), new_steps) == CUT


def test_empty_step_is_no_other_step() -> None:
    label = human(1, C, I, C)
    for new_steps in (("ab", "cd"), ("ab", "", "", "cd"), ("ab", "c", "d")):
        assert carry_over(label, ("ab", "", "cd"), new_steps) == CUT
    carried = carry_over(label, ("ab", "", "cd"), ("abcd",))
    assert isinstance(carried, Annotation)
    assert carried.first_error == 0


@pytest.mark.parametrize("first_error", [NO_ERROR, None])
def test_labels_without_error_are_carried(first_error: int | None) -> None:
    row = human(first_error, *((C, C) if first_error == NO_ERROR else (C, U)))
    carried = carry_over(row, ("ab", "cd"), ("abc", "d"))
    assert isinstance(carried, Annotation)
    assert carried.first_error == first_error
    assert verdicts_of(carried) == ([C, C] if first_error == NO_ERROR else [U, U])


def test_merged_steps_keep_rationales() -> None:
    carried = carry_over(human(None, U, C, C), ("ab", "cd", "ef"), ("ab", "cdef"))
    assert isinstance(carried, Annotation)
    assert carried.steps[1] == StepAnnotation(verdict=C, rationale="because 1\nbecause 2")


def test_neutral_steps_are_carried() -> None:
    row = human(NO_ERROR, C, C, C, neutral_steps=(1,))
    carried = carry_over(row, ("ab", "cd", "ef"), ("a", "b", "cdef"))
    assert isinstance(carried, Annotation)
    assert carried.neutral_steps == (2,)
    assert with_neutral_steps_as(carried, I).first_error == 2


@pytest.mark.parametrize(
    ("row", "old_steps", "reason"),
    [
        (human(0, I, C), ("ab", "xy"), OTHER_TEXT),
        (human(0, I), ("ab", "cd"), INVALID),
        (human(5, I, C), ("ab", "cd"), INVALID),
        (human(0, I, C), (), UNKNOWN_STEPS),
    ],
)
def test_unusable_labels_have_a_reason(
    row: Annotation, old_steps: Sequence[str], reason: str
) -> None:
    assert carry_over(row, old_steps, ("abc", "d")) == reason


@st.composite
def divided_texts(draw: st.DrawFn) -> tuple[Sequence[str], Sequence[str]]:
    """Generate a text that is cut into steps in two ways."""
    text = draw(st.text("ab ", min_size=1, max_size=12))
    divisions = list[Sequence[str]]()
    for _ in range(2):
        positions = st.sets(st.integers(1, len(text) - 1)) if len(text) > 1 else st.just(set())
        bounds = [0, *sorted(draw(positions)), len(text)]
        steps = [text[start:end] for start, end in pairwise(bounds)]
        divisions.append(steps)
    return divisions[0], divisions[1]


def start_of(steps: Sequence[str], index: int) -> int:
    return len("".join(steps[:index]))


@settings(max_examples=150, deadline=None)
@given(divided_texts(), st.data())
def test_first_error_never_leaves_its_text(
    divisions: tuple[Sequence[str], Sequence[str]], data: st.DataObject
) -> None:
    old_steps, new_steps = divisions
    old_error = data.draw(st.integers(NO_ERROR, len(old_steps) - 1))
    verdicts = [C] * len(old_steps)
    if old_error != NO_ERROR:
        later = st.lists(st.sampled_from(Verdict), min_size=len(old_steps), max_size=len(old_steps))
        verdicts[old_error:] = [I, *data.draw(later)[old_error + 1 :]]
    carried = carry_over(human(old_error, *verdicts), old_steps, new_steps)
    if isinstance(carried, str):
        assert carried == CUT
        return
    assert len(carried.steps) == len(new_steps)
    new_error = carried.first_error
    assert new_error is not None
    if old_error == NO_ERROR:
        assert new_error == NO_ERROR
        return
    old_start = start_of(old_steps, old_error)
    new_start = start_of(new_steps, new_error)
    assert new_start <= old_start < new_start + len(new_steps[new_error])
    if new_start != old_start:
        assert old_start + len(old_steps[old_error]) <= new_start + len(new_steps[new_error])
    # The verdicts agree with the first error.
    assert verdicts_of(carried)[: new_error + 1] == [C] * new_error + [I]
