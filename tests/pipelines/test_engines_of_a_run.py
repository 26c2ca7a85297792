"""Runs whose methods use several engines: ensembles of judges, and rollouts of a named engine."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engines.base import EngineWrapper, Prompt, Scored
from stepmark.records import Critique, Verdict
from storage.dataset.tables import annotations, critiques, rollouts
from tests.columns import column
from tests.pipelines.simulated import Model, job_in, run, run_in
from verifiers.isolation.pool import VerifierPool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


# Two models that disagree about the first step of every solution.
JUDGES = {
    "strict": {"use": "scripted", "replies": {"": ["Step 1: incorrect"]}, "context": 100_000},
    "lenient": {"use": "scripted", "replies": {"": ["Step 1: correct"]}, "context": 100_000},
}
ENSEMBLE: dict[str, Any] = {
    "annotators": [{"use": "judge", "judge": ["strict", "lenient", "engine"], "votes": 2}],
    "engines": JUDGES,
    "label": None,
}


async def test_ensemble_counts_votes_of_all_models(tmp_path: Path, workers: VerifierPool) -> None:
    job = await run_in(tmp_path, workers, Model(), **ENSEMBLE)
    rows = list(job.dataset.read(annotations("judge")))
    assert rows
    by_trace = dict[str, list[Critique]]()
    for critique in job.dataset.read(critiques("judge")):
        by_trace.setdefault(critique.trace_id, []).append(critique)
    for row in rows:
        stored = by_trace[row.trace_id]
        assert column(stored, "vote") == [0, 1, 2, 3, 4, 5]
        votes = [critique.verdicts[0] for critique in stored]
        assert votes[:4] == [Verdict.INCORRECT] * 2 + [Verdict.CORRECT] * 2
        first_step = row.steps[0]
        decided = [vote for vote in votes if vote is not Verdict.UNKNOWN]
        assert (first_step.successes, first_step.trials) == (
            decided.count(Verdict.CORRECT),
            len(decided),
        )
        # Three models with two votes each.
        assert row.cost.generated_tokens == sum(column(stored, "generated_tokens"))
        assert len(stored) == 6


async def test_critiques_name_their_model(tmp_path: Path, workers: VerifierPool) -> None:
    class NamedEngine(EngineWrapper):
        @property
        def model_name(self) -> str:
            return names[id(self.engine)]

    job = job_in(tmp_path, workers, Model(), **ENSEMBLE)
    names = {id(engine): name for name, engine in job.plan.engines.items()}
    engines = job.plan.engines.wrap(lambda engine: NamedEngine(engine=engine))
    await run(replace(job, plan=job.plan.with_engines(engines)))
    stored = list(job.dataset.read(critiques("judge")))
    models = ["strict", "strict", "lenient", "lenient", "engine", "engine"]
    assert column(stored, "model") == models * (len(stored) // 6)


async def test_same_model_twice_votes_independently(tmp_path: Path, workers: VerifierPool) -> None:
    """Two clients of one model use different seeds, so their votes are no copies."""
    model = Model()
    annotators = [{"use": "judge", "judge": ["engine", "replica"], "votes": 2}]
    job = job_in(
        tmp_path,
        workers,
        model,
        annotators=annotators,
        engines={"replica": {"use": "scripted"}},
        label=None,
    )
    engine = job.plan.engine
    assert engine is not None
    engines = job.plan.engines.wrap(lambda _: engine)
    await run(replace(job, plan=job.plan.with_engines(engines)))
    traces = len(list(job.dataset.read(annotations("judge"))))
    requests = [
        (prompt, sampling.seed) for prompt, sampling in model.requests if "Check a" in prompt.user
    ]
    assert len(requests) == len(set(requests)) == 2 * traces


async def test_rollouts_come_from_named_engine(tmp_path: Path, workers: VerifierPool) -> None:
    # A wrong answer to all problems.
    reply = "The answer is -7."
    job = await run_in(
        tmp_path,
        workers,
        Model(skill=1.0),
        annotators=[
            {"use": "monte_carlo", "rollouts": 1},
            {"use": "monte_carlo", "name": "weak", "engine": "weak", "rollouts": 1},
        ],
        engines={"weak": {"use": "scripted", "replies": {"": [reply]}, "context": 100_000}},
        label=None,
    )
    assert set(column(list(job.dataset.read(rollouts("weak"))), "text")) == {reply}
    assert reply not in set(column(list(job.dataset.read(rollouts("monte_carlo"))), "text"))


async def test_equal_texts_are_scored_once(tmp_path: Path, workers: VerifierPool) -> None:
    """The answer directly after the question is scored once for all traces of a problem."""
    scored = Counter[tuple[Prompt, str]]()

    class CountingEngine(EngineWrapper):
        async def score(self, prompt: Prompt, continuation: str) -> Scored:
            scored[prompt, continuation] += 1
            await asyncio.sleep(0)
            return await self.engine.score(prompt, continuation)

    job = job_in(tmp_path, workers, Model(), annotators=[{"use": "answer_likelihood"}], label=None)
    engines = job.plan.engines.wrap(lambda engine: CountingEngine(engine=engine))
    await run(replace(job, plan=job.plan.with_engines(engines)))
    assert set(scored.values()) == {1}
