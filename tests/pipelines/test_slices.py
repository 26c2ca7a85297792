"""`--shards 0/2`: several processes make the shards of one dataset, and a last run the rest."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.slices import Slice
from storage.dataset.tables import LABELS, PROBLEMS, TRACES
from tests.pipelines.running import clean_environment, error_lines, finish, run_file, start
from tests.pipelines.test_workers import TABLES, contents, job_of, run


def slice_of(path: str, shards: str, workers: int = 1) -> Job:
    """Return the job of a run file for a slice of its shards."""
    return replace(job_of(path), options=RunOptions(workers=workers, shards=shards))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run of all shards in one process."""
    job = job_of(run_file(tmp_path_factory.mktemp("one"), **TABLES), workers=1)
    run(job)
    return job


def test_slices_make_the_same_tables(tmp_path: Path, undisturbed: Job) -> None:
    path = run_file(tmp_path, **TABLES)
    first = slice_of(path, "1/2")
    # The other slice is being made meanwhile.
    with first.dataset.writer_lock(Slice(0, 2)):
        run(first)
    assert first.dataset.shards(PROBLEMS) == first.dataset.shards(TRACES) == (1,)
    assert (first.meter.done["traces"], first.meter.total["traces"]) == (4, 4)
    second = slice_of(path, "0/2", workers=2)
    run(second)
    assert second.dataset.shards(TRACES) == (0, 1, 2)
    # `fusion` is fitted to all shards.
    assert second.dataset.shards(LABELS) == ()
    last = job_of(path, workers=1)
    run(last)
    assert contents(last.dataset) == contents(undisturbed.dataset)
    assert (
        last.dataset.read_run_files()[0].partition("\n")[0]
        == (undisturbed.dataset.read_run_files()[0].partition("\n")[0])
    )
    # The last run only labels.
    assert (last.meter.generated_tokens, last.meter.reused) == (0, 0)


def test_labels_of_slices_equal_a_run(tmp_path: Path, undisturbed: Job) -> None:
    unlabelled: dict[str, Any] = {**TABLES, "annotators": [{"use": "formal"}]}
    unlabelled["label"] = {"use": "consensus", "rule": "majority", "min_agreeing": 1}
    run(job_of(run_file(tmp_path, **unlabelled), workers=1))
    path = run_file(tmp_path, **TABLES)
    for shards in ("0/2", "1/2"):
        run(slice_of(path, shards), makes_traces=False)
    run(job_of(path, workers=1), makes_traces=False)
    assert contents(Dataset(str(tmp_path / "dataset"))) == contents(undisturbed.dataset)


def test_commands_make_slices_at_once(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    environment = clean_environment(tmp_path / "home")
    commands = []
    for index in range(2):
        command = start("run", path, "--shards", f"{index}/2", environment=environment)
        commands.append(command)
    for index, command in enumerate(commands):
        status, out, err = finish(command)
        assert (status, error_lines(err)) == (0, [])
        assert out.splitlines()[0].endswith(f"/dataset, shards {index}/2")
        assert out.splitlines()[-1] == f"next: when all slices are made: stepmark run {path}"
    status, out, err = finish(start("run", path, environment=environment))
    assert (status, error_lines(err)) == (0, [])
    assert "0 tokens written" in out
    dataset = Dataset(str(tmp_path / "dataset"))
    assert dataset.shards(LABELS) == dataset.shards(TRACES) == (0, 1)


def test_next_command_keeps_overrides(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    dataset = f"dataset={tmp_path / 'other-{date}'}"
    options = ["--set", dataset, "--date", "2026-11-30"]
    environment = clean_environment(tmp_path / "home")
    command = start("run", path, *options, "--shards", "0/2", environment=environment)
    status, out, err = finish(command)
    assert (status, error_lines(err)) == (0, [])
    shown = shlex.join(["stepmark", "run", path, *options])
    assert out.splitlines()[-1] == f"next: when all slices are made: {shown}"


def test_slice_without_shards_does_nothing(tmp_path: Path) -> None:
    job = slice_of(run_file(tmp_path), "7/8", workers=2)
    run(job)
    assert job.dataset.shards(TRACES) == ()
    assert job.dataset.read_run_files()


def test_slice_keeps_shards_of_others(tmp_path: Path) -> None:
    run(job_of(run_file(tmp_path), workers=1))
    fewer: dict[str, Any] = {"problems": {"use": "word_problems", "count": 2}}
    job = replace(
        job_of(run_file(tmp_path, **fewer)), options=RunOptions(shards="0/2", recompute=True)
    )
    run(job)
    assert job.dataset.shards(TRACES) == (0, 1)
    last = replace(job_of(run_file(tmp_path, **fewer)), options=RunOptions(recompute=True))
    run(last)
    assert last.dataset.shards(TRACES) == (0,)


def test_slice_ignores_unfinished_shards_of_others(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    job = job_of(path, workers=1)
    run(job)
    # As listed before another slice wrote the traces, and its annotations since.
    job.dataset.remove_part(TRACES, 1)
    job.dataset.remove_part(LABELS, 0)
    run(slice_of(path, "0/2"), makes_traces=False)
    assert job.dataset.shards(LABELS) == (0, 1)
    with pytest.raises(DatasetError, match=r"traces/part-00001\.parquet is missing"):
        run(job_of(path, workers=1), makes_traces=False)


def test_invalid_slice_is_one_line(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    environment = clean_environment(tmp_path / "home")
    command = start("run", path, "--shards", "2/2", environment=environment)
    status, _, err = finish(command)
    assert (status, err.count("\n")) == (2, 1)
    assert "'2/2' is no slice of the shards" in err
