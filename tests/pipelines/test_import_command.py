"""Intake: solutions that exist become a dataset to label, of one origin, graded where their rows do not say how they end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.importing.import_command import import_dataset
from pipelines.run.config import Shards
from pipelines.run.flow import prepare
from stepmark.errors import ConfigError, InputError
from stepmark.records import Annotation, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES, annotations
from tests.pipelines.running import run_file

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741
PROCESSBENCH = Path(__file__).parents[1] / "problems" / "samples" / "processbench.jsonl"
ROW = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 3.\nThe answer is 3."}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


async def imported(folder: Path, *paths: str, **changes: Any) -> Mapping[str, int]:
    settings: dict[str, Any] = {
        "shape": "",
        "fields": {},
        "split": "line",
        "domain": "",
        "license": "",
    }
    return await import_dataset(paths, str(folder), **settings | changes)


async def trace_of(tmp_path: Path, row: dict[str, Any], **changes: Any) -> Trace:
    await imported(tmp_path / "data", write(tmp_path / "rows.jsonl", row), **changes)
    (trace,) = Dataset(str(tmp_path / "data")).read(TRACES)
    return trace


def human(dataset: Dataset) -> list[Annotation]:
    return list(dataset.read(annotations("human")))


async def test_processbench_becomes_traces_with_human_labels(tmp_path: Path) -> None:
    counts = await imported(
        tmp_path / "data", str(PROCESSBENCH), shape="processbench", license="Apache-2.0"
    )
    dataset = Dataset(str(tmp_path / "data"))
    rows = [json.loads(line) for line in PROCESSBENCH.read_text().splitlines()]
    assert counts == {"problems": 4, "traces": 4, "with a human label": 4, "rows set aside": 0}
    assert [annotation.first_error for annotation in human(dataset)] == [
        row["label"] for row in rows
    ]
    assert [trace.outcome is C for trace in dataset.read(TRACES)] == [
        row["final_answer_correct"] for row in rows
    ]
    stamps = {
        dataset.footer(table, 0) for table in (PROBLEMS, REJECTED, TRACES, annotations("human"))
    }
    assert len({footer.fingerprint for footer in stamps if footer}) == 1
    assert None not in stamps
    assert {annotation.fingerprint for annotation in human(dataset)} == {
        footer.fingerprint for footer in stamps if footer
    }


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
async def test_a_trace_is_graded_where_its_row_does_not_say_how_it_ends(
    tmp_path: Path, changed: dict[str, Any], answer: str | None, outcome: Verdict, reason: str
) -> None:
    trace = await trace_of(tmp_path, ROW | changed)
    assert (trace.final_answer, trace.outcome, trace.outcome_reason) == (answer, outcome, reason)


async def test_solutions_of_one_problem_lie_in_one_shard(tmp_path: Path) -> None:
    size = Shards().problems_per_shard
    problems = [
        {"question": f"{n} + 1?", "answer": str(n + 1), "solution": f"The answer is {n + 1}."}
        for n in range(size + 1)
    ]
    rows = [problem | {"model": model} for model in "ab" for problem in problems]
    counts = await imported(tmp_path / "data", write(tmp_path / "rows.jsonl", *rows))
    dataset = Dataset(str(tmp_path / "data"))
    assert (counts["problems"], counts["traces"]) == (size + 1, 2 * size + 2)
    for shard, held in enumerate((size, 1)):
        ids = [problem.problem_id for problem in dataset.read_part(PROBLEMS, shard)]
        traces = list(dataset.read_part(TRACES, shard))
        assert len(ids) == len(set(ids)) == held
        assert [trace.problem_id for trace in traces] == [name for name in ids for _ in range(2)]


async def test_rows_that_cannot_be_used_are_set_aside(tmp_path: Path) -> None:
    counts = await imported(
        tmp_path / "data", write(tmp_path / "rows.jsonl", ROW, {"question": "?"}, ROW)
    )
    assert (counts["traces"], counts["rows set aside"]) == (1, 2)
    assert [row.row for row in Dataset(str(tmp_path / "data")).read(REJECTED)] == [2, 3]


async def test_the_same_import_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    folder, rows = tmp_path / "data", write(tmp_path / "rows.jsonl", ROW)
    first = await imported(folder, rows)
    traces = list(Dataset(str(folder)).read(TRACES))
    assert await imported(folder, rows) == first
    assert list(Dataset(str(folder)).read(TRACES)) == traces
    for path, changes in [
        (rows, {"split": "sentence"}),
        (rows, {"license": "MIT"}),
        (write(tmp_path / "other.jsonl", ROW, ROW), {}),
    ]:
        with pytest.raises(
            ConfigError, match="holds other traces already: import into a new folder"
        ):
            await imported(folder, path, **changes)
    assert list(Dataset(str(folder)).read(TRACES)) == traces


async def test_the_same_import_again_leaves_what_other_methods_said(tmp_path: Path) -> None:
    folder, rows = tmp_path / "data", write(tmp_path / "rows.jsonl", ROW | {"label": 0})
    await imported(folder, rows)
    dataset = Dataset(str(folder))
    dataset.write_part(annotations("formal"), 0, human(dataset), "another fingerprint")
    await imported(folder, rows)
    assert dataset.methods("annotations") == ("formal", "human")


async def test_labels_that_no_person_made_are_annotations_of_their_own_method(
    tmp_path: Path,
) -> None:
    source = PROCESSBENCH.with_name("math_shepherd.jsonl")
    counts = await imported(tmp_path / "data", str(source), shape="math_shepherd")
    dataset = Dataset(str(tmp_path / "data"))
    assert counts == {
        "problems": 2,
        "traces": 3,
        "with a human label": 0,
        "with a math_shepherd label": 3,
        "rows set aside": 0,
    }
    assert dataset.methods("annotations") == ("math_shepherd",)
    assert {
        annotation.first_error for annotation in dataset.read(annotations("math_shepherd"))
    } == {-1, 1}


async def test_a_run_over_imported_traces_is_refused(tmp_path: Path) -> None:
    await imported(tmp_path / "dataset", write(tmp_path / "rows.jsonl", ROW))
    path = run_file(tmp_path)
    with pytest.raises(ConfigError, match="holds imported traces: run into another folder"):
        prepare(path, (), makes_traces=True)
    assert prepare(path, (), makes_traces=False).dataset.count(TRACES) == 1


async def test_nothing_that_a_killed_import_left_behind_stays(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await imported(folder, write(tmp_path / "a.jsonl", ROW | {"label": 0}, {"question": "?"}))
    for path in (folder / "traces").iterdir():
        path.unlink()
    counts = await imported(folder, write(tmp_path / "b.jsonl", ROW | {"question": "2 + 1?"}))
    dataset = Dataset(str(folder))
    assert counts["with a human label"] == len(human(dataset)) == 0
    assert [problem.question for problem in dataset.read(PROBLEMS)] == ["2 + 1?"]
    assert list(dataset.read(REJECTED)) == []


async def test_what_cannot_be_read_leaves_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        await imported(tmp_path / "data", str(tmp_path / "none.jsonl"))
    assert not (tmp_path / "data").exists()
