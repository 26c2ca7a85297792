"""Runs whose judges send batches: they can be killed, and no request is sent twice."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.base import Prompt
from engines.scripted import Scripted
from pipelines.estimating.estimate import estimate_run
from pipelines.run.batches import open_batches
from pipelines.run.config import Budget, Prices, load
from pipelines.run.execution import run_without_server
from pipelines.run.meter import Meter
from pipelines.run.preparation import prepare
from pipelines.run.spending import Spending
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from stepmark.errors import EngineWarning
from stepmark.records import Annotation, Sampling
from storage.dataset.dataset import Dataset
from storage.dataset.tables import annotations, critiques
from tests.engines.batch_server import BatchServer, texts_reply
from tests.pipelines.running import REPOSITORY, WAIT_SECONDS, clean_environment, run_file

PRICES = {"prompt": 1000.0, "generated": 1000.0}


def verdicts(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return verdicts on the first step that depend on the seed."""
    texts: list[str] = []
    for index in range(body["n"]):
        verdict = "correct" if (body["seed"] + index) % 3 else "incorrect"
        texts.append(f"Step 1: {verdict}\nStep 2: correct")
    return texts_reply(body, *texts)


def run_file_at(folder: Path, server: BatchServer, **judge: object) -> str:
    """Write a run file with eight traces in two shards, which a model behind a server judges."""
    engine = {
        "use": "openai",
        "model": "judge",
        "base_urls": [server.url],
        "continuation": "none",
        "batch_gather_seconds": 2.0,
        "batch_poll_seconds": 0.05,
        **judge,
    }
    return run_file(
        folder,
        judge_engine=engine,
        annotators=[{"use": "judge", "votes": 2}],
        prices=PRICES,
    )


class Command:
    """A run of the command in another process, with a server in this one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, tmp_path: Path, path: str, *arguments: str) -> "Command":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipelines", "run", path, *arguments),
            cwd=REPOSITORY,
            env=clean_environment(tmp_path / "home"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def end(self, number: int | None = None) -> tuple[int | None, str, str]:
        """Send a signal, and return the exit status, the output and the errors."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(WAIT_SECONDS):
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()

    async def wait_for_poll(self, server: BatchServer) -> None:
        """Wait until the run polls its batch."""
        polls = _polls(server)
        async with asyncio.timeout(WAIT_SECONDS):
            while _polls(server) <= polls + 1:
                assert self.process.returncode is None, await self.process.communicate()
                await asyncio.sleep(0.02)


def _polls(server: BatchServer) -> int:
    return sum(batch["polls"] for batch in server.batches.values())


def rows_of(path: Path) -> Sequence[Any]:
    """Return the rows of the judge, without times."""
    dataset = Dataset(str(path / "dataset"))
    rows: list[Any] = list(dataset.read(critiques("judge")))
    for row in dataset.read(annotations("judge")):
        assert isinstance(row, Annotation)
        cost = replace(row.cost, seconds=0.0, waited_seconds=0.0)
        rows.append(replace(row, cost=cost))
    return rows


async def cost_of_run(path: str, *overrides: str) -> float:
    """Run a run file in this process, and return the cost in the summary."""
    job = prepare(load(Path(path), overrides), makes_traces=True)
    rows = await run_without_server(job, makes_traces=True)
    (cost,) = [row["count"] for row in rows if row["what"] == "cost"]
    return float(cost)


async def test_killed_run_collects_its_batch(tmp_path: Path) -> None:
    """A run that is killed, stopped and repeated equals one with single requests."""
    # The first run gathers the requests of all shards, and the others find them in its record.
    soon = "judge_engine.batch_gather_seconds=0.1"
    async with BatchServer.running(reply=verdicts, polls=10**9) as server:
        path = run_file_at(tmp_path / "batch", server, batch=True)
        killed = await Command.start(tmp_path, path)
        await killed.wait_for_poll(server)
        await killed.end(signal.SIGKILL)
        stopped = await Command.start(tmp_path, path, "--workers", "1", "--set", soon)
        await stopped.wait_for_poll(server)
        assert open_batches(Dataset(str(tmp_path / "batch" / "dataset"))) == 1
        status, _, err = await stopped.end(signal.SIGINT)
        assert status == 130
        assert "batches at the provider (1) go on" in err
        server.polls = 0
        with pytest.warns(EngineWarning, match="waiting for the batch batch_0 of 8 requests again"):
            batch_cost = await cost_of_run(path, soon)
        names = Counter(line["custom_id"] for line in server.processed)
        assert len(server.batches) == 1, "the batch has the requests of all shards"
        assert len(names) == 8
        assert set(names.values()) == {1}, "nothing is sent twice"
        assert not list((tmp_path / "batch" / "dataset" / "batches").iterdir())

        single_cost = await cost_of_run(run_file_at(tmp_path / "single", server))
    assert rows_of(tmp_path / "batch") == rows_of(tmp_path / "single")
    # Eight requests of 10 + 2 * 2 tokens, at half of a price of 0.001 per token. The scripted
    # engine of the traces has the usual price.
    assert single_cost - batch_cost == pytest.approx(0.5 * 8 * 14 * 0.001, abs=0.011)


async def test_pilot_sends_single_requests(tmp_path: Path) -> None:
    """An estimate does not wait for a batch, which would be recorded in its temporary dataset."""
    async with BatchServer.running(reply=verdicts, polls=10**9) as server:
        path = run_file_at(tmp_path, server, batch=True)
        job = prepare(load(Path(path)), makes_traces=True)
        async with asyncio.timeout(WAIT_SECONDS):
            await estimate_run(job, 1)
    assert ("POST", "/chat/completions") in server.calls
    assert server.batches == {}


def spending_of(meter: Meter) -> Spending:
    budget = Budget.model_validate({"cost": 10.0})
    prices = Prices.model_validate(PRICES)
    return Spending(budget=budget, prices=prices, meter=meter, price_factors={"judge_engine": 0.5})


async def test_batches_cost_less() -> None:
    """The budget counts the price of a batch, and its open requests delay no shard."""
    meter = Meter()
    budget = TokenBudget(limit=1)
    engine = MeteredEngine(
        engine=Scripted(replies={"": ("one two three",)}, delay=0.05),
        budget=budget,
        meter=meter,
        first_request=asyncio.Event(),
        name="judge_engine",
        spending=spending_of(meter),
        batch_price_factor=0.5,
    )
    # Open requests of 18,000 tokens cost 9 of 10: all of them are sent together.
    sampling = Sampling(n=1, max_tokens=9_000)
    open_requests = [
        asyncio.create_task(engine.complete(Prompt(user="Q"), sampling)) for _ in range(2)
    ]
    await asyncio.sleep(0.01)
    assert budget.outstanding == 0
    await budget.wait_until_low()
    await asyncio.gather(*open_requests)
    spending = spending_of(meter)
    tokens = meter.prompt_tokens + meter.generated_tokens
    assert spending.cost == pytest.approx(0.5 * tokens * 0.001)
    assert spending.used_share == pytest.approx(0.5 * tokens * 0.001 / 10.0)
    assert spending.reached_after(0, 19_000, price_factor=0.5) == ""
    assert spending.reached_after(0, 19_000) != ""
