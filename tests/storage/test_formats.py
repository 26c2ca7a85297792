"""Trainer formats: their exact rows, and the contract of every format."""

import dataclasses
import re
from dataclasses import replace
from typing import Any, get_type_hints

import pyarrow as pa
import pytest

from stepmark import plugins
from stepmark.records import (
    Label,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
    first_error_of,
)
from storage.dataset.rows import replace_surrogates
from storage.formats.base import Example, Format, LeftOut, ProblemFormat, exported_rows
from storage.formats.math_aps import MathAps
from storage.formats.math_shepherd import MathShepherd
from storage.formats.prm800k import Prm800k
from storage.formats.prmbench import PrmBench
from storage.formats.processbench import ProcessBench
from storage.formats.trl import Trl
from tests.storage.samples import (
    ANNOTATION,
    BAD,
    CRITIQUE,
    GOOD,
    LABEL,
    PROBLEM,
    ROLLOUT,
    TRACE,
    UNKNOWN,
    labelled,
)

KIND = "storage.formats"
MONTE_CARLO = replace(
    ANNOTATION,
    method="monte_carlo",
    error=None,
    steps=(StepAnnotation(verdict=GOOD, value=0.5, successes=1, trials=2),) * 3,
)


def judged(trace: Trace, label: Label) -> Example:
    """Return an example with a reply that agrees with the label, and one that does not."""
    verdicts = tuple(step.label for step in label.steps)
    agreeing = replace(CRITIQUE, verdicts=verdicts, first_error=first_error_of(verdicts))
    disagreeing = replace(CRITIQUE, vote=2, text="No.", verdicts=verdicts, first_error=77)
    return Example(problem=PROBLEM, trace=trace, label=label, critiques=(disagreeing, agreeing))


RIGHT = replace(judged(TRACE, LABEL), rollouts=(ROLLOUT,), annotations=(MONTE_CARLO,))
VALUED_LABEL = replace(LABEL, steps=(*LABEL.steps[:2], StepLabel(label=GOOD, value=0.25)))
WRONG = Example(
    problem=PROBLEM,
    trace=replace(TRACE, trace_id="wrong", steps=("2 + 3 = 6\n", "The answer is 6."), outcome=BAD),
    label=replace(
        LABEL, trace_id="wrong", steps=(StepLabel(label=BAD), StepLabel()), first_error=0
    ),
)


def example(*verdicts: Verdict) -> Example:
    return judged(*labelled("t", *verdicts))


def rows(exporter: Format, *examples: Example) -> list[Any]:
    items = list[Any]()
    for item in exported_rows(exporter, examples):
        items.append(item if isinstance(item, LeftOut) else item.row)
    return items


def with_steps(*steps: str) -> Example:
    labelled_example = example(*[GOOD] * len(steps))
    return replace(labelled_example, trace=replace(labelled_example.trace, steps=steps))


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_formats_are_frozen_dataclasses(name: str) -> None:
    plugin = plugins.load(KIND, name)
    assert dataclasses.fields(plugin) is not None
    assert plugin.__dataclass_params__.frozen
    assert isinstance(plugin.version, int)
    assert re.fullmatch(r"\w+", plugin.split)
    if isinstance(plugin(), ProblemFormat):
        assert "examples" in get_type_hints(plugin.problem_rows)
    else:
        assert "example" in get_type_hints(plugin.rows)


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_rows_match_the_schema(name: str) -> None:
    plugin = plugins.load(KIND, name)
    valued = replace(RIGHT, label=VALUED_LABEL)
    items = rows(plugin(), RIGHT, valued, example(GOOD, BAD, UNKNOWN), WRONG)
    exported = [item for item in items if not isinstance(item, LeftOut)]
    assert exported
    table = pa.Table.from_pylist(exported, schema=plugin.schema)
    table.validate(full=True)
    assert table.to_pylist() == exported


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_left_out_examples_have_reasons(name: str) -> None:
    exported = rows(
        plugins.load(KIND, name)(),
        RIGHT,
        example(),
        example(UNKNOWN),
        example(GOOD, UNKNOWN, BAD),
        example(BAD),
    )
    # A row is made of several examples, of one, or of one of their nine steps.
    assert 2 <= len(exported) <= 10
    assert all(item.reason for item in exported if isinstance(item, LeftOut))
    assert LeftOut("it has no steps") in exported


def test_trl_row() -> None:
    assert rows(Trl(), RIGHT) == [
        {
            "prompt": "How many are 2 and 3?\nTimes 4?",
            "completions": ["2 + 3 = 5", "5 * 4 = 20", "The answer is 20."],
            "labels": [True, True, True],
        }
    ]


