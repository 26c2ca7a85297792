"""The synthetic dataset of a million traces, at the size of a few shards."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.scale.benchmark import run_command
from benchmarks.scale.synthetic import ROLLOUTS_PER_PREFIX, SyntheticDataset
from pipelines.run.stages import run_stages
from storage.dataset.tables import LABELS, TRACES, annotations, rollouts
from storage.dataset.verify import verify
from storage.queries.alignment import align
from storage.queries.listing import list_parts


def synthetic(folder: Path, *, has_rollouts: bool = False) -> SyntheticDataset:
    """Return a synthetic dataset of three shards, which is not written yet."""
    return SyntheticDataset(
        folder=folder, traces=40, problems_per_shard=4, has_rollouts=has_rollouts
    )


def test_synthetic_dataset_is_intact(tmp_path: Path) -> None:
    data = synthetic(tmp_path, has_rollouts=True)
    data.write(processes=1)
    assert list(verify(data.dataset)) == []
    assert data.dataset.count(TRACES) == data.dataset.count(LABELS) == 40
    prefixes = sum(len(trace.steps) - 1 for trace in data.dataset.read(TRACES))
    sampled = data.dataset.count(rollouts("monte_carlo"))
    assert sampled == prefixes * ROLLOUTS_PER_PREFIX
    assert list(align(data.dataset, list_parts(data.dataset)).shards) == [0, 1, 2]


def test_run_finds_synthetic_dataset_complete(tmp_path: Path) -> None:
    data = synthetic(tmp_path)
    data.write(processes=1)
    data.remove_last_labels()
    job = data.job()
    asyncio.run(run_stages(job, makes_traces=True))
    assert job.meter.generated_tokens == 0
    assert data.dataset.shards(LABELS) == (0, 1, 2)
    assert data.dataset.methods("annotations") == ("formal", "judge", "monte_carlo")
    for method in ("formal", "judge", "monte_carlo"):
        assert data.dataset.count(annotations(method)) == 40


def test_failed_command_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no dataset at"):
        run_command(["sql", "SELECT 1", "--dataset", str(tmp_path / "none")], tmp_path)
