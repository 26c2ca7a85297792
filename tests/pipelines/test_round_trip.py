"""Round trips: imported and exported rows equal the original ones, value by value.

Rows of one problem come out next to each other, so the order of rows is not compared. A field that
a row lacks, or that is blank, counts as null.

Not covered: formats without an export (GSM8K solutions), rows that the import rejects, unusual
white space around the markers of Math-Shepherd, and for MATH-APS the order of a list, states that
were estimated twice, and the form of a tree.
"""

import json
from collections import defaultdict
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
from stepmark.records import Verdict
from stepmark.steps import append_separator, remove_separator
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES
from storage.publishing.export import export
from tests.json_lines import read_json_lines, write_json_lines
from tests.verifiers.cases import SHARED

SAMPLES = Path(__file__).parents[1] / "problems" / "samples"
REAL = SHARED / "processbench-dev.jsonl"
COLUMNS = {"question": "prompt", "steps": "completions", "step_labels": "labels"}
TRL = [
    {"prompt": "1 + 1?", "completions": [" two ", "three\n", "four"], "labels": [True, True, True]},
    {"prompt": "1 + 1?", "completions": ["two", "three", "four"], "labels": [True, False, True]},
    {"prompt": "\n2 + 2? ", "completions": ["Step 1: four"], "labels": [False]},
]


def sorted_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def round_trip(
    tmp_path: Path,
    source: Path,
    import_arguments: Mapping[str, Any],
    format_table: Mapping[str, Any],
    labels_by: str,
) -> list[dict[str, Any]]:
    """Import and export a file, and return the exported rows.

    Args:
        tmp_path: A folder for the dataset and the export.
        source: The file.
        import_arguments: Arguments of the import that differ from the defaults.
        format_table: The export format and its fields.
        labels_by: The method whose annotations are exported.
    """
    arguments: dict[str, Any] = {
        "shape": "",
        "fields": {},
        "split": "line",
        "domain": "",
        "license": "",
        **import_arguments,
    }
    await import_dataset([str(source)], str(tmp_path / "data"), **arguments)
    export(
        Dataset(str(tmp_path / "data")),
        plugins.build("storage.formats", format_table),
        str(tmp_path / "out"),
        labels_by=labels_by,
    )
    rows = list[dict[str, Any]]()
    for path in sorted((tmp_path / "out" / "data").iterdir()):
        rows.extend(pq.read_table(path).to_pylist())
    return rows


def skip_if_missing(source: Path) -> None:
    """Skip a test whose file is not shipped with the repository."""
    if not source.exists():
        pytest.skip(f"needs {source.name} in shared/data beside the repository")


