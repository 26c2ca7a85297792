"""The token budget counts outstanding requests, and the flow starts shards by it."""

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
from pipelines.run.config import Budget, Prices
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.spending import Spending
from pipelines.run.stages import run_shards, untracked
from pipelines.run.token_budget import CHARACTERS_PER_TOKEN, CHECK, MeteredEngine, TokenBudget
from stepmark.errors import BudgetError, EngineError
from stepmark.identity import operational
from stepmark.records import Sampling
from storage.dataset.tables import LABELS
from tests.pipelines.simulated import Model, job_in
from verifiers.isolation.pool import VerifierPool

PROMPT = Prompt(user="x" * 40)
PROMPT_TOKENS = 40 // CHARACTERS_PER_TOKEN
# A bound for a run that hangs; nothing is measured.
TIMEOUT_S = 60
ALL_SHARDS = tuple(range(7))


@dataclass(frozen=True, kw_only=True)
class BlockingEngine(Scripted):
    """An engine that answers selected prompts only after `release` is set."""

    blocks: Callable[[Prompt], object] = operational(default=lambda prompt: True)  # noqa: RUF009 - a dataclass field
    """Whether a prompt has to wait."""
    release: asyncio.Event = operational(default_factory=asyncio.Event)  # noqa: RUF009
    requests: Counter[str] = operational(default_factory=Counter)  # noqa: RUF009

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        self.requests[prompt.user] += 1
        if self.blocks(prompt):
            await self.release.wait()
        return await super().complete(prompt, sampling)


async def test_first_requests_count_max_tokens() -> None:
    budget = TokenBudget(1)
    engine = BlockingEngine(replies={"": ("one two three",)})
    one_sample = budget.complete(engine, PROMPT, Sampling(n=1, max_tokens=100))
    four_samples = budget.complete(engine, PROMPT, Sampling(n=4, max_tokens=100))
    requests = [asyncio.create_task(one_sample), asyncio.create_task(four_samples)]
    # Both tasks start and wait for the engine.
    await asyncio.sleep(0)
    # Nothing is known about lengths yet, so five completions count in full.
    assert budget.outstanding == 2 * PROMPT_TOKENS + 5 * 100
    engine.release.set()
    await asyncio.gather(*requests)
    assert budget.outstanding == 0


async def test_later_requests_count_mean_tokens() -> None:
    budget = TokenBudget(1)
    engine = BlockingEngine(
        replies={"": ("one two three", "one")}, blocks=lambda prompt: prompt.prefix
    )
    await budget.complete(engine, PROMPT, Sampling(n=2, max_tokens=100))
    longer_prompt = replace(PROMPT, prefix="y" * 20)
    request = asyncio.create_task(
        budget.complete(engine, longer_prompt, Sampling(n=8, max_tokens=100))
    )
    await asyncio.sleep(0)
    # The replies have three tokens and one, so two on average. The prompt includes its prefix.
    assert budget.outstanding == 60 // CHARACTERS_PER_TOKEN + 8 * 2
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert budget.outstanding == 0


async def test_finished_requests_free_the_budget() -> None:
    """Answers, failures and cancellations end a request."""
    # The size of one request.
    budget = TokenBudget(PROMPT_TOKENS + 100)
    engine = BlockingEngine(replies={"": ("one",)})
    failing_engine = BlockingEngine(error="down")
    sampling = Sampling(max_tokens=100)
    await budget.wait_until_low()
    first = asyncio.create_task(budget.complete(engine, PROMPT, sampling))
    second = asyncio.create_task(budget.complete(engine, PROMPT, sampling))
    failing = asyncio.create_task(budget.complete(failing_engine, PROMPT, sampling))
    low = asyncio.create_task(budget.wait_until_low())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first, second, failing], timeout=0.01)
    assert not low.done()
    failing.cancel()
    second.cancel()
    await low
    with pytest.raises(EngineError, match="down"):
        await budget.complete(Scripted(error="down"), PROMPT, Sampling())
    assert budget.outstanding == 0


async def test_metered_engine_counts_requests() -> None:
    engine = Scripted(replies={"": ("one two",)})
    meter = Meter()
    first_request = asyncio.Event()
    metered = MeteredEngine(
        engine=engine, budget=TokenBudget(1), meter=meter, first_request=first_request
    )
    assert metered.identity == engine.identity
    assert metered.model_name == engine.model_name
    assert not first_request.is_set()
    completions = await metered.complete(PROMPT, Sampling())
    assert completions == await engine.complete(PROMPT, Sampling())
    assert first_request.is_set()
    assert meter.generated_tokens == 2
    scored = await metered.score(PROMPT, "one")
    assert meter.prompt_tokens == completions[0].prompt_tokens + scored.prompt_tokens


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


