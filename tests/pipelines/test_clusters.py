"""Workers on a Ray cluster of two nodes, of which one is killed, and on a Dask cluster."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from pipelines.run.job import Job
from pipelines.run.workers.relay import WORKER_MODULE
from storage.dataset.dataset import Dataset
from tests.pipelines.running import (
    REPOSITORY,
    WAIT_SECONDS,
    clean_environment,
    finish,
    run_file,
    wait_for,
)
from tests.pipelines.test_workers import TABLES, contents, job_of, run

# Runs a run file, and prints why workers were lost. The wait before the shards of a lost worker are
# assigned again is shorter than usual.
DRIVER = """
import asyncio, sys
from functools import partial
from pipelines.run.stages import run_stages
from pipelines.run.workers import runners
from pipelines.run.workers.coordinator import run_in_workers
from tests.pipelines.test_workers import RETRIES, job_of
runners.SILENCE_SECONDS = 10.0
reason_of_end = runners.RemoteWorker.reason_of_end
async def reported(worker):
    reason = await reason_of_end(worker)
    print(reason, flush=True)
    return reason
runners.RemoteWorker.reason_of_end = reported
run_all = partial(run_in_workers, retries=RETRIES)
asyncio.run(run_stages(job_of(sys.argv[1]), makes_traces=True, run_all=run_all))
"""
# The scheduler and two workers of a Dask cluster; the first line is the address.
DASK_CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    print(*(worker.pid for worker in cluster.workers.values()), flush=True)
    sys.stdin.read()
    cluster.close()
"""
# A worker per node. The object store is not used; a large one is slow to start.
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
# Long enough that a node is killed while it makes a shard.
SLOW_ENGINE = {
    "use": "scripted",
    "replies": {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]},
    "delay": 1.0,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run in one process."""
    job = job_of(run_file(tmp_path_factory.mktemp("one"), **TABLES), workers=1)
    run(job)
    return job


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node without processors for workers, and no other node yet."""
    from ray.cluster_utils import Cluster

    # Its processes find modules and this interpreter as the test does.
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **NODE})
    yield cluster
    cluster.shutdown()


def worker_pids() -> set[int]:
    """Return the worker processes of this machine that work for a relay."""
    pids = set[int]()
    for process in psutil.process_iter(["cmdline"]):
        if WORKER_MODULE in (process.info["cmdline"] or ()):
            pids.add(process.pid)
    return pids


def start_driver(path: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, path],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_with_loss(
    folder: Path, runner: Mapping[str, Any], kill: Callable[[], None], undisturbed: Job
) -> str:
    """Run in two workers of a cluster, kill one in the middle, and compare; return the output."""
    path = run_file(folder, **TABLES, engine=SLOW_ENGINE, run={**runner, "workers": 2})
    dataset = Dataset(str(folder / "dataset"))
    command = start_driver(path, clean_environment(folder / "home"))
    wait_for(lambda: len(worker_pids()) == 2 and dataset.folder.files("traces"), command)
    kill()
    status, out, err = finish(command)
    assert status == 0, err
    assert contents(dataset) == contents(undisturbed.dataset)
    # A relay that Dask has started again ends its worker when nothing calls it.
    deadline = time.monotonic() + WAIT_SECONDS
    while worker_pids() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert worker_pids() == set()
    return out


def test_killed_ray_node_is_replaced(ray_cluster: Any, tmp_path: Path, undisturbed: Job) -> None:
    node = ray_cluster.add_node(**NODE)

    def kill() -> None:
        # As when a machine is taken away: all processes of the node are killed.
        ray_cluster.remove_node(node, allow_graceful=False)

    runner = {"runner": "ray", "address": ray_cluster.address}
    out = run_with_loss(tmp_path, runner, kill, undisturbed)
    assert "its machine was lost: " in out


def test_killed_dask_worker_is_replaced(tmp_path: Path, undisturbed: Job) -> None:
    script = tmp_path / "cluster.py"
    script.write_text(DASK_CLUSTER, encoding="utf-8")
    cluster = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    victim = int(cluster.stdout.readline().split()[0])
    try:
        runner = {"runner": "dask", "address": address}
        out = run_with_loss(tmp_path, runner, lambda: os.kill(victim, signal.SIGKILL), undisturbed)
        assert "its machine was lost: " in out
    finally:
        cluster.communicate(timeout=WAIT_SECONDS)
