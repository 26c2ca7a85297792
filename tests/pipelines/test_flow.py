"""The flow on a real Prefect server: seen through its API, retried part by part where the engine says so, and on a schedule."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.base import Prompt
from engines.scripted import Scripted
from pipelines.run import flow
from pipelines.run import plan as planning
from pipelines.run import prefect_server as _server
from pipelines.run.config import RunFile
from pipelines.run.flow import stepmark_run
from stepmark.errors import ConfigError, EngineError
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES
from tests.pipelines.running import alone, finish, run_file, start, wait_for

# Prefect's threads keep their connections beyond the event loop of a flow.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning", "ignore:unclosed transport:ResourceWarning"
)

REPLY = "1 + 1 = 2\nThe answer is \\boxed{2}."
SERVICE_SECONDS = 60
TASKS = {
    "problems",
    *(f"{stage}-{shard}" for stage in ("traces", "oracle", "formal", "labels") for shard in (0, 1)),
}
Respond = Callable[[Prompt, Sampling, int], str]


class Failing:
    """A model that answers but for the chosen calls, numbered from 0."""

    def __init__(self, *failing: int, error: Exception) -> None:
        self.failing, self.error, self.calls = failing, error, 0

    def __call__(self, prompt: Prompt, sampling: Sampling, index: int) -> str:
        if index == 0:
            self.calls += 1
            if self.calls - 1 in self.failing:
                raise self.error
        return REPLY


def busy(message: str = "busy") -> EngineError:
    return EngineError(message, retryable=True)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Respond], list[str]]:
    """Put a function in the engine's place; the list tells how often the engine was closed."""
    monkeypatch.setattr(flow, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    build = planning.build
    closed: list[str] = []

    class Closable(Scripted):
        async def close(self) -> None:
            closed.append("closed")

    def use(respond: Respond) -> list[str]:
        def with_engine(settings: RunFile) -> planning.Plan:
            plan = build(settings)
            return replace(plan, engine=Closable(respond=respond))

        monkeypatch.setattr(planning, "build", with_engine)
        return closed

    return use


def run(path: str) -> Sequence[Any]:
    return asyncio.run(stepmark_run(path))


def ask(url: str, path: str, **body: object) -> Any:
    return told(lambda: httpx.post(f"{url}/{path}", json=body))


def told(request: Callable[[], httpx.Response]) -> Any:
    """What the server answers; while its database is busy it says that it is unavailable, and Prefect's own clients ask again."""
    for _ in range(SERVICE_SECONDS * 5):
        answer = request()
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.2)
    assert answer.is_success, answer.text
    return answer.json()


def flow_run(url: str, path: str) -> Any:
    (found,) = ask(url, "flow_runs/filter", flow_runs={"name": {"any_": [f"run {path}"]}})
    return found


def task_runs(url: str, path: str, expected: int) -> dict[str, int]:
    """How often each task of a run was tried; the server books events a moment after they happened."""

    async def booked() -> list[Any]:
        for _ in range(SERVICE_SECONDS * 5):
            tasks: list[Any] = ask(
                url, "task_runs/filter", flow_runs={"id": {"any_": [flow_run(url, path)["id"]]}}
            )
            if len(tasks) == expected and all(
                t["state_type"] in ("COMPLETED", "FAILED", "CRASHED") for t in tasks
            ):
                return tasks
            await asyncio.sleep(0.2)
        raise AssertionError([(t["name"], t["state_name"]) for t in tasks])

    return {task["name"]: task["run_count"] for task in asyncio.run(booked())}


def test_a_run_is_seen_through_the_api(tmp_path: Path, prefect_server: str) -> None:
    path = run_file(tmp_path)
    rows = run(path)
    found = flow_run(prefect_server, path)
    assert (found["state_type"], found["parameters"]) == (
        "COMPLETED",
        {"run_file": path, "overrides": []},
    )
    assert task_runs(prefect_server, path, len(TASKS)) == dict.fromkeys(TASKS, 1)
    artifacts = ask(prefect_server, "artifacts/filter", flow_runs={"id": {"any_": [found["id"]]}})
    (artifact,) = (a for a in artifacts if a["key"] == "stepmark-summary")
    assert json.loads(artifact["data"]) == rows
    assert {"what": "problems", "count": "4"} in rows
    assert artifact["description"] == str(tmp_path / "dataset")


def test_a_part_whose_engine_is_busy_is_tried_again_alone(
    tmp_path: Path, prefect_server: str, model: Callable[..., list[str]]
) -> None:
    respond = Failing(0, 2, error=busy())
    closed = model(respond)
    path = run_file(tmp_path, shards={"problems_per_shard": 2, "shards_in_flight": 1})
    run(path)
    assert task_runs(prefect_server, path, len(TASKS)) == dict.fromkeys(TASKS, 1) | {"traces-0": 3}
    assert Dataset(str(tmp_path / "dataset")).count(TRACES) == 8
    assert closed == ["closed"]


def test_an_engine_that_never_answers_is_given_up_early(
    tmp_path: Path, prefect_server: str, model: Callable[..., list[str]]
) -> None:
    model(respond := Failing(*range(100), error=busy("nobody there")))
    with pytest.raises(EngineError, match="nobody there"):
        run(run_file(tmp_path, problems={"use": "word_problems", "count": 1}))
    assert respond.calls == 1 + flow.RETRIES_BEFORE_FIRST_ANSWER


