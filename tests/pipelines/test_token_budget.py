"""What is outstanding is counted in tokens, and waited for until it is low; shards are begun by it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engines.base import Completion, Prompt
from engines.scripted import Scripted
from pipelines.run import flow
from pipelines.run.job import Job
from pipelines.run.token_budget import CHARACTERS_PER_TOKEN, TokenBudget, MeteredEngine
from stepmark.errors import EngineError
from stepmark.identity import operational
from stepmark.records import Sampling
from storage.dataset.tables import LABELS
from tests.pipelines.simulated import Model, job_in, wanted
from verifiers.isolation.pool import Isolated

PROMPT = Prompt(user="x" * 40)
PROMPT_TOKENS = 40 // CHARACTERS_PER_TOKEN
PATIENCE_S = 60


@dataclass(frozen=True, kw_only=True)
class Held(Scripted):
    """Answers what is not held back when it is told to."""

    held: Callable[[Prompt], object] = operational(default=lambda prompt: True)  # noqa: RUF009 - a dataclass field
    """Whether a prompt has to wait."""
    let_go: asyncio.Event = operational(default_factory=asyncio.Event)  # noqa: RUF009
    open: Counter[str] = operational(default_factory=Counter)  # noqa: RUF009

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        self.open[prompt.user] += 1
        if self.held(prompt):
            await self.let_go.wait()
        return await super().complete(prompt, sampling)


async def test_before_anything_is_known_a_request_may_want_all_it_is_allowed() -> None:
    budget, engine = TokenBudget(1), Held(replies={"": ("one two three",)})
    asked = [
        asyncio.create_task(budget.complete(engine, PROMPT, Sampling(n=n, max_tokens=100)))
        for n in (1, 4)
    ]
    await asyncio.sleep(0)
    assert budget.outstanding == 2 * PROMPT_TOKENS + 5 * 100
    engine.let_go.set()
    await asyncio.gather(*asked)
    assert budget.outstanding == 0


async def test_afterwards_it_wants_what_those_before_it_came_to() -> None:
    budget, engine = (
        TokenBudget(1),
        Held(replies={"": ("one two three", "one")}, held=lambda prompt: prompt.prefix),
    )
    await budget.complete(engine, PROMPT, Sampling(n=2, max_tokens=100))
    asked = asyncio.create_task(
        budget.complete(engine, replace(PROMPT, prefix="y" * 20), Sampling(n=8, max_tokens=100))
    )
    await asyncio.sleep(0)
    assert budget.outstanding == 60 // CHARACTERS_PER_TOKEN + 8 * 2
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert budget.outstanding == 0


async def test_low_is_waited_for_until_answers_refusals_or_cancellations_make_it_so() -> None:
    budget, engine = TokenBudget(PROMPT_TOKENS + 100), Held(replies={"": ("one",)})
    await budget.wait_until_low()
    asked = [
        asyncio.create_task(budget.complete(engine, PROMPT, Sampling(max_tokens=100)))
        for _ in range(2)
    ]
    failing = asyncio.create_task(
        budget.complete(Held(error="down"), PROMPT, Sampling(max_tokens=100))
    )
    low = asyncio.create_task(budget.wait_until_low())
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.wait([*asked, failing], timeout=0.01)
    assert not low.done()
    failing.cancel()
    asked[1].cancel()
    await low
    with pytest.raises(EngineError, match="down"):
        await budget.complete(Scripted(error="down"), PROMPT, Sampling())
    assert budget.outstanding == 0


async def test_a_door_is_the_engine_and_tells_of_its_first_request() -> None:
    engine, asking = Scripted(replies={"": ("one",)}), asyncio.Event()
    door = MeteredEngine(engine=engine, budget=TokenBudget(1), first_request=asking)
    assert (door.identity, door.model_name) == (engine.identity, engine.model_name)
    assert not asking.is_set()
    assert await door.complete(PROMPT, Sampling()) == await engine.complete(PROMPT, Sampling())
    assert asking.is_set()


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[Isolated]:
    async with Isolated() as isolated:
        yield isolated


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages without Prefect around them."""
    monkeypatch.setattr(flow, "_task", lambda job, name, work: work)


async def begun(
    folder: Path, workers: Isolated, engine: Held, **shards: int
) -> tuple[Job, "asyncio.Task[None]"]:
    """A run over seven shards of one problem."""
    tables: dict[str, Any] = {
        "problems": {"use": "word_problems", "count": 7, "max_steps": 4},
        "annotators": [{"use": "monte_carlo", "rollouts": 2}],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
        "shards": {"problems_per_shard": 1, **shards},
    }
    job = job_in(folder, workers, Model(), **tables)
    job = replace(job, plan=replace(job.plan, engine=engine, judge_engine=engine))
    return job, asyncio.create_task(
        flow._run_shards(job, list(await wanted(job)), makes_traces=True)
    )


async def settled(engine: Held) -> int:
    """How many problems are being solved once no more are begun."""
    count, still = -1, 0
    while still < 20:
        await asyncio.sleep(0.01)
        count, still = len(engine.open), still + 1 if len(engine.open) == count and count else 0
    return count


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("bounds", "most"),
    [({"tokens_in_flight": 3 * 4 * 512}, 3), ({"shards_in_flight": 2}, 2), ({}, 7)],
)
async def test_shards_are_begun_while_engines_have_too_little_to_do(
    bounds: dict[str, int], most: int, tmp_path: Path, workers: Isolated
) -> None:
    """Four traces of at most 512 tokens are wanted of each shard, and a prompt is read."""
    engine = Held(respond=Model().respond, context=100_000)
    job, working = await begun(tmp_path, workers, engine, **bounds)
    assert await settled(engine) == most
    engine.let_go.set()
    await asyncio.wait_for(working, PATIENCE_S)
    assert job.dataset.shards(LABELS) == tuple(range(7))


@pytest.mark.usefixtures("bare")
async def test_nobody_waits_for_the_last_trace_of_a_shard(
    tmp_path: Path, workers: Isolated
) -> None:
    """The first shard is held up; with two open at a time, all others are labelled meanwhile."""
    slow = Model().problems[0].question
    engine = Held(respond=Model().respond, context=100_000, held=lambda prompt: slow in prompt.user)
    job, working = await begun(tmp_path, workers, engine, shards_in_flight=2)
    while job.dataset.shards(LABELS) != tuple(range(1, 7)):
        assert not working.done(), working.exception()
        await asyncio.sleep(0.01)
    engine.let_go.set()
    await asyncio.wait_for(working, PATIENCE_S)
    assert job.dataset.shards(LABELS) == tuple(range(7))
