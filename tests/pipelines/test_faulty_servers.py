"""Runs on servers with faults: the tables are those of a run without faults."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engines.runtime import backoff
from pipelines.run.config import Prices
from pipelines.run.summary import summary_rows
from stepmark.errors import EngineUnavailableError
from stepmark.identity import SEED_SPACING
from stepmark.records import Verdict
from tests.engines.fake_server import Answer
from tests.engines.faulty_server import FAULTS
from tests.pipelines.faulty_runs import Rows, rows_of, run_at, served
from tests.pipelines.simulated import Model
from verifiers.isolation.pool import VerifierPool

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fiftieth of the usual time before a request is repeated."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_SECONDS", 0.01)


def is_for_traces(request: Mapping[str, Any]) -> bool:
    """Return whether a request is for traces: rollouts have a prefix, and judges another prompt."""
    last = request["messages"][-1]
    return last["role"] == "user" and "Check a solution" not in last["content"]


async def undisturbed(folder: Path, workers: VerifierPool, max_n: int = 128) -> Rows:
    """Run without faults and return the rows. The largest number of choices changes their ids."""
    await run_at(folder, workers, [served(Model())], max_n=max_n)
    rows = rows_of(folder)
    empty = [table for table, rows_of_table in rows.items() if not rows_of_table]
    assert empty == ["rejected", "stale_labels"]
    return rows


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def expected(tmp_path_factory: pytest.TempPathFactory, workers: VerifierPool) -> Rows:
    """Return the rows of a run without faults."""
    return await undisturbed(tmp_path_factory.mktemp("undisturbed") / "dataset", workers)


@pytest.mark.parametrize("seed", range(3))
async def test_faults_change_no_row(
    tmp_path: Path, workers: VerifierPool, expected: Rows, seed: int
) -> None:
    model = served(Model(), share=0.2, seed=seed)
    job = await run_at(tmp_path, workers, [model])
    assert rows_of(tmp_path) == expected
    assert model.faults.total() > 10
    assert max(model.answered.values()) == 1, "an answered request was sent again"
    # All of them are seen, except for those that change nothing.
    harmless = (
        *("slow", "no usage", "choices in reverse"),
        *("false character set", "equal indices"),
    )
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
    tmp_path: Path, workers: VerifierPool, expected: Rows, kind: str
) -> None:
    sick = served(Model(), share=1.0, kinds=[kind])
    healthy = served(Model())
    await run_at(tmp_path, workers, [sick, healthy])
    assert rows_of(tmp_path) == expected
    assert sick.faults[kind] > 0


@pytest.mark.parametrize("kind", ["400", "500", "reset", "page with status 200"])
async def test_poisoned_problem_fails_alone(
    tmp_path: Path, workers: VerifierPool, expected: Rows, kind: str
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
    tmp_path: Path, workers: VerifierPool, expected: Rows
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
