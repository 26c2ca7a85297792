"""Round trips: what is imported and exported again is what it was, value by value.

Rows of one problem come out side by side, so the order of rows is not compared; a field that a row lacks, or that is blank, is null. Not
covered: a shape without an export (GSM8K solutions), rows that an import sets aside, the white space around Math-Shepherd's markers where
it is not the published one, and of MATH-APS the order of a list, states that were estimated twice, and the form of a tree.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importing.import_command import import_dataset
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.steps import joinable, listed
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES
from storage.publishing.export import export
from tests.verifiers.cases import SHARED

SAMPLES = Path(__file__).parents[1] / "problems" / "samples"
REAL = SHARED / "processbench-dev.jsonl"
COLUMNS = {"question": "prompt", "steps": "completions", "step_labels": "labels"}
TRL = [
    {"prompt": "1 + 1?", "completions": [" two ", "three\n", "four"], "labels": [True, True, True]},
    {"prompt": "1 + 1?", "completions": ["two", "three", "four"], "labels": [True, False, True]},
    {"prompt": "\n2 + 2? ", "completions": ["Step 1: four"], "labels": [False]},
]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sorted_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def again(
    tmp_path: Path,
    source: Path,
    imported: Mapping[str, Any],
    exported: Mapping[str, Any],
    labels_by: str,
) -> list[dict[str, Any]]:
    """The rows of a file, imported and exported."""
    settled: dict[str, Any] = {
        "shape": "",
        "fields": {},
        "split": "line",
        "domain": "",
        "license": "",
        **imported,
    }
    await import_dataset([str(source)], str(tmp_path / "data"), **settled)
    export(
        Dataset(str(tmp_path / "data")),
        plugins.build("storage.formats", exported),
        str(tmp_path / "out"),
        labels_by=labels_by,
    )
    return [
        row
        for path in sorted((tmp_path / "out" / "data").iterdir())
        for row in pq.read_table(path).to_pylist()
    ]


@pytest.mark.parametrize(
    "source", [SAMPLES / "processbench.jsonl", REAL], ids=lambda path: path.name
)
async def test_processbench(tmp_path: Path, source: Path) -> None:
    if not source.exists():
        pytest.skip(f"needs {source.name} in shared/data beside the repository")
    found = await again(
        tmp_path, source, {"shape": "processbench"}, {"use": "processbench"}, "human"
    )
    assert sorted_rows(found) == sorted_rows(rows_of(source))


async def test_math_shepherd_with_the_signs_after_the_first_error(tmp_path: Path) -> None:
    source = SAMPLES / "math_shepherd.jsonl"
    whole = {"use": "math_shepherd", "cut_after_error": False}
    found = await again(tmp_path, source, {"shape": "math_shepherd"}, whole, "math_shepherd")
    assert sorted_rows(found) == sorted_rows(rows_of(source))


def stated(value: Any) -> Any:
    """The value without the fields that are null or blank, which a column cannot tell from missing ones."""
    if isinstance(value, dict):
        return {name: stated(inner) for name, inner in value.items() if inner not in (None, "")}
    return [stated(inner) for inner in value] if isinstance(value, list) else value


async def test_prm800k_in_both_phases(tmp_path: Path) -> None:
    source = SAMPLES / "prm800k.jsonl"
    found = await again(tmp_path, source, {"shape": "prm800k"}, {"use": "prm800k"}, "human")
    assert sorted_rows(map(stated, found)) == sorted_rows(
        map(stated, rows_of(source)[:3])
    )  # the others are set aside


async def test_prmbench_with_the_originals_beside(tmp_path: Path) -> None:
    source = SAMPLES / "prmbench.jsonl"
    whole = {"use": "prmbench", "cut_after_error": False}
    found = await again(tmp_path, source, {"shape": "prmbench"}, whole, "human")
    assert sorted_rows(map(stated, found)) == sorted_rows(
        map(stated, rows_of(source)[:4])
    )  # the last names a step that is not there


@pytest.mark.parametrize(
    "source",
    [SAMPLES / "math_aps.jsonl", SHARED / "openr-math-aps-sample.jsonl"],
    ids=lambda path: path.name,
)
async def test_math_aps_prefix_by_prefix(tmp_path: Path, source: Path) -> None:
    if not source.exists():
        pytest.skip(f"needs {source.name} in shared/data beside the repository")
    found = await again(tmp_path, source, {"shape": "math_aps"}, {"use": "math_aps"}, "math_aps")
    lists = [row for row in rows_of(source) if isinstance(row["reasoning_steps"], list)]
    trees = {row["question"] for row in rows_of(source)} - {row["question"] for row in lists}
    assert sorted_rows(map(averaged, lists)) == sorted_rows(
        averaged(row) for row in found if row["question"] not in trees
    )


def averaged(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with every prefix of its list once, and the mean of its estimates."""
    values: dict[str, list[float]] = {}
    for step in row["reasoning_steps"]:
        values.setdefault(step["solution_prefix"], []).append(step["mc_value"])
    return {
        **row,
        "reasoning_steps": {prefix: sum(found) / len(found) for prefix, found in values.items()},
    }