@pytest.mark.parametrize("exporter", [Trl(), MathShepherd()])
@pytest.mark.parametrize(
    ("verdicts", "steps"),
    [
        ((GOOD, GOOD), 2),
        ((GOOD, BAD, GOOD), 2),
        ((BAD, UNKNOWN), 1),
        ((GOOD, UNKNOWN, BAD), None),
        ((GOOD, UNKNOWN), None),
        ((UNKNOWN,), None),
    ],
)
def test_training_ends_at_first_error(
    exporter: Format, verdicts: tuple[Verdict, ...], steps: int | None
) -> None:
    [exported] = rows(exporter, example(*verdicts))
    if steps is None:
        assert exported == LeftOut("a step is undecided")
    else:
        # Math-Shepherd repeats the steps in its label.
        assert str(exported).count("step 0") in (1, 2)
        assert f"step {steps - 1}" in str(exported)
        assert f"step {steps}" not in str(exported)


def test_decided_steps_after_error_remain() -> None:
    decided, undecided = rows(
        Trl(after_error="keep"), example(GOOD, BAD, GOOD), example(GOOD, BAD, UNKNOWN)
    )
    assert decided["labels"] == [True, False, True]
    assert undecided == LeftOut("a step is undecided")


@pytest.mark.parametrize("exporter", [Trl(), MathShepherd()])
def test_blank_step_is_left_out(exporter: Format) -> None:
    assert rows(exporter, with_steps("a\n", " \n\t")) == [LeftOut("a step is blank")]


def test_math_shepherd_row() -> None:
    [row] = rows(MathShepherd(), example(GOOD, BAD))
    assert row == {
        "input": "How many are 2 and 3?\nTimes 4? Step 1: step 0 ки\nStep 2: step 1 ки",
        "label": "How many are 2 and 3?\nTimes 4? Step 1: step 0 +\nStep 2: step 1 -",
        "task": "arithmetic",
    }


def test_math_shepherd_can_be_parsed() -> None:
    """Parse a row like TRL's conversion script.

    The marker is replaced by one character, at whose positions the label has the signs.
    """
    [row] = rows(
        MathShepherd(),
        # Signs and a line feed in a step must not be mistaken for the label's signs.
        with_steps("Let x = 1 - 2 + 3\nand more\n", "x + ки"[:3]),
        example(GOOD, BAD),
    )[1:]
    text = row["input"].replace("ки", "ⶻ")
    signs = [row["label"][match.start()] for match in re.finditer("ⶻ", text)]
    assert signs == ["+", "-"]
    assert text.replace("ⶻ", "") == re.sub(r" [+-](?=\n|$)", " ", row["label"])


def test_math_shepherd_numbers_steps_once() -> None:
    # Only the right number counts as already written: the third step gets a second one.
    [row] = rows(MathShepherd(), with_steps("Step 1: a\n", "Step 2 : b\n", "Step 30: c\n"))
    assert row["input"].endswith("Step 1: a ки\nStep 2 : b ки\nStep 3: Step 30: c ки")
    # Readers find the end of the question by the exact text.
    [row] = rows(MathShepherd(), with_steps("Step 1 : a\n"))
    assert row["input"].endswith(" Step 1: Step 1 : a ки")
    [item] = rows(MathShepherd(), with_steps("a, and Step 1: b\n"))
    assert item == LeftOut('its first step holds "Step 1:" in its text')


@pytest.mark.parametrize(
    ("question", "step", "reason"),
    [
        ("a", "мальчики", "its text holds the marker ки"),
        ("книги ки", "a", "its text holds the marker ки"),
        ("a Step 1: b", "a", 'its question holds "Step 1:"'),
    ],
)
def test_ambiguous_text_is_left_out(question: str, step: str, reason: str) -> None:
    hostile = replace(with_steps("fine\n", step), problem=replace(PROBLEM, question=question))
    assert rows(MathShepherd(), hostile) == [LeftOut(reason)]
    assert len(rows(Trl(), hostile)[0]["labels"]) == 2


def test_processbench_row() -> None:
    right, wrong = rows(ProcessBench(), RIGHT, example(GOOD, BAD, UNKNOWN))
    assert right == {
        "id": "t0",
        "generator": "some/model",
        "problem": "How many are 2 and 3?\nTimes 4?",
        "steps": ["2 + 3 = 5", "5 * 4 = 20", "The answer is 20."],
        "final_answer_correct": True,
        "label": -1,
    }
    assert (wrong["label"], len(wrong["steps"])) == (1, 3)


def test_processbench_leaves_out_undecided() -> None:
    undecided = replace(RIGHT, trace=replace(TRACE, outcome=UNKNOWN))
    wrong = replace(RIGHT, trace=replace(TRACE, outcome=BAD))
    by_steps = example(GOOD, BAD)
    # The method decided each step, but not the first error.
    by_steps = replace(by_steps, label=replace(by_steps.label, first_error=None))
    exported = rows(ProcessBench(), undecided, example(GOOD, UNKNOWN), by_steps, wrong)
    assert exported[:3] == [
        LeftOut("its final answer is undecided"),
        LeftOut("its first error is undecided"),
        LeftOut("its first error is undecided"),
    ]
    assert exported[3]["final_answer_correct"] is False


