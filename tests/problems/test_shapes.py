"""Shapes of data sets with solutions: what a published row means, and that no row can hurt its neighbours."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from problems.solution_formats import math_aps
from problems.solution_formats.base import Shape, Solution
from problems.tabular import plain_columns as _flat
from problems.tabular import readers as _rows
from problems.tabular.columns import UnusableError
from problems.tabular.problem_formats import shape_of
from problems.tabular.readers import Row
from stepmark import plugins
from stepmark.records import Problem, Verdict
from storage.dataset.tables import is_method

ROOM = "problems.shapes"
SAMPLES = Path(__file__).parent / "samples"
SHORT = {Verdict.CORRECT: "c", Verdict.INCORRECT: "i", Verdict.UNKNOWN: "u"}
DIFFERS = "not the input with + or - for its markers: it differs"
HOSTILE: Sequence[Any] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        0.5,
        -0.0,
        2**70,
        10**400,
        float("nan"),
        float("inf"),
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": 1},
        [1, 1],
    ),
    *(
        "",
        " ",
        "\n\n",
        "x",
        "a\ud800",
        "\0",
        "\u202e",
        "ки",
        "Step 1:",
        "Step 1: ки",
        "found_error",
        "9" * 5000,
        "(" * 5000,
    ),
)


def sample(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def read(name: str, value: Mapping[str, Any]) -> list[Solution | UnusableError]:
    shape: Shape = plugins.build(ROOM, {"use": name})
    found: list[Solution | UnusableError] = []
    try:
        found.extend(shape.solutions(Row("file", 1, value)))
    except UnusableError as error:
        found.append(error)
    return found


def solutions(name: str, value: Mapping[str, Any]) -> list[Solution]:
    return [item for item in read(name, value) if isinstance(item, Solution)]


def flaws(name: str, value: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (item.field, item.reason) for item in read(name, value) if isinstance(item, UnusableError)
    ]


def verdicts(found: Solution) -> str:
    [steps] = found.annotations.values()
    return "".join(SHORT[step.verdict] for step in steps)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a value."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


@pytest.mark.parametrize("name", plugins.available(ROOM))
def test_a_shape_is_a_frozen_dataclass_that_declares_itself(name: str) -> None:
    plugin = plugins.load(ROOM, name)
    assert dataclasses.fields(plugin) is not None
    assert plugin.__dataclass_params__.frozen
    assert isinstance(plugin.version, int)
    assert isinstance(plugin.domain, str)
    assert plugin().needed
    assert "row" in get_type_hints(plugin.solutions)


@pytest.mark.parametrize("name", plugins.available(ROOM))
def test_wrong_values_at_every_place_are_a_reason_or_a_sound_solution(name: str) -> None:
    usable = 0
    for row in sample(name):
        for path in places(row):
            for new in HOSTILE:
                for found in read(name, changed(row, path, new)):
                    if isinstance(found, UnusableError):
                        assert found.field
                        assert found.reason
                    else:
                        usable += 1
                        sound(found)
    assert usable > 0


def sound(found: Solution) -> None:
    texts = [
        *found.steps,
        found.problem.question,
        found.problem.answer or "",
        *found.metadata.values(),
        *found.problem.metadata.values(),
    ]
    assert all(isinstance(text, str) and text.encode() is not None for text in texts)
    assert found.steps
    assert all(text.strip() for text in found.steps)
    for method, steps in found.annotations.items():
        assert is_method(method)
        assert len(steps) == len(found.steps)
        assert all(step.value is None or 0 <= step.value <= 1 for step in steps)


@pytest.mark.parametrize("name", plugins.available(ROOM))
def test_a_missing_field_is_no_crash(name: str) -> None:
    for row in sample(name):
        for path in places(row):
            if isinstance(path[-1], str):
                lacking = copy.deepcopy(row)
                inner: Any = lacking
                for key in path[:-1]:
                    inner = inner[key]
                del inner[path[-1]]
                for found in read(name, lacking):
                    assert isinstance(found, Solution) or (found.field and found.reason)


def test_prm800k_rates_the_steps_that_were_there_up_to_where_people_stopped() -> None:
    [found] = solutions("prm800k", sample("prm800k")[1])
    assert found.steps[1:] == (
        "Boxes are made of wood.\n\n",
        "So five boxes have $7+5=12$ balls.\n\n",
        "# Answer\n\n12",
    )
    assert verdicts(found) == "cciu"
    assert [step.rationale for step in found.annotations["human"]] == [
        "",
        "neutral",
        "",
        "not rated",
    ]
    assert (found.final_answer, found.problem.answer) == ("12", "35")
    assert found.metadata["finish_reason"] == "found_error"
    assert (found.metadata["generation"], found.metadata["is_quality_control_question"]) == (
        "9",
        "false",
    )
    assert json.loads(found.metadata["offered"]) == sample("prm800k")[1]["label"]["steps"]


def test_prm800k_without_such_steps_is_the_chosen_path_where_people_wrote_what_no_completion_was() -> (
    None
):
    [found] = solutions("prm800k", sample("prm800k")[0])
    assert [step.strip() for step in found.steps][1:] == [
        "So five boxes have $7\\cdot 5=35$ balls.",
        "# Answer\n\n35",
    ]
    assert (verdicts(found), found.final_answer) == ("ccc", "35")
    assert json.loads(found.metadata["offered"]) == sample("prm800k")[0]["label"]["steps"]


@pytest.mark.parametrize(
    ("rating", "flagged", "verdict"),
    [(1, None, "c"), (0, False, "c"), (-1, False, "i"), (None, None, "u"), (-1, True, "u")],
)
def test_prm800k_ratings(rating: int | None, flagged: bool | None, verdict: str) -> None:
    row = sample("prm800k")[1]
    row["label"]["steps"][2]["completions"][0] |= {"rating": rating, "flagged": flagged}
    [found] = solutions("prm800k", row)
    assert verdicts(found) == f"cc{verdict}u"


def test_prm800k_ratings_end_where_the_path_leaves_the_trace() -> None:
    row = sample("prm800k")[1]
    row["label"]["steps"][0]["completions"].append(
        {"text": "Another way.", "rating": 1, "flagged": None}
    )
    row["label"]["steps"][0]["chosen_completion"] = 1
    [found] = solutions("prm800k", row)
    assert verdicts(found) == "cuuu"


def test_prm800k_path_without_a_choice_ends_with_the_first_completion() -> None:
    row = sample("prm800k")[0]
    row["label"]["steps"][1]["human_completion"] = None
    [found] = solutions("prm800k", row)
    assert verdicts(found) == "ci"


def test_prm800k_rows_that_people_gave_up_are_set_aside() -> None:
    reasons = [flaws("prm800k", row) for row in sample("prm800k")[3:]]
    assert reasons == [
        [("label.finish_reason", "give_up: the labeler gave up")],
        [("label.finish_reason", "bad_problem: the labeler reported the problem as broken")],
    ]


@pytest.mark.parametrize(
    ("path", "new", "field", "reason"),
    [
        (
            ("steps", 0, "chosen_completion"),
            1,
            "label.steps.0.chosen_completion",
            "not the index of one of 1 completions",
        ),
        (
            ("steps", 0, "chosen_completion"),
            -1,
            "label.steps.0.chosen_completion",
            "not the index of one of 1 completions",
        ),
        (
            ("steps", 0, "completions", 0, "rating"),
            2,
            "label.steps.0.completions.0.rating",
            "neither -1, 0, 1 nor null",
        ),
        (
            ("steps", 0, "completions", 0, "rating"),
            True,
            "label.steps.0.completions.0.rating",
            "neither -1, 0, 1 nor null",
        ),
        (("steps", 0, "completions", 0, "text"), "", "label.steps.0.completions.0.text", "empty"),
        (("steps", 0), "x", "label.steps.0", "a str, not an object"),
        (("steps",), [], "label.steps", "no step"),
        (("steps",), None, "label.steps", "missing"),
    ],
)
def test_prm800k_tells_what_cannot_be_read(
    path: tuple[Any, ...], new: object, field: str, reason: str
) -> None:
    assert flaws("prm800k", changed(sample("prm800k")[0], ("label", *path), new)) == [
        (field, reason)
    ]


def test_prmbench_is_a_right_trace_and_one_with_errors() -> None:
    found = [solutions("prmbench", row) for row in sample("prmbench")]
    assert [[verdicts(item) for item in items] for items in found] == [
        ["ccc", "cii"],
        ["ccc", "cicc"],
        ["ccc", "iic"],
        ["ccc", "cc"],
        ["ccc"],
    ]
    assert [item.metadata["process"] for item in found[0]] == ["original", "modified"]
    assert (found[0][1].metadata["classification"], found[0][1].metadata["idx"]) == (
        "confidence",
        "confidence_test_0",
    )
    assert [item.repeats for item in found[0]] == [True, False]
    assert (
        found[2][0].problem.question
        != found[2][1].problem.question
        == "A box holds balls. How many balls are in $5$ boxes?"
    )


@pytest.mark.parametrize("number", [0, 3, -1, True, 1.5, "1", None])
def test_prmbench_counts_steps_from_one(number: object) -> None:
    row = sample("prmbench")[4] | {"error_steps": [2, number]}
    assert flaws("prmbench", row) == [
        ("error_steps.1", "not the number of one of 2 steps, counted from 1")
    ]
    assert len(solutions("prmbench", row)) == 1


def test_math_shepherd_keeps_every_sign_and_is_no_persons() -> None:
    found = [item for row in sample("math_shepherd") for item in solutions("math_shepherd", row)]
    assert [verdicts(item) for item in found] == ["cic", "cc", "ci"]
    assert {tuple(item.annotations) for item in found} == {("math_shepherd",)}
    assert (
        found[0].problem.question
        == "A box holds 3 red and 4 blue balls. How many balls are in 5 boxes?"
    )
    assert found[0].steps[0] == "Step 1: A box has 3 + 4 = <<3+4=7>>7 balls.\n"
    assert found[2].steps[-1] == "Step 2: The answer is: 35"
    assert found[1].problem.metadata == {"task": "MATH"}


@pytest.mark.parametrize(
    ("given", "label", "field", "reason"),
    [
        (
            "Q? Step 1: a ки\nStep 2: b ки",
            "Q? Step 1: a +\nStep 2: b ки",
            "label",
            f"{DIFFERS} at marker 2",
        ),
        (
            "Q? Step 1: a ки\nStep 2: b ки",
            "Q? Step 1: a +\nStep 2: c +",
            "label",
            f"{DIFFERS} at marker 2",
        ),
        ("Q? Step 1: a ки\nStep 2: b ки", "Q? Step 1: a +", "label", f"{DIFFERS} at marker 2"),
        (
            "Q? Step 1: a ки",
            "Q? Step 1: a +\nStep 2: b +",
            "label",
            f"{DIFFERS} behind the last",
        ),
        (
            "Q? Step 1: a ки\nStep 2: b",
            "Q? Step 1: a +\nStep 2: b",
            "input",
            "text behind the last marker",
        ),
        ("Q? Step 1: a", "Q? Step 1: a", "input", "without the marker ки"),
        (
            "Q? a ки\nStep 2: b ки",
            "Q? a +\nStep 2: b -",
            "input",
            'not one "Step 1:" before the first marker',
        ),
        (
            "Q? Step 1: or Step 1: a ки",
            "Q? Step 1: or Step 1: a +",
            "input",
            'not one "Step 1:" before the first marker',
        ),
        (
            " = 54 ки Step 1: a ки",
            " = 54 + Step 1: a +",
            "input",
            'not one "Step 1:" before the first marker',
        ),
        (
            "Q? Step 1: a ки\nStep 3: b ки",
            "Q? Step 1: a +\nStep 3: b +",
            "input",
            "what is marked as step 2 does not begin as such",
        ),
        (
            "Q? Step 1: a ки ки",
            "Q? Step 1: a + +",
            "input",
            "what is marked as step 2 does not begin as such",
        ),
        (
            "Q? Step 1: a\nStep 2: b ки",
            "Q? Step 1: a\nStep 2: b +",
            "input",
            "no marker between step 1 and step 2",
        ),
        ("Step 1: a ки", "Step 1: a +", "input", "empty"),
    ],
)
def test_math_shepherd_mends_nothing(given: str, label: str, field: str, reason: str) -> None:
    assert read("math_shepherd", {"input": given, "label": label, "task": "MATH"})
    assert flaws("math_shepherd", {"input": given, "label": label, "task": "MATH"}) == [
        (field, reason)
    ]


def test_math_aps_list_is_a_trace_a_leaf_with_the_models_own_text() -> None:
    found = solutions("math_aps", sample("math_aps")[0])
    assert [(item.steps, verdicts(item)) for item in found] == [
        (("Seven fives.\n\nThe answer is 35.",), "c"),
        (("We add.\n\n ", "5 + 7 = 12.\n\n", "The answer is 12."), "cii"),
        (("We add.\n\n", "7 + 7 + 7 + 7 + 7 = 35."), "cc"),
        (("We add. And then?",), "c"),
    ]
    assert [step.value for step in found[1].annotations["math_aps"]] == [0.125, 0.0, 0.0]
    assert {step.trials for item in found for step in item.annotations["math_aps"]} == {0}
    assert {item.problem.metadata["mc_value"] for item in found} == {"0.75"}
    assert found[0].problem.answer == "35"


def test_math_aps_tree_is_a_trace_a_leaf_and_equal_nodes_are_one() -> None:
    found = solutions("math_aps", sample("math_aps")[1])
    assert [(item.steps, verdicts(item)) for item in found] == [
        (("We add.\n\n", "5 + 8 = 13."), "ci"),
        (("We add.\n\n", "The answer is 40."), "cc"),
        (("The answer is 40.",), "c"),
    ]
    assert [step.value for step in found[0].annotations["math_aps"]] == [0.5, 0.0]


def test_math_aps_says_the_same_of_a_list_and_of_its_tree() -> None:
    text = "How many are 5 times 8?"
    prefixes = [
        ("", 0.5),
        ("We add.", 0.25),
        ("We add.\n\n5 + 8 = 13.", 0.0),
        ("The answer is 40.", 1.0),
        ("We add.\n\nThe answer is 40.", 1.0),
    ]
    steps = [
        {"solution_prefix": f"{text}\n\n{more}" if more else text, "mc_value": value}
        for more, value in [*prefixes, ("We add.", 0.75)]
    ]
    row = sample("math_aps")[1]
    as_list = solutions("math_aps", row | {"reasoning_steps": steps})
    as_tree = solutions("math_aps", row)
    assert {item.steps: item.annotations for item in as_list} == {
        item.steps: item.annotations for item in as_tree
    }


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), True, "1.0", []])
def test_math_aps_sets_a_row_aside_for_a_value_that_is_none(value: object) -> None:
    flat, tree = sample("math_aps")
    flat["reasoning_steps"][3]["mc_value"] = value
    tree["reasoning_steps"]["children"][0]["mc_value"] = value
    assert flaws("math_aps", flat) == [
        ("reasoning_steps.3.mc_value", "not a share between 0 and 1")
    ]
    assert flaws("math_aps", tree) == [
        ("reasoning_steps at depth 1: mc_value", "not a share between 0 and 1")
    ]


def test_math_aps_without_a_value_is_unknown() -> None:
    row = sample("math_aps")[1]
    row["reasoning_steps"]["children"][1]["mc_value"] = None
    assert [verdicts(item) for item in solutions("math_aps", row)] == ["ci", "cc", "u"]


def tree_of(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"text": "s", "mc_value": 1.0, "children": []}
    for _ in range(depth - 1):
        node = {"text": "s", "mc_value": 1.0, "children": [node]}
    return {
        "question": "Q",
        "final_answer": "1",
        "reasoning_steps": {"text": "Q", "mc_value": 1.0, "children": [node]},
    }


def test_a_tree_may_be_deep() -> None:
    [found] = solutions("math_aps", tree_of(10_000))
    assert len(found.steps) == 10_000


def test_a_tree_too_deep_for_json_is_a_row_set_aside(tmp_path: Path) -> None:
    depth = 10_000
    opening, closing = '{"text": "s", "mc_value": 1, "children": [', "]}"
    deep = f'{{"question": "Q", "reasoning_steps": {opening * depth}{closing * depth}}}'
    path = tmp_path / "x.jsonl"
    path.write_text(f"{deep}\n{json.dumps(tree_of(1))}\n")
    bad, good = _rows.read(path)
    assert not isinstance(bad, Row)
    assert bad.reason == "not JSON that can be read: nested too deeply"
    assert isinstance(good, Row)


def test_a_row_cannot_name_more_text_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    row = sample("math_aps")[0]
    monkeypatch.setattr(math_aps, "MAX_ROW_CHARACTERS", 100)
    assert flaws("math_aps", row) == [
        ("reasoning_steps", "its traces have more than 100 characters")
    ]
    monkeypatch.undo()
    monkeypatch.setattr(math_aps, "MAX_CHARACTERS", 40)
    assert flaws("math_aps", row) == [("reasoning_steps", "a trace longer than 40 characters")]
    assert len(solutions("math_aps", row)) == 3


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {"text": "How many are 5 times 7?", "mc_value": 1.0},
        [{"solution_prefix": "How many are 5 times 7?", "mc_value": 1}],
    ],
)
def test_math_aps_of_the_question_alone_is_told(tree: object) -> None:
    assert flaws("math_aps", sample("math_aps")[0] | {"reasoning_steps": tree}) == [
        ("reasoning_steps", "no step behind the question")
    ]


def flat(value: Mapping[str, Any], **fields: str) -> list[Solution | UnusableError]:
    shape = shape_of("", fields, with_solutions=True)
    return list(
        _flat.Flat(shape=shape, fields=fields, split="line", labels_by="human").solutions(
            Row("file", 1, value)
        )
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([True, False, None], "ciu"),
        ([1, 0, 1.0], "cic"),
        (["+", "-", "TRUE"], "cic"),
        ([True, True, True], "ccc"),
    ],
)
def test_step_labels_are_verdicts(labels: list[Any], expected: str) -> None:
    [found] = flat(
        {"prompt": "q", "completions": ["a", "b", "c"], "labels": labels},
        question="prompt",
        steps="completions",
        step_labels="labels",
    )
    assert isinstance(found, Solution)
    assert verdicts(found) == expected


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"step_labels": [True]}, "step_labels", "1 labels for 2 steps"),
        ({"step_labels": True}, "step_labels", "a bool, not a list"),
        ({"step_labels": [True, 0.5]}, "step_labels.1", "neither true nor false"),
        ({"step_labels": [True, -100]}, "step_labels.1", "neither true nor false"),
        ({"step_labels": [[], True]}, "step_labels.0", "neither true nor false"),
        (
            {"step_labels": [True, False], "label": 0},
            "label",
            "0 is not the first wrong step of step_labels",
        ),
    ],
)
def test_step_labels_that_cannot_be_read(row: dict[str, Any], field: str, reason: str) -> None:
    [found] = flat({"question": "q", "steps": ["a", "b"], **row})
    assert isinstance(found, UnusableError)
    assert (found.field, found.reason) == (field, reason)


def test_a_label_beside_step_labels_may_say_the_same() -> None:
    [found] = flat({"question": "q", "steps": ["a", "b"], "step_labels": [True, False], "label": 1})
    assert isinstance(found, Solution)
    assert isinstance(found.problem, Problem)
    assert verdicts(found) == "ci"
