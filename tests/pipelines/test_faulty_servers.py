"""Runs on servers with faults: the tables are those of a run without faults."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime import backoff
from pipelines.run.config import Prices
from pipelines.run.engine_pool import ENGINE, EnginePool
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from pipelines.run.summary import summary_rows
from stepmark.errors import EngineUnavailableError
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Cost, Label, Sampling, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, Table, annotations, critiques, rollouts
from tests.engines.fake_server import Answer
from tests.engines.faulty_server import FAULTS, FaultyModel, serving_faulty
from tests.pipelines.simulated import Model, job_in, run
from verifiers.isolation.pool import VerifierPool

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning"),
]

TABLES: Sequence[Table[Any]] = (
    TRACES,
    rollouts("monte_carlo"),
    rollouts("binary_search"),
    critiques("judge"),
    annotations("monte_carlo"),
    annotations("binary_search"),
    annotations("judge"),
    annotations("formal"),
    LABELS,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fiftieth of the usual time before a request is repeated."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_SECONDS", 0.01)


def served(model: Model, **fields: Any) -> FaultyModel:
    """Return the simulated model behind a chat server with faults."""

    def texts(request: Mapping[str, Any]) -> Sequence[str]:
        turns = {message["role"]: message["content"] for message in request["messages"]}
        prompt = Prompt(
            user=turns["user"],
            prefix=turns.get("assistant", ""),
            system=turns.get("system", ""),
        )
        sampling = Sampling(n=request["n"], seed=request["seed"])
        return [str(model.respond(prompt, sampling, index)) for index in range(sampling.n)]

    return FaultyModel(texts=texts, **fields)


def is_for_traces(request: Mapping[str, Any]) -> bool:
    """Return whether a request is for traces: rollouts have a prefix, and judges another prompt."""
    last = request["messages"][-1]
    return last["role"] == "user" and "Check a solution" not in last["content"]


def job_at(folder: Path, workers: VerifierPool, urls: Sequence[str], **fields: Any) -> Job:
    """Return a job whose engine is a client of servers."""
    job = job_in(folder, workers, Model())
    engine = OpenAI(
        model="m", base_urls=tuple(urls), trust_continuation=True, timeout=2.0, **fields
    )
    return replace(job, plan=job.plan.with_engines(EnginePool({ENGINE: engine})))


async def run_at(
    folder: Path,
    workers: VerifierPool,
    models: Sequence[FaultyModel],
    *,
    retry_failed: bool = False,
    **fields: Any,
) -> Job:
    """Run all stages on servers."""
    async with serving_faulty(*models) as servers:
        job = job_at(folder, workers, [server.url for server in servers], **fields)
        job = replace(job, options=RunOptions(recompute=True, retry_failed=retry_failed))
        try:
            await run(job)
        finally:
            await job.plan.engines.close()
    return job


def rows_of(folder: Path) -> Mapping[str, Sequence[Any]]:
    """Return the rows of all tables, without times and counts of tokens, which faults change."""
    dataset = Dataset(str(folder))
    tables: dict[str, Sequence[Any]] = {}
    for table in TABLES:
        rows: list[Any] = []
        for row in dataset.read(table):
            if isinstance(row, Annotation):
                rows.append(replace(row, cost=Cost(rollouts=row.cost.rollouts)))
            elif isinstance(row, Label):
                rows.append(row)
            else:
                rows.append(replace(row, prompt_tokens=0, cached_tokens=0, generated_tokens=0))
        tables[table.folder] = rows
    return tables


async def undisturbed(
    folder: Path, workers: VerifierPool, max_n: int = 128
) -> Mapping[str, Sequence[Any]]:
    """Run without faults and return the rows. The largest number of choices changes their ids."""
    await run_at(folder, workers, [served(Model())], max_n=max_n)
    rows = rows_of(folder)
    assert all(rows.values())
    return rows


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def expected(
    tmp_path_factory: pytest.TempPathFactory, workers: VerifierPool
) -> Mapping[str, Sequence[Any]]:
    """Return the rows of a run without faults."""
    return await undisturbed(tmp_path_factory.mktemp("undisturbed") / "dataset", workers)


Expected = Mapping[str, Sequence[Any]]


@pytest.mark.parametrize("seed", range(3))
async def test_faults_change_no_row(
    tmp_path: Path, workers: VerifierPool, expected: Expected, seed: int
) -> None:
    model = served(Model(), share=0.2, seed=seed)
    job = await run_at(tmp_path, workers, [model])
    assert rows_of(tmp_path) == expected
    assert model.faults.total() > 10
    assert max(model.answered.values()) == 1, "an answered request was sent again"
    # All of them are seen, except for those that change nothing.
    harmless = ("slow", "no usage", "choices in reverse")
    seen = model.faults.total() - sum(model.faults[kind] for kind in harmless)
    partial = sum(count for kind, count in model.faults.items() if "fewer" in kind or "one" in kind)
    assert seen - partial <= job.meter.faults.total() <= seen


@pytest.mark.parametrize(
    "kind",
    [
        "400",
        "401",
        "404",
        "no choices",
        "null text",
        "page with status 200",
        "500",
        "reset",
        "400 at a restart",
    ],
)
async def test_sick_replica_changes_no_row(
    tmp_path: Path, workers: VerifierPool, expected: Expected, kind: str
) -> None:
    sick = served(Model(), share=1.0, kinds=[kind])
    healthy = served(Model())
    await run_at(tmp_path, workers, [sick, healthy])
    assert rows_of(tmp_path) == expected
    assert sick.faults[kind] > 0


@pytest.mark.parametrize("kind", ["400", "500", "reset", "page with status 200"])
async def test_poisoned_problem_fails_alone(
    tmp_path: Path, workers: VerifierPool, expected: Expected, kind: str
) -> None:
    model = Model()
    poisoned = model.problems[1]

    def special(request: Mapping[str, Any]) -> Answer | None:
        if is_for_traces(request) and poisoned.question in request["messages"][-1]["content"]:
            return FAULTS[kind](Answer(body={"choices": []}))
        return None

    job = await run_at(tmp_path, workers, [served(model, special=special)])
    rows = rows_of(tmp_path)
    failed = [row for row in rows["traces"] if row.problem_id == poisoned.problem_id]
    assert failed
    assert all(row.finish_reason.startswith("error: ") for row in failed)
    assert {row.outcome for row in failed} == {Verdict.UNKNOWN}
    others = [row for row in expected["traces"] if row.problem_id != poisoned.problem_id]
    assert [row for row in rows["traces"] if row not in failed] == others
    text = dict(
        (row["what"], row["count"]) for row in summary_rows(job.dataset, job.meter, Prices())
    )
    assert text["faults of engines"].startswith("engine: ")
    # Once the servers are well, only this problem is requested again.
    healthy = served(Model())
    await run_at(tmp_path, workers, [healthy], retry_failed=True)
    assert rows_of(tmp_path) == expected


async def test_patience_ends_resumably(
    tmp_path: Path, workers: VerifierPool, expected: Expected
) -> None:
    dying = served(Model())
    dying.special = lambda request: Answer(500) if dying.answered.total() >= 30 else None
    with pytest.raises(EngineUnavailableError, match="no server has answered for 1 s"):
        await run_at(tmp_path, workers, [dying], patience=1.0)
    healthy = served(Model())
    await run_at(tmp_path, workers, [healthy])
    assert rows_of(tmp_path) == expected
    assert not dying.answered.keys() & healthy.answered.keys(), "an answer was lost"


async def test_answered_samples_are_kept(tmp_path: Path, workers: VerifierPool) -> None:
    """One sample of a request fails everywhere: the others are not requested again."""
    expected = await undisturbed(tmp_path / "undisturbed", workers, max_n=1)
    folder = tmp_path / "sick"

    def special(request: Mapping[str, Any]) -> Answer | None:
        is_last_sample = request["seed"] % SEED_SPACING == 3
        return Answer(400) if is_for_traces(request) and is_last_sample else None

    sick = served(Model(), special=special)
    await run_at(folder, workers, [sick], max_n=1)
    healthy = served(Model())
    await run_at(folder, workers, [healthy], max_n=1, retry_failed=True)
    assert rows_of(folder) == expected
    assert not sick.answered.keys() & healthy.answered.keys(), "an answer was lost"