def test_prm800k_rates_until_first_error() -> None:
    right, wrong, undecided, nothing = rows(
        Prm800k(),
        RIGHT,
        example(GOOD, BAD, GOOD),
        example(GOOD, UNKNOWN),
        example(UNKNOWN, UNKNOWN),
    )
    assert right["question"]["pre_generated_steps"] == [
        "2 + 3 = 5",
        "5 * 4 = 20",
        "The answer is 20.",
    ]
    assert right["question"]["ground_truth_answer"] == "20"
    assert right["label"]["finish_reason"] == "solution"
    assert wrong["question"]["pre_generated_steps"] == ["step 0", "step 1", "step 2"]
    assert ratings(wrong) == [1, -1]
    assert [step["chosen_completion"] for step in wrong["label"]["steps"]] == [0, None]
    assert wrong["label"]["finish_reason"] == "found_error"
    assert ratings(undecided) == [1, None]
    assert undecided["label"]["finish_reason"] is None
    assert nothing == LeftOut("no step is decided")


def test_prm800k_rates_neutral_steps_zero() -> None:
    neutral = replace(example(GOOD, GOOD, BAD), neutral_steps=(1,))
    mapped = [
        replace(example(GOOD, BAD, BAD), neutral_steps=(1,)),
        replace(example(GOOD, UNKNOWN, BAD), neutral_steps=(1,)),
    ]
    exported = rows(Prm800k(), neutral, *mapped)
    assert [ratings(row) for row in exported] == [[1, 0, -1], [1, -1], [1, None, -1]]


def ratings(row: Any) -> list[int | None]:
    return [step["completions"][0]["rating"] for step in row["label"]["steps"]]


def test_prmbench_numbers_steps_from_one() -> None:
    exporter = PrmBench(after_error="keep")
    exported = rows(exporter, example(GOOD, BAD, BAD), RIGHT, example(GOOD, UNKNOWN))
    assert [row["error_steps"] for row in exported[:2]] == [[2, 3], []]
    assert [row["original_process"] for row in exported[:2]] == [None, None]
    assert exported[2] == LeftOut("a step is undecided")


def test_math_aps_lists_prefixes() -> None:
    problem = replace(PROBLEM, problem_id="other", question="Two?", metadata={"mc_value": "0.25"})
    exported = rows(
        MathAps(),
        with_values(0.5, 0.0),
        example(GOOD),
        with_values(0.5, None, 1.0),
        with_values(0.25, 0.0),
        replace(with_values(0.5), problem=problem),
    )
    first = f"{PROBLEM.question}\n\nstep 0"
    second = f"{first}\n\nstep 1"
    assert exported[0] == LeftOut("no step has a value")
    assert prefixes(exported[1]) == [
        (first, 0.5),
        (second, 0.0),
        (second, None),
        (f"{second}\n\nstep 2", 1.0),
        (first, 0.25),
    ]
    assert prefixes(exported[2]) == [
        ("Two?", 0.25),
        ("Two?\n\nstep 0", 0.5),
    ]


def with_values(*values: float | None) -> Example:
    valued = example(*[GOOD] * len(values))
    steps = tuple(StepLabel(value=value) for value in values)
    return replace(valued, label=replace(valued.label, steps=steps))


def prefixes(row: Any) -> list[tuple[str, float | None]]:
    """Return the prefixes of a MATH-APS row with their values."""
    return [(step["solution_prefix"], step["mc_value"]) for step in row["reasoning_steps"]]


# The keys of trace metadata that formats parse.
METADATA_KEYS = (
    "offered",
    "gaps",
    "original_process",
    "modified_steps",
    "generation",
    "total_time",
    "question_id",
    "mc_value",
)
HOSTILE = (
    "",
    "null",
    "7",
    '"x"',
    "[7]",
    '[{"completions": 7}]',
    # Too deep for the JSON parser, and a number with too many digits for int.
    "[" * 100_000,
    "1" * 5000,
    '["\\ud800"]',
    "nan",
    "1e999",
    "{}",
    "[[]]",
    "[null, null, null]",
)


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_invalid_imported_metadata_is_ignored(name: str) -> None:
    plugin = plugins.load(KIND, name)
    for text in HOSTILE:
        metadata = dict.fromkeys(METADATA_KEYS, text)
        imported = replace(
            RIGHT,
            problem=replace(PROBLEM, metadata=metadata),
            trace=replace(TRACE, metadata=metadata),
            label=replace(VALUED_LABEL, sources=("human",)),
        )
        wrong = replace(WRONG, problem=imported.problem)
        items = rows(plugin(), imported, wrong)
        exported = [replace_surrogates(item) for item in items if not isinstance(item, LeftOut)]
        assert exported
        pa.Table.from_pylist(exported, schema=plugin.schema).validate(full=True)
