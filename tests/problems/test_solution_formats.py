"""Test the meaning of published rows with solutions, and that a bad row is rejected alone."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from problems.solution_formats import math_aps
from problems.solution_formats.base import ImportedSolution, SolutionFormat
from problems.tabular import readers
from problems.tabular.columns import UnusableError
from problems.tabular.plain_columns import PlainColumns
from problems.tabular.problem_formats import problem_format_of
from problems.tabular.readers import Row
from stepmark import plugins
from stepmark.records import Problem, Verdict
from stepmark.steps import Splitter
from storage.dataset.tables import is_method
from tests.columns import column

KIND = "problems.shapes"
SAMPLES = Path(__file__).parent / "samples"
SHORT = {Verdict.CORRECT: "c", Verdict.INCORRECT: "i", Verdict.UNKNOWN: "u"}
DIFFERS = "not the input with + or - for its markers: it differs"
UNEXPECTED_VALUES: Sequence[Any] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    0.5,
    -0.0,
    # Beyond 64 bits, then beyond the range of a float.
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
    "",
    " ",
    "\n\n",
    "x",
    # A lone surrogate cannot be encoded as UTF-8.
    "a\ud800",
    "\0",
    # The right-to-left override is invisible.
    "\u202e",
    # The marker of Math-Shepherd.
    "ки",
    "Step 1:",
    "Step 1: ки",
    "found_error",
    # Python converts at most 4,300 digits to an integer.
    "9" * 5000,
    # More levels than Python's default recursion limit.
    "(" * 5000,
)


def sample(name: str) -> list[dict[str, Any]]:
    text = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8")
    return list(map(json.loads, text.splitlines()))


def read(name: str, value: Mapping[str, Any]) -> list[ImportedSolution | UnusableError]:
    solution_format: SolutionFormat = plugins.build(KIND, {"use": name})
    imported: list[ImportedSolution | UnusableError] = []
    try:
        imported.extend(solution_format.solutions(Row("file", 1, value)))
    except UnusableError as error:
        imported.append(error)
    return imported


def solutions(name: str, value: Mapping[str, Any]) -> list[ImportedSolution]:
    return [item for item in read(name, value) if isinstance(item, ImportedSolution)]


def rejections(name: str, value: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (item.field, item.reason) for item in read(name, value) if isinstance(item, UnusableError)
    ]


def verdicts(solution: ImportedSolution) -> str:
    (steps,) = solution.annotations.values()
    return "".join(SHORT[step.verdict] for step in steps)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every item inside a value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        yield (*path, key)
        yield from paths_in(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with another value at a path."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_formats_are_frozen_dataclasses(name: str) -> None:
    plugin = plugins.load(KIND, name)
    assert dataclasses.fields(plugin) is not None
    assert plugin.__dataclass_params__.frozen
    assert isinstance(plugin.version, int)
    assert isinstance(plugin.domain, str)
    assert plugin().needed
    assert "row" in get_type_hints(plugin.solutions)


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_wrong_values_are_rejected_or_harmless(name: str) -> None:
    usable = 0
    for row in sample(name):
        for path in paths_in(row):
            for new in UNEXPECTED_VALUES:
                for solution in read(name, changed(row, path, new)):
                    if isinstance(solution, UnusableError):
                        assert solution.field
                        assert solution.reason
                    else:
                        usable += 1
                        check_solution(solution)
    assert usable > 0


def check_solution(solution: ImportedSolution) -> None:
    texts = [
        *solution.steps,
        solution.problem.question,
        solution.problem.answer or "",
        *solution.metadata.values(),
        *solution.problem.metadata.values(),
    ]
    for text in texts:
        assert isinstance(text, str)
        assert text.encode() is not None
    assert solution.steps
    for step in solution.steps:
        assert step.strip()
    for method, steps in solution.annotations.items():
        assert is_method(method)
        assert len(steps) == len(solution.steps)
        for annotation in steps:
            assert annotation.value is None or 0 <= annotation.value <= 1


@pytest.mark.parametrize("name", plugins.available(KIND))
def test_missing_fields_do_not_crash(name: str) -> None:
    for row in sample(name):
        for path in paths_in(row):
            if isinstance(path[-1], str):
                lacking = copy.deepcopy(row)
                inner: Any = lacking
                for key in path[:-1]:
                    inner = inner[key]
                del inner[path[-1]]
                for solution in read(name, lacking):
                    assert isinstance(solution, ImportedSolution) or (
                        solution.field and solution.reason
                    )


def test_prm800k_phase_2_rates_steps() -> None:
    [solution] = solutions("prm800k", sample("prm800k")[1])
    assert solution.steps[1:] == (
        "Boxes are made of wood.\n\n",
        "So five boxes have $7+5=12$ balls.\n\n",
        "# Answer\n\n12",
    )
    assert verdicts(solution) == "cciu"
    assert column(solution.annotations["human"], "rationale") == [
        "",
        "neutral",
        "",
        "not rated",
    ]
    assert solution.neutral_steps == {"human": (1,)}
    assert (solution.final_answer, solution.problem.answer) == ("12", "35")
    assert solution.metadata["finish_reason"] == "found_error"
    assert (solution.metadata["generation"], solution.metadata["is_quality_control_question"]) == (
        "9",
        "false",
    )
    assert json.loads(solution.metadata["offered"]) == sample("prm800k")[1]["label"]["steps"]


def test_prm800k_phase_1_follows_chosen_path() -> None:
    [solution] = solutions("prm800k", sample("prm800k")[0])
    assert [step.strip() for step in solution.steps][1:] == [
        "So five boxes have $7\\cdot 5=35$ balls.",
        "# Answer\n\n35",
    ]
    assert (verdicts(solution), solution.final_answer) == ("ccc", "35")
    assert json.loads(solution.metadata["offered"]) == sample("prm800k")[0]["label"]["steps"]


@pytest.mark.parametrize(
    ("rating", "flagged", "verdict"),
    # Neutral steps are correct; a flagged rating decides nothing.
    [
        (1, None, "c"),
        (0, False, "c"),
        (-1, False, "i"),
        (None, None, "u"),
        (-1, True, "u"),
        (0, True, "u"),
    ],
)
def test_prm800k_ratings_become_verdicts(
    rating: int | None, flagged: bool | None, verdict: str
) -> None:
    row = sample("prm800k")[1]
    row["label"]["steps"][2]["completions"][0] |= {"rating": rating, "flagged": flagged}
    [solution] = solutions("prm800k", row)
    assert verdicts(solution) == f"cc{verdict}u"
    expected = (1, 2) if rating == 0 and not flagged else (1,)
    assert solution.neutral_steps == {"human": expected}


def test_prm800k_ratings_stop_after_other_choice() -> None:
    row = sample("prm800k")[1]
    row["label"]["steps"][0]["completions"].append(
        {"text": "Another way.", "rating": 1, "flagged": None}
    )
    row["label"]["steps"][0]["chosen_completion"] = 1
    [solution] = solutions("prm800k", row)
    assert verdicts(solution) == "cuuu"


def test_prm800k_unchosen_step_uses_first_completion() -> None:
    row = sample("prm800k")[0]
    row["label"]["steps"][1]["human_completion"] = None
    [solution] = solutions("prm800k", row)
    assert verdicts(solution) == "ci"


def test_prm800k_abandoned_rows_are_rejected() -> None:
    reasons = [rejections("prm800k", row) for row in sample("prm800k")[3:]]
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
            # Python itself would take -1 as the last index.
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
            # In Python True equals 1, but it is not a rating.
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
def test_prm800k_rejection_names_the_field(
    path: tuple[Any, ...], new: object, field: str, reason: str
) -> None:
    assert rejections("prm800k", changed(sample("prm800k")[0], ("label", *path), new)) == [
        (field, reason)
    ]


def test_prmbench_row_yields_two_traces() -> None:
    imported = [solutions("prmbench", row) for row in sample("prmbench")]
    assert [list(map(verdicts, items)) for items in imported] == [
        ["ccc", "cii"],
        ["ccc", "cicc"],
        ["ccc", "iic"],
        ["ccc", "cc"],
        ["ccc"],
    ]
    original, modified = imported[0]
    assert (original.metadata["process"], modified.metadata["process"]) == ("original", "modified")
    assert modified.metadata["classification"] == "confidence"
    assert modified.metadata["idx"] == "confidence_test_0"
    assert (original.repeats, modified.repeats) == (True, False)
    assert (
        imported[2][0].problem.question
        != imported[2][1].problem.question
        == "A box holds balls. How many balls are in $5$ boxes?"
    )


@pytest.mark.parametrize("number", [0, 3, -1, True, 1.5, "1", None])
def test_prmbench_counts_steps_from_one(number: object) -> None:
    row = sample("prmbench")[4] | {"error_steps": [2, number]}
    ((field, reason),) = rejections("prmbench", row)
    assert field == "error_steps.1"
    assert reason.startswith(f"{number!r}, not the number of one of 2 steps, counted from 1")
    assert ("modified_process is shorter" in reason) is (number == 3)
    assert len(solutions("prmbench", row)) == 1


def test_math_shepherd_keeps_every_sign() -> None:
    imported: list[ImportedSolution] = []
    for row in sample("math_shepherd"):
        imported.extend(solutions("math_shepherd", row))
    assert list(map(verdicts, imported)) == ["cic", "cc", "ci"]
    for solution in imported:
        assert list(solution.annotations) == ["math_shepherd"]
    assert (
        imported[0].problem.question
        == "A box holds 3 red and 4 blue balls. How many balls are in 5 boxes?"
    )
    assert imported[0].steps[0] == "Step 1: A box has 3 + 4 = <<3+4=7>>7 balls.\n"
    assert imported[2].steps[-1] == "Step 2: The answer is: 35"
    assert imported[1].problem.metadata == {"task": "MATH"}


@pytest.mark.parametrize(
    ("text", "label", "field", "reason"),
    [
        (
            # Marker 2 has no sign.
            "Q? Step 1: a ки\nStep 2: b ки",
            "Q? Step 1: a +\nStep 2: b ки",
            "label",
            f"{DIFFERS} at marker 2",
        ),
        (
            # The text of step 2 differs.
            "Q? Step 1: a ки\nStep 2: b ки",
            "Q? Step 1: a +\nStep 2: c +",
            "label",
            f"{DIFFERS} at marker 2",
        ),
        # The label is truncated.
        ("Q? Step 1: a ки\nStep 2: b ки", "Q? Step 1: a +", "label", f"{DIFFERS} at marker 2"),
        (
            # The label has another step.
            "Q? Step 1: a ки",
            "Q? Step 1: a +\nStep 2: b +",
            "label",
            f"{DIFFERS} after the last marker",
        ),
        (
            # The last step has no marker.
            "Q? Step 1: a ки\nStep 2: b",
            "Q? Step 1: a +\nStep 2: b",
            "input",
            "text after the last marker",
        ),
        ("Q? Step 1: a", "Q? Step 1: a", "input", "without the marker ки"),
        (
            # The first step has no number.
            "Q? a ки\nStep 2: b ки",
            "Q? a +\nStep 2: b -",
            "input",
            'not exactly one "Step 1:" before the first marker',
        ),
        (
            # The first step could begin at two positions.
            "Q? Step 1: or Step 1: a ки",
            "Q? Step 1: or Step 1: a +",
            "input",
            'not exactly one "Step 1:" before the first marker',
        ),
        (
            # A marker precedes the first step.
            " = 54 ки Step 1: a ки",
            " = 54 + Step 1: a +",
            "input",
            'not exactly one "Step 1:" before the first marker',
        ),
        (
            # Number 2 is skipped.
            "Q? Step 1: a ки\nStep 3: b ки",
            "Q? Step 1: a +\nStep 3: b +",
            "input",
            "marked step 2 does not start with its number",
        ),
        (
            # The second step is empty.
            "Q? Step 1: a ки ки",
            "Q? Step 1: a + +",
            "input",
            "marked step 2 does not start with its number",
        ),
        (
            "Q? Step 1: a\nStep 2: b ки",
            "Q? Step 1: a\nStep 2: b +",
            "input",
            "no marker between step 1 and step 2",
        ),
        # The question is empty.
        ("Step 1: a ки", "Step 1: a +", "input", "empty"),
    ],
)
def test_math_shepherd_rejects_damaged_rows(text: str, label: str, field: str, reason: str) -> None:
    row = {"input": text, "label": label, "task": "MATH"}
    assert read("math_shepherd", row)
    assert rejections("math_shepherd", row) == [(field, reason)]


def test_math_aps_list_keeps_model_text() -> None:
    imported = solutions("math_aps", sample("math_aps")[0])
    assert [(item.steps, verdicts(item)) for item in imported] == [
        (("Seven fives.\n\nThe answer is 35.",), "c"),
        (("We add.\n\n ", "5 + 7 = 12.\n\n", "The answer is 12."), "cii"),
        (("We add.\n\n", "7 + 7 + 7 + 7 + 7 = 35."), "cc"),
        (("We add. And then?",), "c"),
    ]
    assert column(imported[1].annotations["math_aps"], "value") == [0.125, 0.0, 0.0]
    for solution in imported:
        assert solution.problem.metadata["mc_value"] == "0.75"
        for step in solution.annotations["math_aps"]:
            assert step.trials == 0
    assert imported[0].problem.answer == "35"


def test_math_aps_tree_merges_equal_nodes() -> None:
    imported = solutions("math_aps", sample("math_aps")[1])
    assert [(item.steps, verdicts(item)) for item in imported] == [
        (("We add.\n\n", "5 + 8 = 13."), "ci"),
        (("We add.\n\n", "The answer is 40."), "cc"),
        (("The answer is 40.",), "c"),
    ]
    assert column(imported[0].annotations["math_aps"], "value") == [0.5, 0.0]


def annotations_by_steps(items: Sequence[ImportedSolution]) -> Mapping[tuple[str, ...], Any]:
    return {item.steps: item.annotations for item in items}


def test_math_aps_list_and_tree_agree() -> None:
    text = "How many are 5 times 8?"
    prefixes = [
        ("", 0.5),
        ("We add.", 0.25),
        ("We add.\n\n5 + 8 = 13.", 0.0),
        ("The answer is 40.", 1.0),
        ("We add.\n\nThe answer is 40.", 1.0),
    ]
    steps: list[dict[str, Any]] = []
    for more, value in [*prefixes, ("We add.", 0.75)]:
        prefix = text
        if more:
            prefix = f"{text}\n\n{more}"
        steps.append({"solution_prefix": prefix, "mc_value": value})
    row = sample("math_aps")[1]
    as_list = solutions("math_aps", row | {"reasoning_steps": steps})
    as_tree = solutions("math_aps", row)
    assert annotations_by_steps(as_list) == annotations_by_steps(as_tree)


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), True, "1.0", []])
def test_math_aps_rejects_invalid_values(value: object) -> None:
    as_list, tree = sample("math_aps")
    as_list["reasoning_steps"][3]["mc_value"] = value
    tree["reasoning_steps"]["children"][0]["mc_value"] = value
    assert rejections("math_aps", as_list) == [
        ("reasoning_steps.3.mc_value", "not a share between 0 and 1")
    ]
    assert rejections("math_aps", tree) == [
        ("reasoning_steps at depth 1: mc_value", "not a share between 0 and 1")
    ]


def test_math_aps_missing_value_is_unknown() -> None:
    row = sample("math_aps")[1]
    row["reasoning_steps"]["children"][1]["mc_value"] = None
    assert list(map(verdicts, solutions("math_aps", row))) == ["ci", "cc", "u"]


def tree_of(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"text": "s", "mc_value": 1.0, "children": []}
    for _ in range(depth - 1):
        node = {"text": "s", "mc_value": 1.0, "children": [node]}
    return {
        "question": "Q",
        "final_answer": "1",
        "reasoning_steps": {"text": "Q", "mc_value": 1.0, "children": [node]},
    }


def test_deep_tree_is_read() -> None:
    [solution] = solutions("math_aps", tree_of(10_000))
    assert len(solution.steps) == 10_000


def test_too_deep_json_is_rejected(tmp_path: Path) -> None:
    depth = 10_000
    opening = '{"text": "s", "mc_value": 1, "children": ['
    closing = "]}"
    deep = f'{{"question": "Q", "reasoning_steps": {opening * depth}{closing * depth}}}'
    path = tmp_path / "x.jsonl"
    path.write_text(f"{deep}\n{json.dumps(tree_of(1))}\n")
    bad, good = readers.read(path)
    assert not isinstance(bad, Row)
    assert bad.reason == "not readable JSON: nested too deeply"
    assert isinstance(good, Row)


def test_row_expansion_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    row = sample("math_aps")[0]
    monkeypatch.setattr(math_aps, "MAX_ROW_CHARACTERS", 100)
    assert rejections("math_aps", row) == [
        ("reasoning_steps", "its traces have more than 100 characters")
    ]
    monkeypatch.undo()
    monkeypatch.setattr(math_aps, "MAX_CHARACTERS", 40)
    assert rejections("math_aps", row) == [("reasoning_steps", "a trace longer than 40 characters")]
    assert len(solutions("math_aps", row)) == 3


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {"text": "How many are 5 times 7?", "mc_value": 1.0},
        [{"solution_prefix": "How many are 5 times 7?", "mc_value": 1}],
    ],
)
def test_math_aps_rejects_row_without_steps(tree: object) -> None:
    assert rejections("math_aps", sample("math_aps")[0] | {"reasoning_steps": tree}) == [
        ("reasoning_steps", "no step after the question")
    ]


def read_plain(value: Mapping[str, Any], **fields: str) -> list[ImportedSolution | UnusableError]:
    shape = problem_format_of("", fields, with_solutions=True)
    return list(
        PlainColumns(
            shape=shape, fields=fields, splitter=Splitter("line"), labels_by="human"
        ).solutions(Row("file", 1, value))
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
    [solution] = read_plain(
        {"prompt": "q", "completions": ["a", "b", "c"], "labels": labels},
        question="prompt",
        steps="completions",
        step_labels="labels",
    )
    assert isinstance(solution, ImportedSolution)
    assert verdicts(solution) == expected


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
def test_invalid_step_labels_are_rejected(row: dict[str, Any], field: str, reason: str) -> None:
    [solution] = read_plain({"question": "q", "steps": ["a", "b"], **row})
    assert isinstance(solution, UnusableError)
    assert (solution.field, solution.reason) == (field, reason)


def test_label_may_agree_with_step_labels() -> None:
    [solution] = read_plain(
        {"question": "q", "steps": ["a", "b"], "step_labels": [True, False], "label": 1}
    )
    assert isinstance(solution, ImportedSolution)
    assert isinstance(solution.problem, Problem)
    assert verdicts(solution) == "ci"