@pytest.mark.parametrize(
    "source",
    [SAMPLES / "math_aps.jsonl", SHARED / "openr-math-aps-tree-sample.jsonl"],
    ids=lambda path: path.name,
)
async def test_a_tree_of_math_aps_comes_back_as_the_list_of_its_nodes(
    tmp_path: Path, source: Path
) -> None:
    if not source.exists():
        pytest.skip(f"needs {source.name} in shared/data beside the repository")
    found = await again(tmp_path, source, {"shape": "math_aps"}, {"use": "math_aps"}, "math_aps")
    trees = [
        {**row, "reasoning_steps": list(nodes(row["reasoning_steps"]))}
        for row in rows_of(source)
        if isinstance(row["reasoning_steps"], dict)
    ]
    questions = {row["question"] for row in trees}
    assert sorted_rows(map(averaged, trees)) == sorted_rows(
        averaged(row) for row in found if row["question"] in questions
    )


def nodes(tree: Mapping[str, Any], before: str = "") -> Iterable[Mapping[str, Any]]:
    """The nodes of a tree as a list has them."""
    prefix = f"{before}\n\n{tree['text']}" if before else tree["text"]
    yield {"solution_prefix": prefix, "mc_value": tree["mc_value"]}
    for child in tree["children"]:
        yield from nodes(child, prefix)


async def test_trl_by_a_map_of_its_columns(tmp_path: Path) -> None:
    source = tmp_path / "trl.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in TRL))
    whole = {"use": "trl", "cut_after_error": False}
    assert (
        await again(
            tmp_path, source, {"fields": COLUMNS, "labels_by": "trl_labels"}, whole, "trl_labels"
        )
        == TRL
    )


async def test_gsm8k_solutions_keep_every_byte(tmp_path: Path) -> None:
    source = SAMPLES / "gsm8k_solutions.jsonl"
    await import_dataset(
        [str(source)],
        str(tmp_path),
        shape="gsm8k_solutions",
        fields={},
        split="line",
        domain="",
        license="",
    )
    texts = {
        value["solution"]
        for row in rows_of(source)
        for value in row.values()
        if isinstance(value, dict)
    }
    assert {"".join(trace.steps) for trace in Dataset(str(tmp_path)).read(TRACES)} == texts


async def test_ratings_of_prm800k_become_first_errors_of_its_own_steps(tmp_path: Path) -> None:
    found = await again(
        tmp_path, SAMPLES / "prm800k.jsonl", {"shape": "prm800k"}, {"use": "processbench"}, "human"
    )
    given = rows_of(SAMPLES / "prm800k.jsonl")[1]
    assert [(row["label"], row["final_answer_correct"]) for row in found] == [
        (-1, True),
        (2, False),
    ]
    assert found[1]["steps"] == given["question"]["pre_generated_steps"]
    assert found[1]["problem"] == given["question"]["problem"]


async def test_labels_by_a_method_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no annotations of 'judge' to export; it has: human"):
        await again(
            tmp_path,
            SAMPLES / "processbench.jsonl",
            {"shape": "processbench"},
            {"use": "trl"},
            "judge",
        )


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n\r\t"), min_size=1), min_size=1))
def test_listed_steps_come_back(given: list[str]) -> None:
    steps, separator = joinable(given)
    assert listed(steps, separator) == given
    assert len(steps) == len(given)
