"""Round trips: what is imported and exported again is what it was, value by value.

Rows of one problem come out side by side, so the order of rows is not compared. Not covered: shapes that have no export (PRM800K,
PRMBench, MATH-APS, GSM8K solutions), and the white space around Math-Shepherd's markers where it is not the published one.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.intake import take_in
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.steps import joinable, listed
from storage.dataset import Dataset
from storage.export import export
from storage.tables import TRACES
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
    tmp_path: Path, source: Path, imported: Mapping[str, Any], exported: Mapping[str, Any], labels_by: str
) -> list[dict[str, Any]]:
    """The rows of a file, imported and exported."""
    settled: dict[str, Any] = {"shape": "", "fields": {}, "split": "line", "domain": "", "license": "", **imported}
    await take_in([str(source)], str(tmp_path / "data"), **settled)
    export(Dataset(str(tmp_path / "data")), plugins.build("storage.formats", exported), str(tmp_path / "out"), labels_by=labels_by)
    return [row for path in sorted((tmp_path / "out" / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("source", [SAMPLES / "processbench.jsonl", REAL], ids=lambda path: path.name)
async def test_processbench(tmp_path: Path, source: Path) -> None:
    if not source.exists():
        pytest.skip(f"needs {source.name} in shared/data beside the repository")
    found = await again(tmp_path, source, {"shape": "processbench"}, {"use": "processbench"}, "human")
    assert sorted_rows(found) == sorted_rows(rows_of(source))


async def test_math_shepherd_with_the_signs_after_the_first_error(tmp_path: Path) -> None:
    source = SAMPLES / "math_shepherd.jsonl"
    whole = {"use": "math_shepherd", "cut_after_error": False}
    found = await again(tmp_path, source, {"shape": "math_shepherd"}, whole, "math_shepherd")
    assert sorted_rows(found) == sorted_rows(rows_of(source))


async def test_trl_by_a_map_of_its_columns(tmp_path: Path) -> None:
    source = tmp_path / "trl.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in TRL))
    whole = {"use": "trl", "cut_after_error": False}
    assert await again(tmp_path, source, {"fields": COLUMNS, "labels_by": "trl_labels"}, whole, "trl_labels") == TRL


async def test_gsm8k_solutions_keep_every_byte(tmp_path: Path) -> None:
    source = SAMPLES / "gsm8k_solutions.jsonl"
    await take_in([str(source)], str(tmp_path), shape="gsm8k_solutions", fields={}, split="line", domain="", license="")
    texts = {value["solution"] for row in rows_of(source) for value in row.values() if isinstance(value, dict)}
    assert {"".join(trace.steps) for trace in Dataset(str(tmp_path)).read(TRACES)} == texts


async def test_ratings_of_prm800k_become_first_errors_of_its_own_steps(tmp_path: Path) -> None:
    found = await again(tmp_path, SAMPLES / "prm800k.jsonl", {"shape": "prm800k"}, {"use": "processbench"}, "human")
    given = rows_of(SAMPLES / "prm800k.jsonl")[1]
    assert [(row["label"], row["final_answer_correct"]) for row in found] == [(-1, True), (2, False)]
    assert found[1]["steps"] == given["question"]["pre_generated_steps"]
    assert found[1]["problem"] == given["question"]["problem"]


async def test_labels_by_a_method_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no annotations of 'judge' to export; it has: human"):
        await again(tmp_path, SAMPLES / "processbench.jsonl", {"shape": "processbench"}, {"use": "trl"}, "judge")


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n\r\t"), min_size=1), min_size=1))
def test_listed_steps_come_back(given: list[str]) -> None:
    steps, separator = joinable(given)
    assert listed(steps, separator) == given
    assert len(steps) == len(given)
