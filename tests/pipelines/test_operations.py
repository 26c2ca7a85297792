"""Operation of runs on a real Prefect server: schedules, overlaps, cancellation, pause, kills."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.workers.process import ProcessWorker

from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES
from tests.pipelines.prefect_api import POLL_SECONDS, get, post
from tests.pipelines.running import (
    REPOSITORY,
    clean_environment,
    finish,
    run_file,
    start,
    start_module,
    wait_for,
)

FINAL_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# Prefect's processes then look for work every second.
EAGER = {
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PYTHONPATH": str(REPOSITORY),
}
SHARD_SECONDS = 1.5
# The pause takes effect within `flow_control.POLL_SECONDS`, in the middle of these shards.
PAUSED_SHARDS = 12
Process = subprocess.Popen[str]


def slow_run_file(folder: Path, problems: int, **tables: object) -> str:
    """Write a run file of one problem per shard.

    A shard takes so long that the tests see the middle of a run with few shards: each one costs
    Prefect several tasks.
    """
    reply = "1 + 1 = 2\nThe answer is \\boxed{2}."
    return run_file(
        folder,
        problems={"use": "word_problems", "count": problems},
        engine={"use": "scripted", "replies": {"": [reply]}, "delay": SHARD_SECONDS},
        shards={"problems_per_shard": 1, "shards_in_flight": 1},
        **tables,
    )


def flow_runs(url: str, deployment: str) -> list[Any]:
    """Return the flow runs of a deployment that are not in the future."""
    runs = post(
        url,
        "flow_runs/filter",
        deployments={"name": {"any_": [deployment]}},
        flow_runs={"state": {"type": {"not_any_": ["SCHEDULED"]}}},
    )
    return list(runs)


def state(url: str, flow_run_id: str) -> Any:
    return get(url, f"flow_runs/{flow_run_id}")["state"]


def wait_until(condition: Callable[[], object], process: Process) -> None:
    """Poll the server until a condition is true, seldom enough for a busy one."""

    def is_true() -> object:
        time.sleep(POLL_SECONDS)
        return condition()

    wait_for(is_true, process)


def wait_for_state(url: str, flow_run_id: str, types: tuple[str, ...], process: Process) -> Any:
    wait_until(lambda: state(url, flow_run_id)["type"] in types, process)
    return state(url, flow_run_id)


def start_flow_run(url: str, deployment: str) -> str:
    found = get(url, f"deployments/name/stepmark-run/{deployment}")
    path = f"deployments/{found['id']}/create_flow_run"
    flow_run_id: str = post(url, path, state={"type": "SCHEDULED"})["id"]
    return flow_run_id


def group_is_gone(process: Process) -> bool:
    """Return whether no process of the group of an ended process is left."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def finished_shards(dataset: Dataset) -> int:
    return len(dataset.shards(TRACES)) if Path(dataset.uri).exists() else 0


def test_schedule_skips_overlaps_and_is_cancelled(tmp_path: Path, server_url: str) -> None:
    path = slow_run_file(tmp_path, 400, dataset=str(tmp_path / "nightly-{date}"))
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL=server_url, **EAGER)
    command = ["schedule", path, "--interval", "5s", "--timezone", "Asia/Tokyo", "--name", "often"]
    served = start(*command, environment=environment)

    def runs(*types: str) -> list[Any]:
        return [run for run in flow_runs(server_url, "often") if run["state_type"] in types]

    try:
        wait_for(lambda: list(tmp_path.glob("nightly-*/traces/*")), served)
        folder = next(tmp_path.glob("nightly-*/traces")).parent
        (first,) = runs("RUNNING")
        wait_until(lambda: runs("CANCELLED"), served)
        assert runs("CANCELLED")[0]["state"]["message"] == "Deployment concurrency limit reached."
        assert get(server_url, f"flow_runs/{first['id']}")["name"] == f"run {folder}"
        post(server_url, f"flow_runs/{first['id']}/set_state", state={"type": "CANCELLING"})
        wait_for_state(server_url, first["id"], FINAL_STATES, served)
        assert state(server_url, first["id"])["type"] == "CANCELLED"
    finally:
        served.send_signal(signal.SIGTERM)
        status, out, err = finish(served)
    assert status == 128 + signal.SIGTERM
    assert "stopped by SIGTERM: finished parts and all completions" in out + err
    assert "Traceback" not in out + err
    assert "never awaited" not in out + err
    assert not runs("FAILED", "CRASHED", "RUNNING")
    assert group_is_gone(served)
    assert get(server_url, "deployments/name/stepmark-run/often")["paused"] is True
    assert Dataset(str(folder)).count(TRACES) > 0


def test_killed_worker_loses_nothing(tmp_path: Path, server_url: str) -> None:
    path = slow_run_file(tmp_path, PAUSED_SHARDS)
    dataset = Dataset(str(tmp_path / "dataset"))
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL=server_url, **EAGER)
    template = ProcessWorker.get_default_base_job_template()
    post(server_url, "work_pools/", name="pool", type="process", base_job_template=template)
    # The slot of a run that was killed stays taken for some minutes.
    command = ["deploy", path, "--pool", "pool", "--name", "killed", "--concurrency", "2"]
    status, out, err = finish(start(*command, environment=environment))
    assert (status, err) == (0, "")
    assert "deployment stepmark-run/killed in the process pool pool: no schedule" in out
    # The server has the content: the workers do not need the file.
    Path(path).unlink()

    worker = _start_worker(environment)
    try:
        flow_run_id = start_flow_run(server_url, "killed")
        wait_for(lambda: finished_shards(dataset) >= 1, worker)
        pause = {"type": "PAUSED", "name": "Paused"}
        post(server_url, f"flow_runs/{flow_run_id}/set_state", state=pause)
        wait_until(lambda: state(server_url, flow_run_id)["name"] == "Suspended", worker)
        at_pause = finished_shards(dataset)
        post(server_url, f"flow_runs/{flow_run_id}/resume")
        wait_for(lambda: finished_shards(dataset) > at_pause, worker)
    finally:
        # The group contains the process of the run.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()
    assert finished_shards(dataset) < PAUSED_SHARDS

    worker = _start_worker(environment)
    try:
        flow_run_id = start_flow_run(server_url, "killed")
        final = wait_for_state(server_url, flow_run_id, FINAL_STATES, worker)
        assert final["type"] == "COMPLETED"
    finally:
        worker.send_signal(signal.SIGTERM)
        finish(worker)
    assert dataset.count(TRACES) == dataset.count(LABELS) == 2 * PAUSED_SHARDS


def test_cancelled_command_ends(tmp_path: Path, server_url: str) -> None:
    path = slow_run_file(tmp_path, 400)
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL=server_url)
    process = start("run", path, environment=environment)
    dataset = Dataset(str(tmp_path / "dataset"))
    wait_for(lambda: finished_shards(dataset) >= 1, process)
    name = {"name": {"any_": [f"run {dataset.uri}"]}}
    (run,) = post(server_url, "flow_runs/filter", flow_runs=name)
    post(server_url, f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})
    status, _, err = finish(process)
    assert status == 128 + signal.SIGTERM
    assert "stepmark: stopped by a cancellation in Prefect: finished parts" in err
    assert "Traceback" not in err
    assert state(server_url, run["id"])["type"] == "CANCELLED"


def _start_worker(environment: dict[str, str]) -> Process:
    return start_module("prefect", "worker", "start", "--pool", "pool", environment=environment)
