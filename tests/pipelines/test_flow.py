"""The flow on a real Prefect server: its API, retries of single parts, and schedules."""

import asyncio
import json
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.exceptions import CancelledRun, FailedRun, TerminationSignal

from engines.base import Prompt
from engines.scripted import Scripted
from pipelines.run import flow
from pipelines.run import plan as planning
from pipelines.run import prefect_server as server_module
from pipelines.run.config import RunFile, load
from pipelines.run.engine_pool import ENGINE, EnginePool
from pipelines.run.execution import run_without_server
from pipelines.run.flow import stepmark_run
from pipelines.run.options import RunOptions
from pipelines.run.preparation import prepare
from pipelines.run.retries import RETRIES
from pipelines.stop_signals import StoppedError, stop_signals_raise
from stepmark.errors import ConfigError, DatasetBusyError, EngineError, EngineWarning
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, Table
from tests.pipelines.prefect_api import MAX_POLLS, POLL_SECONDS, post
from tests.pipelines.running import clean_environment, finish, run_file, start

# Prefect's threads keep their connections after the event loop of a flow has ended.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning", "ignore:unclosed transport:ResourceWarning"
)

REPLY = "1 + 1 = 2\nThe answer is \\boxed{2}."
TASKS = {
    "problems",
    "traces-0",
    "traces-1",
    "oracle-0",
    "oracle-1",
    "formal-0",
    "formal-1",
    "labels-0",
    "labels-1",
}
# With one shard in flight the order of requests is known.
ONE_BY_ONE = {"problems_per_shard": 1, "shards_in_flight": 1}
FINAL_STATES = ("COMPLETED", "FAILED", "CRASHED")
Respond = Callable[[Prompt, Sampling, int], str]
# Replaces the engine of the next runs; the returned list has one entry per `close`.
UseModel = Callable[[Respond], list[str]]


class FailingModel:
    """A model that fails on selected requests, numbered from 0."""

    def __init__(self, *failing: int, error: Exception) -> None:
        self.failing = failing
        self.error = error
        self.requests = 0

    def __call__(self, prompt: Prompt, sampling: Sampling, index: int) -> str:
        if index == 0:
            self.requests += 1
            if self.requests - 1 in self.failing:
                raise self.error
        return REPLY


def busy(message: str = "busy") -> EngineError:
    return EngineError(message, retryable=True)


@pytest.fixture
def use_model(monkeypatch: pytest.MonkeyPatch) -> UseModel:
    # The same number of retries without the delays.
    monkeypatch.setattr(flow, "RETRIES", replace(RETRIES, seconds=(0.0, 0.0, 0.0)))
    build = planning.build
    closed = list[str]()

    class ClosableEngine(Scripted):
        async def close(self) -> None:
            closed.append("closed")

    def use(respond: Respond) -> list[str]:
        def build_with_engine(
            settings: RunFile, file_name: str, *, code_folder: Path | None
        ) -> planning.Plan:
            plan = build(settings, file_name, code_folder=code_folder)
            engines = {**plan.engines, ENGINE: ClosableEngine(respond=respond)}
            return plan.with_engines(EnginePool(engines))

        monkeypatch.setattr(planning, "build", build_with_engine)
        return closed

    return use


def run(path: str) -> Any:
    return asyncio.run(stepmark_run(path))


def flow_run(url: str, path: str, command: str = "run") -> Any:
    """Return the flow run of a run file: it is named by the dataset."""
    name = f"{command} {load(Path(path)).dataset}"
    (result,) = post(url, "flow_runs/filter", flow_runs={"name": {"any_": [name]}})
    return result


