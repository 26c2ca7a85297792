"""Workers on a Ray cluster of two nodes, of which one is killed, and in a Dask cluster."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from pipelines.run.job import Job
from pipelines.run.stages import run_stages
from pipelines.run.workers import runners
from pipelines.run.workers.coordinator import run_in_workers
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
from tests.pipelines.test_workers import RETRIES, TABLES, contents, job_of, run

# Runs a run file, and prints why workers were lost.
DRIVER = """
import asyncio, sys
from functools import partial
from pipelines.run.stages import run_stages
from pipelines.run.workers import runners
from pipelines.run.workers.coordinator import run_in_workers
from tests.pipelines.test_workers import RETRIES, job_of
runners.SILENCE_SECONDS = float(sys.argv[2])
reason_of_end = runners.RemoteWorker.reason_of_end
async def reported(worker):
    reason = await reason_of_end(worker)
    print(reason, flush=True)
    return reason
runners.RemoteWorker.reason_of_end = reported
run_all = partial(run_in_workers, retries=RETRIES)
asyncio.run(run_stages(job_of(sys.argv[1]), makes_traces=True, run_all=run_all))
"""
# The shards of a lost worker are assigned again sooner than usual.
SILENCE_SECONDS = 5.0
CLUSTER_VARIABLE = "STEPMARK_TEST_CLUSTER"
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


@pytest.fixture(autouse=True)
def _mark_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of the cluster inherit a variable that distinguishes them from others."""
    monkeypatch.setenv(CLUSTER_VARIABLE, str(tmp_path))


def worker_pids() -> set[int]:
    """Return the worker processes of this cluster, also those whose machine was killed."""
    pids = set[int]()
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        is_of_cluster = environment.get(CLUSTER_VARIABLE) == os.environ[CLUSTER_VARIABLE]
        if is_of_cluster and WORKER_MODULE in (process.info["cmdline"] or ()):
            pids.add(process.pid)
    return pids


def expect_no_workers() -> None:
    """Wait until no worker is left: a relay that Dask starts again is never called."""
    deadline = time.monotonic() + WAIT_SECONDS
    while worker_pids() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert worker_pids() == set()


def start_driver(path: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, path, str(SILENCE_SECONDS)],
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
    expect_no_workers()
    return out


def test_killed_ray_node_is_replaced(ray_cluster: Any, tmp_path: Path, undisturbed: Job) -> None:
    node = ray_cluster.add_node(**NODE)

    def kill() -> None:
        # As when a machine is taken away: all processes of the node are killed.
        ray_cluster.remove_node(node, allow_graceful=False)

    runner = {"runner": "ray", "address": ray_cluster.address}
    out = run_with_loss(tmp_path, runner, kill, undisturbed)
    assert "its machine was lost: " in out


def test_closed_dask_worker_is_replaced(
    tmp_path: Path, undisturbed: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    reasons = list[str]()
    reason_of_end = runners.RemoteWorker.reason_of_end

    async def recorded(worker: runners.RemoteWorker) -> str:
        reasons.append(await reason_of_end(worker))
        return reasons[-1]

    monkeypatch.setattr(runners.RemoteWorker, "reason_of_end", recorded)
    monkeypatch.setattr(runners, "SILENCE_SECONDS", SILENCE_SECONDS)
    # The scheduler and the workers of Dask are threads of this process: starting processes for them
    # takes longer than the run. Only their relays start processes.
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    )
    with cluster:
        runner = {"runner": "dask", "address": cluster.scheduler_address}
        job = job_of(run_file(tmp_path, **TABLES, engine=SLOW_ENGINE, run=runner))

        async def run_and_close() -> None:
            run_all = partial(run_in_workers, retries=RETRIES)
            running = asyncio.create_task(run_stages(job, makes_traces=True, run_all=run_all))
            while not job.dataset.folder.files("traces") and not running.done():
                await asyncio.sleep(0.05)
            await asyncio.to_thread(cluster.sync, cluster.workers[0].close)
            await running

        asyncio.run(run_and_close())
    (reason,) = reasons
    assert reason.startswith("its machine was lost: ")
    assert contents(job.dataset) == contents(undisturbed.dataset)
    expect_no_workers()
