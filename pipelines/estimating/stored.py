"""Which completions of an unfinished dataset are stored, stage by stage.

The stages are repeated on a temporary dataset with an engine that answers from the store. A sample
that is missing is an empty text without tokens, so that the stages go on and nothing is requested.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from tempfile import TemporaryDirectory

import numpy as np

from engines.base import Completion, Engine, EngineWrapper, Prompt, Scored
from pipelines.estimating.costs import PROMPT_TOKENS, QUANTITIES, Costs
from pipelines.estimating.remaining import Remaining, makes_traces
from pipelines.run import annotations, traces
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.stored_engine import ShardCompletions, StoredEngine
from stepmark.errors import EngineError
from stepmark.records import Problem, Sampling
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES

__all__ = ["StoredCosts", "stored_costs", "write_problems"]

NO_SAMPLE = Completion(
    text="", finish_reason="length", prompt_tokens=0, cached_tokens=0, generated_tokens=0
)
NO_SCORE = Scored(logprobs=(0.0,), prompt_tokens=0, cached_tokens=0)


@dataclass
class StoredCosts:
    """What the store has of one stage, for the problems that were looked up."""

    costs: Costs = field(default_factory=lambda: np.zeros(len(QUANTITIES)))
    """The costs [quantity] of what is stored."""
    scores: float = 0.0
    """The scoring calls of what is stored."""

    def of_all_problems(self, share: float) -> "StoredCosts":
        """Return an estimate for all problems, of which `share` were looked up."""
        return StoredCosts(costs=self.costs / share, scores=self.scores / share)


@dataclass(frozen=True, kw_only=True)
class _NoEngine(EngineWrapper):
    """An engine that rejects all requests."""

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        raise EngineError("not stored", retryable=False)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        raise EngineError("not stored", retryable=False)


@dataclass(frozen=True, kw_only=True)
class _CountedStore(EngineWrapper):
    """An engine that answers from the store, and counts what it finds there."""

    engine: StoredEngine
    stored: StoredCosts
    sample_quantity: str
    """What samples count as."""

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the stored samples, and empty texts for the others."""
        samples = await self.engine.stored(prompt, sampling)
        for sample in samples.values():
            values = {
                "prompt_tokens": sample.prompt_tokens,
                "generated_tokens": sample.generated_tokens,
                self.sample_quantity: 1,
            }
            self.stored.costs += [values.get(name, 0) for name in QUANTITIES]
        return [samples.get(index, NO_SAMPLE) for index in range(sampling.n)]

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the stored score, or another one."""
        try:
            scored = await self.engine.score(prompt, continuation)
        except EngineError:
            return NO_SCORE
        self.stored.scores += 1
        self.stored.costs[PROMPT_TOKENS] += scored.prompt_tokens
        return scored


async def stored_costs(
    job: Job, store: CompletionStore, remaining: Remaining
) -> Mapping[str, StoredCosts]:
    """Return what the store has by stage, of what the run still has to make."""
    stages = ["traces", *job.plan.annotators]
    result = {stage: StoredCosts() for stage in stages}
    with TemporaryDirectory(prefix="stepmark-") as folder:
        replay = replace(job, dataset=Dataset(folder), meter=Meter())
        for shard, problems in remaining.looked_up.items():
            await _replay_shard(job, replay, store, remaining, result, shard, problems)
    return result


async def _replay_shard(
    job: Job,
    replay: Job,
    store: CompletionStore,
    remaining: Remaining,
    result: Mapping[str, StoredCosts],
    shard: int,
    problems: Sequence[Problem],
) -> None:
    await asyncio.to_thread(write_problems, job, replay.dataset, shard, {shard: problems})
    ids = [problem.problem_id for problem in problems]
    completions = ShardCompletions(lambda: store.shard(shard, ids))

    def answering(stage: str) -> Job:
        is_left = shard in remaining.unfinished[stage]
        stored = result[stage] if is_left else StoredCosts()
        quantity = "rollouts"
        if stage != "traces" and replay.plan.annotators[stage].judge_names:
            quantity = "replies"

        def wrap(engine: Engine) -> Engine:
            nothing = _NoEngine(engine=engine)
            looked_up = StoredEngine(
                engine=nothing,
                completions=completions,
                meter=replay.meter,
                first_request=asyncio.Event(),
            )
            return _CountedStore(engine=looked_up, stored=stored, sample_quantity=quantity)

        return replace(replay, plan=replay.plan.with_engines(replay.plan.engines.wrap(wrap)))

    if makes_traces(job):
        await traces.make_traces(answering("traces"), shard)
    for wave in replay.plan.waves:
        for spec in wave:
            await annotations.make_annotations(answering(spec.name), shard, spec.name)


def write_problems(
    job: Job, target: Dataset, shard: int, problems: Mapping[int, Sequence[Problem]]
) -> None:
    """Write problems to a temporary dataset, and the traces that `stepmark label` would label.

    Args:
        job: The run.
        target: The temporary dataset.
        shard: The shard of the problems there.
        problems: The problems by their shard in the dataset of the run.
    """
    rows = list(chain.from_iterable(problems.values()))
    target.write_part(PROBLEMS, shard, rows, "")
    if makes_traces(job):
        return
    ids = {problem.problem_id for problem in rows}
    traces_of_problems = []
    for source in problems:
        for trace in job.dataset.read_part(TRACES, source):
            if trace.problem_id in ids:
                traces_of_problems.append(trace)
    target.write_part(TRACES, shard, traces_of_problems, "")