def task_runs(url: str, path: str, expected: int) -> dict[str, int]:
    """Return how often each task of a run was tried.

    The server records events with a delay, so it is polled until all tasks have ended.
    """
    flow_run_id = flow_run(url, path)["id"]
    for _ in range(MAX_POLLS):
        tasks = post(url, "task_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})
        ended = all(task["state_type"] in FINAL_STATES for task in tasks)
        if ended and len(tasks) == expected:
            return {task["name"]: task["run_count"] for task in tasks}
        time.sleep(POLL_SECONDS)
    raise AssertionError([(task["name"], task["state_name"]) for task in tasks])


def artifacts_of(url: str, flow_run_id: str) -> dict[str, Any]:
    artifacts = post(url, "artifacts/filter", flow_runs={"id": {"any_": [flow_run_id]}})
    return {artifact["key"]: artifact for artifact in artifacts}


def log_lines(url: str, flow_run_id: str, last: str) -> list[str]:
    """Return the log lines of a flow run, when one of them begins with a text.

    Prefect sends them with a delay.
    """
    query = {"flow_run_id": {"any_": [flow_run_id]}}
    for _ in range(MAX_POLLS):
        lines = [entry["message"] for entry in post(url, "logs/filter", logs=query)]
        if any(line.startswith(last) for line in lines):
            return lines
        time.sleep(POLL_SECONDS)
    raise AssertionError(lines)


def part_contents(dataset: Dataset, table: Table[Any]) -> list[bytes]:
    return [Path(dataset.uri, part).read_bytes() for part in dataset.paths(table)]


def test_run_is_visible_through_api(
    tmp_path: Path, prefect_server: str, use_model: UseModel
) -> None:
    canary = "canary-5c1e"

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        del prompt, sampling, index
        warnings.warn(f"the key {canary} is old", EngineWarning, stacklevel=1)
        return REPLY

    use_model(respond)
    urls = [f"http://me:{canary}@127.0.0.1:9/v1"]
    path = run_file(tmp_path, engine={"use": "openai", "model": "m", "base_urls": urls})
    with pytest.warns(EngineWarning, match="is old"):
        rows = run(path)
    result = flow_run(prefect_server, path)
    assert result["state_type"] == "COMPLETED"
    assert result["parameters"]["run_file"] == path
    dataset = str(tmp_path / "dataset")
    tags = [f"dataset:{dataset}", "method:formal", "model:m"]
    assert sorted(result["tags"]) == tags
    assert task_runs(prefect_server, path, len(TASKS)) == dict.fromkeys(TASKS, 1)
    artifacts = artifacts_of(prefect_server, result["id"])
    assert json.loads(artifacts["stepmark-summary"]["data"]) == rows
    assert {"what": "problems", "count": "4"} in rows
    assert artifacts["stepmark-summary"]["description"] == dataset
    assert 'use = "word_problems"' in artifacts["stepmark-run-file"]["data"]
    assert "top_p = 1.0" in artifacts["stepmark-run-file"]["data"], "defaults are shown"
    (labels,) = json.loads(artifacts["stepmark-labels"]["data"])
    assert (labels["label"], labels["traces"], labels["kept"]) == ("undecided", 8, False)
    assert artifacts["stepmark-progress-traces"]["data"] == 100
    lines = log_lines(prefect_server, result["id"], "labels kept")
    assert any(line.startswith("problems 4, traces 8/8") for line in lines)
    assert "the key REDACTED is old" in lines
    assert "REDACTED@127.0.0.1:9" in artifacts["stepmark-run-file"]["data"]
    assert canary not in json.dumps([result, artifacts, lines])


def test_busy_dataset_skips_run_of_deployment(tmp_path: Path, prefect_server: str) -> None:
    path = run_file(tmp_path)
    with Dataset(str(tmp_path / "dataset")).writer_lock(), pytest.raises(CancelledRun):
        # Without a prepared job, as a deployment starts it.
        run(path)
    state = flow_run(prefect_server, path)["state"]
    assert (state["type"], state["name"]) == ("CANCELLED", "Skipped")
    assert "another run is writing here" in state["message"]


def test_state_has_no_secrets(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "canary-8d20"

    async def refuse(*arguments: object, **options: object) -> None:
        raise DatasetBusyError(f"another run writes to https://me:{canary}@host/data")

    monkeypatch.setattr("pipelines.run.execution.run_job", refuse)
    path = run_file(tmp_path)
    with pytest.raises(CancelledRun):
        run(path)
    message = flow_run(prefect_server, path)["state"]["message"]
    assert message == "another run writes to https://REDACTED@host/data"


def test_used_budget_is_a_state(tmp_path: Path, prefect_server: str) -> None:
    path = run_file(tmp_path, budget={"tokens": 1})
    run(path)
    state = flow_run(prefect_server, path)["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "BudgetUsed")
    assert state["message"].endswith(f"; the next run of {tmp_path / 'dataset'} goes on")


def test_failed_methods_fail_the_flow_run(tmp_path: Path, prefect_server: str) -> None:
    judge = {"use": "scripted", "error": "no credit", "retryable": False}
    path = run_file(tmp_path, annotators=[{"use": "judge"}], judge_engine=judge)
    with pytest.raises(FailedRun, match="judge on 100%"):
        run(path)
    assert flow_run(prefect_server, path)["state_type"] == "FAILED"
    # The command reads the share itself, and prints the summary.
    job = prepare(load(Path(path)), makes_traces=True)
    rows = asyncio.run(flow.perform(job, path, (), makes_traces=True))
    assert {"what": "problems", "count": "4"} in rows


def test_slice_leaves_failures_to_last_run(tmp_path: Path, prefect_server: str) -> None:
    judge = {"use": "scripted", "error": "no credit", "retryable": False}
    path = run_file(tmp_path, annotators=[{"use": "judge"}], judge_engine=judge)
    job = prepare(load(Path(path)), RunOptions(shards="0/2"), makes_traces=True)
    rows = asyncio.run(flow.perform(job, path, (), makes_traces=True))
    assert {"what": "judge", "count": "4, 4 failed"} in rows
    result = flow_run(prefect_server, path)
    assert result["state_type"] == "COMPLETED"
    assert "stepmark-labels" not in artifacts_of(prefect_server, result["id"])


def test_command_runs_flow_on_server(tmp_path: Path, server_url: str) -> None:
    path = run_file(tmp_path)
    asyncio.run(run_without_server(prepare(load(Path(path)), makes_traces=True), makes_traces=True))
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL=server_url)
    status, out, err = finish(start("label", path, environment=environment))
    assert (status, err) == (0, "")
    assert "labels kept" in out
    assert f"flow run: {server_url.removesuffix('/api')}/runs/flow-run/" in out
    assert flow_run(server_url, path, "label")["state_type"] == "COMPLETED"


def test_retry_repeats_one_part(tmp_path: Path, prefect_server: str, use_model: UseModel) -> None:
    # The requests of the first shard fail twice: its first one, and one of the first retry.
    closed = use_model(FailingModel(0, 2, error=busy()))
    path = run_file(tmp_path, shards={"problems_per_shard": 2, "shards_in_flight": 1})
    run(path)
    tries = task_runs(prefect_server, path, len(TASKS))
    assert tries == dict.fromkeys(TASKS, 1) | {"traces-0": 3}
    assert Dataset(str(tmp_path / "dataset")).count(TRACES) == 8
    assert closed == ["closed"]


def test_silent_engine_is_given_up_early(
    tmp_path: Path, prefect_server: str, use_model: UseModel
) -> None:
    # More failures than any number of retries.
    model = FailingModel(*range(100), error=busy("connection refused"))
    use_model(model)
    with pytest.raises(EngineError, match="connection refused"):
        run(run_file(tmp_path, problems={"use": "word_problems", "count": 1}))
    assert model.requests == 1 + RETRIES.before_first_answer


def test_answering_engine_gets_all_retries(
    tmp_path: Path, prefect_server: str, use_model: UseModel
) -> None:
    retries = len(RETRIES.seconds)
    assert retries > RETRIES.before_first_answer
    # The first request is answered, and all retries but the last one of the next shard fail.
    model = FailingModel(*range(1, 1 + retries), error=busy())
    use_model(model)
    run(run_file(tmp_path, problems={"use": "word_problems", "count": 2}, shards=ONE_BY_ONE))
    assert model.requests == 2 + retries


def test_user_error_is_not_retried(
    tmp_path: Path, prefect_server: str, use_model: UseModel
) -> None:
    model = FailingModel(1, error=ConfigError("the key is rejected"))
    closed = use_model(model)
    path = run_file(tmp_path, problems={"use": "word_problems", "count": 3}, shards=ONE_BY_ONE)
    with pytest.raises(ConfigError, match="the key is rejected"):
        run(path)
    assert model.requests == 2
    assert closed == ["closed"]
    dataset = Dataset(str(tmp_path / "dataset"))
    assert dataset.shards(TRACES) == (0,)
    assert dataset.shards(LABELS) == (0,)
    assert flow_run(prefect_server, path)["state_type"] == "FAILED"
    run(path)
    assert dataset.shards(LABELS) == (0, 1, 2)
    assert model.requests == 4, "finished parts are not requested again"


def test_signal_is_not_lost(tmp_path: Path, prefect_server: str, use_model: UseModel) -> None:
    class Deleted:
        def __del__(self) -> None:
            # Python ignores what a handler raises here.
            os.kill(os.getpid(), signal.SIGTERM)

    objects = [Deleted()]

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        del prompt, sampling, index
        objects.clear()
        return REPLY

    use_model(respond)
    with pytest.raises((StoppedError, TerminationSignal)), stop_signals_raise():
        run(run_file(tmp_path))
    assert Dataset(str(tmp_path / "dataset")).count(LABELS) == 0


def test_rejected_request_is_not_retried(
    tmp_path: Path, prefect_server: str, use_model: UseModel
) -> None:
    model = FailingModel(0, error=EngineError("too long", retryable=False))
    use_model(model)
    run(run_file(tmp_path, problems={"use": "word_problems", "count": 2}))
    assert model.requests == 2
    traces = Dataset(str(tmp_path / "dataset")).read(TRACES)
    reasons = Counter(trace.finish_reason for trace in traces)
    assert reasons == {"error: too long": 2, "stop": 2}


def test_label_changes_only_labels(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(run_file(tmp_path))
    dataset = Dataset(str(tmp_path / "dataset"))
    traces = part_contents(dataset, TRACES)
    labels = part_contents(dataset, LABELS)
    labeler = {"use": "consensus", "rule": "majority", "min_agreeing": 1, "formal_veto": False}
    path = run_file(tmp_path, engine={}, label=labeler)
    job = prepare(load(Path(path)), makes_traces=False)
    # A second preparation would fail.
    monkeypatch.delattr(flow, "prepare")
    asyncio.run(flow.perform(job, path, (), makes_traces=False))
    assert part_contents(dataset, LABELS) != labels
    assert part_contents(dataset, TRACES) == traces
    assert dataset.count(LABELS) == dataset.count(TRACES) == 8


@pytest.mark.parametrize(
    "tables",
    [{"label": {"use": "fusion"}}, {"filters": [{"use": "balance"}]}],
    ids=["fitted", "filtered"],
)
def test_dataset_wide_labels_come_last(
    tables: dict[str, Any], tmp_path: Path, prefect_server: str
) -> None:
    path = run_file(tmp_path, annotators=[{"use": "formal"}, {"use": "binary_search"}], **tables)
    run(path)
    expected = TASKS - {"labels-0", "labels-1"}
    expected |= {"binary_search-0", "binary_search-1", "labels"}
    assert task_runs(prefect_server, path, len(expected)).keys() == expected
    assert Dataset(str(tmp_path / "dataset")).count(LABELS) == 8


def test_lost_server_is_one_line(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exits = list[str]()
    monkeypatch.setattr(server_module, "_exit_soon", lambda: exits.append("exit"))
    with (
        pytest.raises(ConfigError, match=r"the Prefect server at .* stopped answering"),
        server_module.reachable_server(server_url),
    ):
        raise httpx.ConnectError("refused")
    assert exits == ["exit"]


@pytest.mark.parametrize("is_lost", [True, False])
def test_errors_after_loss_are_one_line(is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect raises this when a task starts after the server was killed."""
    answers = [True, not is_lost]
    monkeypatch.setattr(server_module, "_answers", lambda url: answers.pop(0))
    monkeypatch.setattr(server_module, "_exit_soon", lambda: None)
    expected: type[Exception] = ConfigError if is_lost else RuntimeError
    with (
        pytest.raises(expected, match="Failed to reach API"),
        server_module.reachable_server("http://127.0.0.1:9/api"),
    ):
        raise RuntimeError("Failed to reach API")


@pytest.mark.parametrize("place", ["variable", "profile"])
def test_unreachable_server_names_its_setting(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_answers", lambda url: False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    cure = "prefect config view --show-sources"
    if place == "variable":
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        cure = "or unset PREFECT_API_URL"
    with (
        pytest.raises(ConfigError, match=cure),
        server_module.reachable_server("http://127.0.0.1:9/api"),
    ):
        pass
