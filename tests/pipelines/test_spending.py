"""The budget of a run: it stops without losing a completion, and the next run continues."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engines.base import Prompt
from engines.scripted import Scripted
from pipelines.run.config import Budget, Prices, RunFile, load
from pipelines.run.execution import run_without_server
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.preparation import prepare
from pipelines.run.spending import Spending
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from pipelines.run.workers import coordinator
from stepmark.errors import BudgetError, ConfigError
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS
from tests.pipelines.running import run_file

REPLY = "one two three"
PROMPT = Prompt(user="How many?")


def spending(meter: Meter, **limits: float) -> Spending:
    prices = Prices(prompt=1.0, generated=2.0)
    return Spending(budget=Budget.model_validate(limits), prices=prices, meter=meter)


def test_limits_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Meter, "seconds", 1800.0)
    meter = Meter()
    meter.prompt_tokens = 400_000
    meter.generated_tokens = 100_000
    assert spending(meter).used_share == 0
    assert spending(meter).reached_after(0, 0) == ""
    assert spending(meter, tokens=1_000_000).used_share == 0.5
    assert spending(meter, tokens=500_000).reached_after(0, 0) == "budget.tokens = 500000"
    assert spending(meter, cost=1.2).used_share == pytest.approx(0.5)
    assert spending(meter, cost=0.5, tokens=1_000_000).reached_after(0, 0) == "budget.cost = 0.5"
    assert spending(meter, hours=1).used_share == 0.5
    assert spending(meter, hours=0.5).reached_after(0, 0) == "budget.hours = 0.5"
    # Open requests count, those of the hours at the rate so far.
    assert spending(meter, tokens=1_000_000).reached_after(499_999, 0) == ""
    assert spending(meter, tokens=1_000_000).reached_after(400_000, 100_000) != ""
    assert spending(meter, hours=1).reached_after(0, 99_999) == ""
    assert spending(meter, hours=1).reached_after(0, 100_000) == "budget.hours = 1"


async def test_open_requests_are_answered_first() -> None:
    meter = Meter()
    engine = MeteredEngine(
        engine=Scripted(replies={"": (REPLY,)}, delay=0.05),
        budget=TokenBudget(1000),
        meter=meter,
        first_request=asyncio.Event(),
        spending=spending(meter, tokens=1),
    )
    open_request = asyncio.create_task(engine.complete(PROMPT, Sampling(n=2)))
    await asyncio.sleep(0)
    # The budget is used while the first request is open.
    meter.generated_tokens = 1
    with pytest.raises(BudgetError, match=r"the run has reached budget\.tokens = 1"):
        await engine.complete(PROMPT, Sampling(n=1))
    assert open_request.done()
    assert len(open_request.result()) == 2


async def test_waiting_requests_are_not_sent() -> None:
    requests = list[str]()

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        del sampling, index
        requests.append(prompt.user)
        return REPLY

    meter = Meter()
    engine = MeteredEngine(
        engine=Scripted(respond=respond, delay=0.01),
        budget=TokenBudget(1000),
        meter=meter,
        first_request=asyncio.Event(),
        spending=spending(meter, tokens=30),
    )
    sampling = Sampling(n=1, max_tokens=10)
    results = await asyncio.gather(
        *(engine.complete(PROMPT, sampling) for _ in range(100)), return_exceptions=True
    )
    stopped = [result for result in results if isinstance(result, BudgetError)]
    assert len(stopped) + len(requests) == 100
    used = meter.prompt_tokens + meter.generated_tokens
    # At most one request begins before the limit and ends after it.
    assert 30 <= used < 30 + used / len(requests)


def settings(folder: Path, **tables: Any) -> RunFile:
    return load(Path(run_file(folder, **tables)))


async def run(content: RunFile, workers: int = 1) -> Job:
    job = prepare(content, RunOptions(workers=workers), makes_traces=True)
    await run_without_server(job, makes_traces=True)
    return job


@pytest.mark.parametrize("workers", [1, 2])
async def test_stopped_run_continues(tmp_path: Path, workers: int) -> None:
    sequential = {"problems_per_shard": 1, "shards_in_flight": 1}
    whole = await run(settings(tmp_path / "whole_run", shards=sequential))
    tokens = whole.meter.prompt_tokens + whole.meter.generated_tokens
    content = settings(tmp_path, shards=sequential, budget={"tokens": tokens // 2})
    stopped = await run(content, workers)
    assert stopped.meter.stopped.startswith("the run has reached budget.tokens = ")
    used = stopped.meter.generated_tokens
    assert 0 < used < whole.meter.generated_tokens
    assert stopped.dataset.count(LABELS) < 8
    # Nothing is requested twice.
    finished = await run(settings(tmp_path, shards=sequential))
    assert finished.meter.stopped == ""
    assert finished.meter.generated_tokens == whole.meter.generated_tokens - used
    both: list[Dataset] = [whole.dataset, finished.dataset]
    labels = [[label.trace_id for label in dataset.read(LABELS)] for dataset in both]
    assert labels[0] == labels[1]


async def test_workers_answer_open_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Counter[str]()
    send = coordinator._WorkerProcess.send

    def counted_send(worker: coordinator._WorkerProcess, kind: str, **fields: object) -> None:
        sent[kind] += 1
        send(worker, kind, **fields)

    monkeypatch.setattr(coordinator._WorkerProcess, "send", counted_send)
    engine = {"use": "scripted", "replies": {"": [REPLY]}, "delay": 0.1}
    shards = {"problems_per_shard": 1}
    content = settings(tmp_path, engine=engine, shards=shards, budget={"tokens": 2})
    job = await run(content, workers=2)
    reason = "the run has reached budget.tokens = 1, the limit of one of 2 workers"
    assert job.meter.stopped == reason
    # `stop` would cancel the open requests of the other worker.
    assert (sent["budget"], sent["stop"]) == (1, 0)


def test_stopped_meter_leaves_no_budget() -> None:
    meter = Meter()
    meter.stopped = "another worker has reached a limit"
    assert spending(meter).reached_after(0, 0) == meter.stopped


def test_cost_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget\.cost needs the prices of tokens"):
        prepare(settings(tmp_path, budget={"cost": 1.0}), makes_traces=True)