async def start_run(
    folder: Path, workers: VerifierPool, engine: BlockingEngine, **shards: int
) -> tuple[Job, "asyncio.Task[None]"]:
    """Start a run over seven shards of one problem."""
    tables: dict[str, Any] = {
        "problems": {"use": "word_problems", "count": 7, "max_steps": 4},
        "annotators": [{"use": "monte_carlo", "rollouts": 2}],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
        "shards": {"problems_per_shard": 1, **shards},
    }
    job = job_in(folder, workers, Model(), **tables)
    engines = job.plan.engines.wrap(lambda _: engine)
    job = replace(job, plan=job.plan.with_engines(engines))
    shard_numbers = range(len(await job.make_problems()))
    return job, asyncio.create_task(run_shards(job, untracked, shard_numbers, makes_traces=True))


async def stable_problem_count(engine: BlockingEngine) -> int:
    """Return the number of problems in flight once it has stayed the same for 20 polls."""
    count = 0
    unchanged_polls = 0
    # A shard that may start does so within a few polls.
    while unchanged_polls < 20:
        await asyncio.sleep(0.01)
        if len(engine.requests) == count and count > 0:
            unchanged_polls += 1
        else:
            unchanged_polls = 0
        count = len(engine.requests)
    return count


@pytest.mark.parametrize(
    ("limits", "started"),
    # Room for the traces of three shards.
    [({"tokens_in_flight": 3 * 4 * 512}, 3), ({"shards_in_flight": 2}, 2), ({}, 7)],
)
async def test_limits_bound_started_shards(
    limits: dict[str, int], started: int, tmp_path: Path, workers: VerifierPool
) -> None:
    """A shard needs four traces of at most 512 tokens, and a prompt."""
    engine = BlockingEngine(respond=Model().respond, context=100_000)
    job, running = await start_run(tmp_path, workers, engine, **limits)
    assert await stable_problem_count(engine) == started
    engine.release.set()
    await asyncio.wait_for(running, TIMEOUT_S)
    assert job.dataset.shards(LABELS) == ALL_SHARDS


async def test_slow_shard_blocks_no_other(tmp_path: Path, workers: VerifierPool) -> None:
    """With two shards in flight and the first one blocked, all others are labelled."""
    slow = Model().problems[0].question
    engine = BlockingEngine(
        respond=Model().respond, context=100_000, blocks=lambda prompt: slow in prompt.user
    )
    job, running = await start_run(tmp_path, workers, engine, shards_in_flight=2)
    # The blocked shard takes one place, and the others use the second one after each other.
    while job.dataset.shards(LABELS) != ALL_SHARDS[1:]:
        assert not running.done(), running.exception()
        await asyncio.sleep(0.01)
    engine.release.set()
    await asyncio.wait_for(running, TIMEOUT_S)
    assert job.dataset.shards(LABELS) == ALL_SHARDS


@dataclass(frozen=True, kw_only=True)
class CheckedEngine(BlockingEngine):
    """An engine that has to check that it continues a prefix."""

    checks: list[Prompt] = operational(default_factory=list)  # noqa: RUF009

    async def check_continuation(self, prompt: Prompt) -> Sequence[Completion]:
        """Wait until `release` is set, and return a completion."""
        self.checks.append(prompt)
        await self.release.wait()
        return await Scripted.complete(self, prompt, Sampling(n=1))


async def test_check_of_continuation_is_counted() -> None:
    budget = TokenBudget(1)
    engine = CheckedEngine(replies={"": ("one two three",)}, blocks=lambda prompt: False)
    meter = Meter()
    metered = MeteredEngine(
        engine=engine, budget=budget, meter=meter, first_request=asyncio.Event()
    )
    prompt = replace(PROMPT, prefix="y" * 20)
    requests = [
        asyncio.create_task(metered.complete(prompt, Sampling(n=1, max_tokens=10)))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # The check is open, and the requests wait for it.
    assert budget.outstanding == 60 // CHARACTERS_PER_TOKEN + CHECK.max_tokens
    engine.release.set()
    await asyncio.gather(*requests)
    assert budget.outstanding == 0
    assert len(engine.checks) == 1
    # Three tokens of the check, and of each answer.
    assert meter.generated_tokens == 4 * 3


async def test_check_of_continuation_is_admitted() -> None:
    engine = CheckedEngine(replies={"": ("one two three",)})
    meter = Meter()
    metered = MeteredEngine(
        engine=engine,
        budget=TokenBudget(1),
        meter=meter,
        first_request=asyncio.Event(),
        spending=Spending(budget=Budget(tokens=5), prices=Prices(), meter=meter),
    )
    meter.generated_tokens = 5
    with pytest.raises(BudgetError):
        await metered.complete(replace(PROMPT, prefix="y"), Sampling(n=1))
    assert not engine.checks
    # Requests that wait for the check are not sent when it has used the rest.
    meter.generated_tokens = 3
    engine.release.set()
    requests = [metered.complete(replace(PROMPT, prefix="y"), Sampling(n=1)) for _ in range(3)]
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(result) for result in results] == [BudgetError] * 3
    assert (len(engine.checks), engine.requests.total()) == (1, 0)
