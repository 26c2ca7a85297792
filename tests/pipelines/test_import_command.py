"""`stepmark import`: one import per dataset, and grades for rows without an outcome."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.importing.import_command import import_dataset
from pipelines.run.config import Shards, load
from pipelines.run.preparation import prepare
from stepmark.errors import ConfigError, DatasetError, InputError
from stepmark.records import Annotation, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES, Table, annotations
from tests.columns import column
from tests.json_lines import read_json_lines, write_json_lines
from tests.pipelines.running import run_file
from tests.pipelines.simulated import parts

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN
PROCESSBENCH = Path(__file__).parents[1] / "problems" / "samples" / "processbench.jsonl"
ROW = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 3.\nThe answer is 3."}


async def import_files(folder: Path, *paths: str, **changes: Any) -> Mapping[str, int]:
    """Import files with default arguments, of which `changes` replaces some."""
    arguments: dict[str, Any] = {
        "shape": "",
        "fields": {},
        "split": "line",
        "domain": "",
        "license": "",
        **changes,
    }
    return await import_dataset(paths, str(folder), **arguments)


async def trace_of(tmp_path: Path, row: dict[str, Any], **changes: Any) -> Trace:
    await import_files(tmp_path / "data", write_json_lines(tmp_path / "rows.jsonl", row), **changes)
    (trace,) = Dataset(str(tmp_path / "data")).read(TRACES)
    return trace


def human_labels(dataset: Dataset) -> list[Annotation]:
    return list(dataset.read(annotations("human")))


async def test_processbench_import(tmp_path: Path) -> None:
    counts = await import_files(
        tmp_path / "data", str(PROCESSBENCH), shape="processbench", license="Apache-2.0"
    )
    assert counts == {"problems": 4, "traces": 4, "with a human label": 4, "rows set aside": 0}
    dataset = Dataset(str(tmp_path / "data"))
    rows = read_json_lines(PROCESSBENCH)
    labels = human_labels(dataset)
    assert column(labels, "first_error") == [row["label"] for row in rows]
    is_correct = [trace.outcome is C for trace in dataset.read(TRACES)]
    assert is_correct == [row["final_answer_correct"] for row in rows]


async def test_import_has_one_fingerprint(tmp_path: Path) -> None:
    await import_files(tmp_path / "data", str(PROCESSBENCH), shape="processbench")
    dataset = Dataset(str(tmp_path / "data"))
    tables: list[Table[Any]] = [PROBLEMS, REJECTED, TRACES, annotations("human")]
    part_keys = set[str]()
    for table in tables:
        footer = dataset.footer(table, 0)
        assert footer is not None
        part_keys.add(footer.part_key)
    assert len(part_keys) == 1
    assert set(column(human_labels(dataset), "fingerprint")) == part_keys


@pytest.mark.parametrize(
    ("changed", "answer", "outcome", "reason"),
    [
        ({}, "3", I, "different numbers"),
        ({"solution": "The answer is 2.0."}, "2.0", C, "equal numbers"),
        ({"answer": None}, "3", U, "no reference answer"),
        ({"solution": "1 + 1 = 2"}, None, U, "no final answer"),
        ({"solution": "1 + 1 = 2", "final_answer": "2.0"}, "2.0", C, "equal numbers"),
        ({"final_answer": "2.0"}, "2.0", C, "equal numbers"),
        ({"correct": True}, "3", C, "as given: correct = true"),
        ({"correct": False, "solution": "The answer is 2."}, "2", I, "as given: correct = false"),
    ],
)
async def test_missing_outcomes_are_graded(
    tmp_path: Path, changed: dict[str, Any], answer: str | None, outcome: Verdict, reason: str
) -> None:
    trace = await trace_of(tmp_path, ROW | changed)
    assert (trace.final_answer, trace.outcome, trace.outcome_reason) == (answer, outcome, reason)


async def test_ungradable_references_are_reported(tmp_path: Path) -> None:
    rows = [
        ROW,
        {**ROW, "question": "2 + 2?", "answer": "see the appendix <3>"},
        {**ROW, "question": "3 + 3?", "answer": "see the appendix <3>", "correct": True},
    ]
    folder = tmp_path / "data"
    counts = await import_files(folder, write_json_lines(tmp_path / "rows.jsonl", *rows))
    assert counts["problems whose reference no answer can equal"] == 1
    assert await import_files(folder, str(tmp_path / "rows.jsonl")) == counts
    reasons = column(Dataset(str(folder)).read(TRACES), "outcome_reason")
    assert reasons[1].startswith("the reference answer: no answer could be compared with it")


async def test_base_of_labels_is_reported(tmp_path: Path) -> None:
    steps = ["a", "b"]
    rows = [
        {"question": "1", "steps": steps, "label": 2},
        {"question": "2", "steps": steps, "label": 1},
        {"question": "2", "steps": steps, "label": 2},
    ]
    path = write_json_lines(tmp_path / "rows.jsonl", *rows)
    counts = await import_files(tmp_path / "data", path)
    assert counts == {
        "problems": 2,
        "traces": 2,
        "with a human label": 2,
        "rows set aside": 1,
        "of these with other labels than the same trace": 1,
        "labels are counted from": 1,
    }
    labels = human_labels(Dataset(str(tmp_path / "data")))
    assert column(labels, "first_error") == [1, 0]
    with pytest.raises(ConfigError, match="other traces already"):
        await import_files(tmp_path / "data", path, labels_from=0)
    stated = await import_files(tmp_path / "data", path, labels_from=1)
    assert stated["traces"] == 2


async def test_problem_stays_in_one_shard(tmp_path: Path) -> None:
    size = Shards().problems_per_shard
    rows = list[dict[str, str]]()
    for model in ("a", "b"):
        for number in range(size + 1):
            rows.append(
                {
                    "question": f"{number} + 1?",
                    "answer": str(number + 1),
                    "solution": f"The answer is {number + 1}.",
                    "model": model,
                }
            )
    counts = await import_files(tmp_path / "data", write_json_lines(tmp_path / "rows.jsonl", *rows))
    assert counts["problems"] == size + 1
    assert counts["traces"] == 2 * size + 2
    dataset = Dataset(str(tmp_path / "data"))
    for shard, problem_count in enumerate((size, 1)):
        ids = column(dataset.read_part(PROBLEMS, shard), "problem_id")
        assert len(ids) == len(set(ids)) == problem_count
        # The two traces of a problem are adjacent.
        traces = column(dataset.read_part(TRACES, shard), "problem_id")
        assert traces[0::2] == ids
        assert traces[1::2] == ids


async def test_unusable_rows_are_rejected(tmp_path: Path) -> None:
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW, {"question": "?"}, ROW)
    counts = await import_files(tmp_path / "data", rows)
    assert counts["traces"] == 1
    assert counts["rows set aside"] == 2
    assert column(Dataset(str(tmp_path / "data")).read(REJECTED), "row") == [2, 3]


async def test_second_import_must_be_equal(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW)
    first = await import_files(folder, rows)
    traces = list(Dataset(str(folder)).read(TRACES))
    assert await import_files(folder, rows) == first
    assert list(Dataset(str(folder)).read(TRACES)) == traces
    for path, changes in [
        (rows, {"split": "sentence"}),
        (rows, {"license": "MIT"}),
        (write_json_lines(tmp_path / "other.jsonl", ROW, ROW), {}),
    ]:
        with pytest.raises(
            ConfigError, match="holds other traces already: import into a new folder"
        ):
            await import_files(folder, path, **changes)
    assert list(Dataset(str(folder)).read(TRACES)) == traces


async def test_repeated_import_keeps_other_annotations(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW | {"label": 0})
    await import_files(folder, rows)
    dataset = Dataset(str(folder))
    dataset.write_part(annotations("formal"), 0, human_labels(dataset), "another fingerprint")
    await import_files(folder, rows)
    assert dataset.methods("annotations") == ("formal", "human")


async def test_repeated_import_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW | {"label": 0}, {"question": "?"})
    first = await import_files(folder, rows)
    dataset = Dataset(str(folder))
    before = parts(folder)
    assert await import_files(folder, rows) == first
    assert parts(folder) == before
    # A label that a person changed, and one by another person.
    changed = [replace(row, confidence=0.5, fingerprint="") for row in human_labels(dataset)]
    dataset.write_part(annotations("human"), 0, changed, "by hand")
    dataset.write_part(annotations("human_ann"), 0, changed, "by hand")
    before = parts(folder)
    assert await import_files(folder, rows) == first
    assert parts(folder) == before


async def test_import_restores_lost_parts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW | {"label": 0})
    await import_files(folder, rows)
    dataset = Dataset(str(folder))
    changed = [replace(row, confidence=0.5, fingerprint="") for row in human_labels(dataset)]
    dataset.write_part(annotations("human"), 0, changed, "by hand")
    traces = list(dataset.read(TRACES))
    for table in (PROBLEMS, TRACES):
        dataset.remove_part(table, 0)
    await import_files(folder, rows)
    assert list(dataset.read(TRACES)) == traces
    assert human_labels(dataset) == changed
    dataset.remove_part(annotations("human"), 0)
    await import_files(folder, rows)
    assert column(human_labels(dataset), "first_error") == [0]


async def test_import_replaces_a_killed_one(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW | {"label": 0})
    await import_files(folder, rows)
    dataset = Dataset(str(folder))
    # The traces are written last.
    dataset.remove_part(TRACES, 0)
    await import_files(folder, rows, split="regex:#")
    assert [len(row.steps) for row in human_labels(dataset)] == [1]


async def test_import_never_replaces_damaged_labels(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = write_json_lines(tmp_path / "rows.jsonl", ROW | {"label": 0})
    await import_files(folder, rows)
    path = folder / "annotations" / "human" / "part-00000.parquet"
    path.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="labels of people cannot be made again"):
        await import_files(folder, rows)
    assert path.read_bytes() == b"damaged"


async def test_machine_labels_have_their_method(
    tmp_path: Path,
) -> None:
    source = PROCESSBENCH.with_name("math_shepherd.jsonl")
    counts = await import_files(tmp_path / "data", str(source), shape="math_shepherd")
    dataset = Dataset(str(tmp_path / "data"))
    assert counts == {
        "problems": 2,
        "traces": 3,
        "with a human label": 0,
        "with a math_shepherd label": 3,
        "rows set aside": 0,
    }
    assert dataset.methods("annotations") == ("math_shepherd",)
    labels = dataset.read(annotations("math_shepherd"))
    assert set(column(labels, "first_error")) == {-1, 1}


async def test_run_over_import_is_rejected(tmp_path: Path) -> None:
    await import_files(tmp_path / "dataset", write_json_lines(tmp_path / "rows.jsonl", ROW))
    path = run_file(tmp_path)
    with pytest.raises(ConfigError, match="holds imported traces: run into another folder"):
        prepare(load(Path(path)), makes_traces=True)
    assert prepare(load(Path(path)), makes_traces=False).dataset.count(TRACES) == 1


async def test_killed_import_leaves_no_rows(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await import_files(
        folder, write_json_lines(tmp_path / "a.jsonl", ROW | {"label": 0}, {"question": "?"})
    )
    for path in (folder / "traces").iterdir():
        path.unlink()
    counts = await import_files(
        folder, write_json_lines(tmp_path / "b.jsonl", ROW | {"question": "2 + 1?"})
    )
    dataset = Dataset(str(folder))
    assert counts["with a human label"] == len(human_labels(dataset)) == 0
    assert column(dataset.read(PROBLEMS), "question") == ["2 + 1?"]
    assert list(dataset.read(REJECTED)) == []


async def test_unreadable_file_leaves_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        await import_files(tmp_path / "data", str(tmp_path / "none.jsonl"))
    assert not (tmp_path / "data").exists()