def test_an_engine_that_has_answered_is_waited_for(
    tmp_path: Path, prefect_server: str, model: Callable[..., list[str]]
) -> None:
    retries = len(flow.RETRY_SECONDS)
    assert retries > flow.RETRIES_BEFORE_FIRST_ANSWER
    model(respond := Failing(*range(1, 1 + retries), error=busy()))
    one_by_one = {"problems_per_shard": 1, "shards_in_flight": 1}
    run(run_file(tmp_path, problems={"use": "word_problems", "count": 2}, shards=one_by_one))
    assert respond.calls == 2 + retries


def test_a_mistake_is_not_repeated_and_costs_nothing_that_is_finished(
    tmp_path: Path, prefect_server: str, model: Callable[..., list[str]]
) -> None:
    closed = model(respond := Failing(1, error=ConfigError("the key is refused")))
    one_by_one = {"problems_per_shard": 1, "shards_in_flight": 1}
    path = run_file(tmp_path, problems={"use": "word_problems", "count": 3}, shards=one_by_one)
    with pytest.raises(ConfigError, match="the key is refused"):
        run(path)
    assert (respond.calls, closed) == (2, ["closed"])
    dataset = Dataset(str(tmp_path / "dataset"))
    assert (dataset.shards(TRACES), dataset.shards(LABELS)) == ((0,), (0,))
    assert flow_run(prefect_server, path)["state_type"] == "FAILED"
    run(path)
    assert dataset.shards(LABELS) == (0, 1, 2)
    assert respond.calls == 4, "what was finished is not asked for again"


def test_what_an_engine_refuses_is_a_record_and_no_retry(
    tmp_path: Path, prefect_server: str, model: Callable[..., list[str]]
) -> None:
    model(respond := Failing(0, error=EngineError("too long", retryable=False)))
    run(run_file(tmp_path, problems={"use": "word_problems", "count": 2}))
    assert respond.calls == 2
    reasons = Counter(
        trace.finish_reason for trace in Dataset(str(tmp_path / "dataset")).read(TRACES)
    )
    assert reasons == {"error: too long": 2, "stop": 2}


def test_label_labels_what_is_there_and_prepares_once(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(run_file(tmp_path))
    dataset = Dataset(str(tmp_path / "dataset"))
    traces = [Path(dataset.uri, part).read_bytes() for part in dataset.paths(TRACES)]
    labels = [Path(dataset.uri, part).read_bytes() for part in dataset.paths(LABELS)]
    changed = {"use": "consensus", "rule": "majority", "min_agreeing": 1, "formal_veto": False}
    job = flow.prepare(path := run_file(tmp_path, engine={}, label=changed), (), makes_traces=False)
    monkeypatch.delattr(flow, "prepare")
    asyncio.run(flow.perform(job, path, (), makes_traces=False))
    assert [Path(dataset.uri, part).read_bytes() for part in dataset.paths(LABELS)] != labels
    assert [Path(dataset.uri, part).read_bytes() for part in dataset.paths(TRACES)] == traces
    assert dataset.count(LABELS) == dataset.count(TRACES) == 8


@pytest.mark.parametrize(
    "tables",
    [{"label": {"use": "fusion"}}, {"filters": [{"use": "balance"}]}],
    ids=["learned", "filtered"],
)
def test_labels_that_depend_on_all_traces_come_last(
    tables: dict[str, Any], tmp_path: Path, prefect_server: str
) -> None:
    path = run_file(tmp_path, annotators=[{"use": "formal"}, {"use": "binary_search"}], **tables)
    run(path)
    tasks = task_runs(prefect_server, path, len(TASKS) + 1)
    assert tasks.keys() == TASKS - {"labels-0", "labels-1"} | {
        "binary_search-0",
        "binary_search-1",
        "labels",
    }
    assert Dataset(str(tmp_path / "dataset")).count(LABELS) == 8


def test_a_server_that_goes_away_is_told_in_one_line(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    monkeypatch.setattr(_server, "_exit_soon", lambda: left.append("left"))
    with (
        pytest.raises(ConfigError, match=r"the Prefect server at .* stopped answering"),
        _server.reachable_server(),
    ):
        raise httpx.ConnectError("refused")
    assert left == ["left"]


def test_a_schedule_serves_runs(tmp_path: Path, server_url: str) -> None:
    path = run_file(tmp_path)
    environment = alone(
        tmp_path / "home", PREFECT_API_URL=server_url, PREFECT_RUNNER_POLL_FREQUENCY="1"
    )
    served = start(
        "schedule", path, "--cron", "0 2 * * *", "--set", "seed=7", environment=environment
    )
    try:
        wait_for(lambda: ask(server_url, "deployments/filter"), served)
        (deployment,) = ask(server_url, "deployments/filter")
        (schedule,) = deployment["schedules"]
        assert (deployment["name"], schedule["active"], schedule["schedule"]["cron"]) == (
            "run",
            True,
            "0 2 * * *",
        )
        assert deployment["parameters"] == {"run_file": path, "overrides": ["seed=7"]}
        triggered = ask(
            server_url,
            f"deployments/{deployment['id']}/create_flow_run",
            state={"type": "SCHEDULED"},
        )

        def state() -> Any:
            return told(lambda: httpx.get(f"{server_url}/flow_runs/{triggered['id']}"))[
                "state_type"
            ]

        wait_for(lambda: state() in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), served)
        assert state() == "COMPLETED"
        assert Dataset(str(tmp_path / "dataset")).count(LABELS) == 8
    finally:
        served.send_signal(signal.SIGINT)
        code, out, err = finish(served)
    assert "Traceback" not in out + err
    assert code in (0, 130)