def without_blanks(value: Any) -> Any:
    """Return the value without null or blank fields, which a column cannot tell from missing."""
    if isinstance(value, list):
        return [without_blanks(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = dict[str, Any]()
    for name, item in value.items():
        if item not in (None, ""):
            fields[name] = without_blanks(item)
    return fields


@pytest.mark.parametrize(
    "source", [SAMPLES / "processbench.jsonl", REAL], ids=lambda path: path.name
)
async def test_processbench(tmp_path: Path, source: Path) -> None:
    skip_if_missing(source)
    exported = await round_trip(
        tmp_path, source, {"shape": "processbench"}, {"use": "processbench"}, "human"
    )
    assert sorted_rows(exported) == sorted_rows(read_json_lines(source))


async def test_math_shepherd_with_later_labels(tmp_path: Path) -> None:
    source = SAMPLES / "math_shepherd.jsonl"
    format_table = {"use": "math_shepherd", "after_error": "keep"}
    exported = await round_trip(
        tmp_path, source, {"shape": "math_shepherd"}, format_table, "math_shepherd"
    )
    assert sorted_rows(exported) == sorted_rows(read_json_lines(source))


async def test_prm800k_in_both_phases(tmp_path: Path) -> None:
    source = SAMPLES / "prm800k.jsonl"
    exported = await round_trip(tmp_path, source, {"shape": "prm800k"}, {"use": "prm800k"}, "human")
    # The import rejects the other rows.
    expected = read_json_lines(source)[:3]
    assert sorted_rows(map(without_blanks, exported)) == sorted_rows(map(without_blanks, expected))


async def test_prmbench_with_original_solutions(tmp_path: Path) -> None:
    source = SAMPLES / "prmbench.jsonl"
    format_table = {"use": "prmbench", "after_error": "keep"}
    exported = await round_trip(tmp_path, source, {"shape": "prmbench"}, format_table, "human")
    # The last row names a step that does not exist.
    expected = read_json_lines(source)[:4]
    assert sorted_rows(map(without_blanks, exported)) == sorted_rows(map(without_blanks, expected))


@pytest.mark.parametrize(
    "source",
    [SAMPLES / "math_aps.jsonl", SHARED / "openr-math-aps-sample.jsonl"],
    ids=lambda path: path.name,
)
async def test_math_aps_lists(tmp_path: Path, source: Path) -> None:
    skip_if_missing(source)
    exported = await round_trip(
        tmp_path, source, {"shape": "math_aps"}, {"use": "math_aps"}, "math_aps"
    )
    rows = read_json_lines(source)
    lists = [row for row in rows if isinstance(row["reasoning_steps"], list)]
    list_questions = {row["question"] for row in lists}
    tree_questions = {row["question"] for row in rows} - list_questions
    exported_lists = [row for row in exported if row["question"] not in tree_questions]
    assert sorted_rows(map(averaged, lists)) == sorted_rows(map(averaged, exported_lists))


def averaged(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row with the mean estimate of every prefix in its list."""
    estimates = defaultdict[str, list[float]](list)
    for step in row["reasoning_steps"]:
        estimates[step["solution_prefix"]].append(step["mc_value"])
    means = {prefix: sum(values) / len(values) for prefix, values in estimates.items()}
    return {**row, "reasoning_steps": means}


@pytest.mark.parametrize(
    "source",
    [SAMPLES / "math_aps.jsonl", SHARED / "openr-math-aps-tree-sample.jsonl"],
    ids=lambda path: path.name,
)
async def test_math_aps_trees_become_lists(tmp_path: Path, source: Path) -> None:
    skip_if_missing(source)
    exported = await round_trip(
        tmp_path, source, {"shape": "math_aps"}, {"use": "math_aps"}, "math_aps"
    )
    trees = list[dict[str, Any]]()
    for row in read_json_lines(source):
        if isinstance(row["reasoning_steps"], dict):
            trees.append({**row, "reasoning_steps": list(nodes(row["reasoning_steps"]))})
    questions = {row["question"] for row in trees}
    exported_trees = [row for row in exported if row["question"] in questions]
    assert sorted_rows(map(averaged, trees)) == sorted_rows(map(averaged, exported_trees))


def nodes(tree: Mapping[str, Any], before: str = "") -> Iterable[Mapping[str, Any]]:
    """Yield the nodes of a tree as the entries of a list."""
    prefix = f"{before}\n\n{tree['text']}" if before else tree["text"]
    yield {"solution_prefix": prefix, "mc_value": tree["mc_value"]}
    for child in tree["children"]:
        yield from nodes(child, prefix)


async def test_trl_with_mapped_columns(tmp_path: Path) -> None:
    source = tmp_path / "trl.jsonl"
    write_json_lines(source, *TRL)
    exported = await round_trip(
        tmp_path,
        source,
        {"fields": COLUMNS, "labels_by": "trl_labels"},
        {"use": "trl", "after_error": "keep"},
        "trl_labels",
    )
    assert exported == TRL


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
    texts = set[str]()
    for row in read_json_lines(source):
        for value in row.values():
            if isinstance(value, dict):
                texts.add(value["solution"])
    assert {"".join(trace.steps) for trace in Dataset(str(tmp_path)).read(TRACES)} == texts


async def test_prm800k_ratings_become_first_errors(tmp_path: Path) -> None:
    exported = await round_trip(
        tmp_path, SAMPLES / "prm800k.jsonl", {"shape": "prm800k"}, {"use": "processbench"}, "human"
    )
    original = read_json_lines(SAMPLES / "prm800k.jsonl")[1]
    assert [row["label"] for row in exported] == [-1, 2]
    assert [row["final_answer_correct"] for row in exported] == [True, False]
    assert exported[1]["steps"] == original["question"]["pre_generated_steps"]
    assert exported[1]["problem"] == original["question"]["problem"]


@pytest.mark.parametrize(
    ("neutral", "first_errors", "ratings"),
    [
        # The first row has no neutral step, the second one at index 1 before the error at 2.
        (Verdict.CORRECT, [-1, 2], [1, 0, -1]),
        (Verdict.INCORRECT, [-1, 1], [1, -1]),
        (Verdict.UNKNOWN, [-1], [1, None, -1]),
    ],
)
async def test_neutral_ratings_are_mapped(
    tmp_path: Path, neutral: Verdict, first_errors: list[int], ratings: list[int | None]
) -> None:
    source = SAMPLES / "prm800k.jsonl"
    await round_trip(tmp_path, source, {"shape": "prm800k"}, {"use": "prm800k"}, "human")
    dataset = Dataset(str(tmp_path / "data"))
    for name in ("processbench", "prm800k"):
        exporter = plugins.build("storage.formats", {"use": name})
        folder = str(tmp_path / name)
        export(dataset, exporter, folder, labels_by="human", neutral=neutral)
    benchmark = pq.read_table(next((tmp_path / "processbench" / "data").iterdir())).to_pylist()
    assert [row["label"] for row in benchmark] == first_errors
    rated = pq.read_table(next((tmp_path / "prm800k" / "data").iterdir())).to_pylist()
    texts = read_json_lines(source)[1]["question"]["pre_generated_steps"]
    (row,) = [row for row in rated if row["question"]["pre_generated_steps"] == texts]
    steps = row["label"]["steps"]
    assert [step["completions"][0]["rating"] for step in steps] == ratings


async def test_neutral_needs_method(tmp_path: Path) -> None:
    exporter = plugins.build("storage.formats", {"use": "trl"})
    dataset = Dataset(str(tmp_path / "data"))
    dataset.write_run_file("")
    with pytest.raises(ConfigError, match="--neutral maps ratings of a method"):
        export(dataset, exporter, str(tmp_path / "out"), neutral=Verdict.UNKNOWN)


async def test_export_by_missing_method_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no annotations of 'judge' to export; it has: human"):
        await round_trip(
            tmp_path,
            SAMPLES / "processbench.jsonl",
            {"shape": "processbench"},
            {"use": "trl"},
            "judge",
        )


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n\r\t"), min_size=1), min_size=1))
def test_joined_steps_are_recovered(listed_steps: list[str]) -> None:
    steps, separator = append_separator(listed_steps)
    assert remove_separator(steps, separator) == listed_steps
    assert len(steps) == len(listed_steps)
