"""Traces of the pocket model: solutions of word problems, whose steps an oracle judges."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from annotators.concurrency import gather_or_cancel
from benchmarks.common.records import problems_by_id
from benchmarks.common.run_files import build_plan, pocket_generation
from benchmarks.efficiency.ground_truth import GroundTruth
from benchmarks.efficiency.rollout_cache import BATCH_SIZE, CachedTraceEngine, RolloutCache
from engines.pocket import SHIPPED
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.oracle import ORACLE
from pipelines.run.plan import Plan
from stepmark.errors import InputError
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations

__all__ = ["ENGINES", "FORMAL", "sample_pocket_traces"]

FORMAL = "formal"
SAMPLES_PER_PROBLEM = 8
PROBLEMS_PER_SHARD = 32
# The first error of a trace with one step needs no search.
MIN_STEPS = 2
# Traces without an error are annotated too, for F1. Few are enough: methods differ little on them,
# and Math-Shepherd spends as many tokens on each as on a wrong trace.
SOUND_PER_WRONG = 0.25
MAX_SOUND = 100
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "vllm": {
        "use": "vllm",
        "model": str(SHIPPED),
        "dtype": "float32",
        "options": {"max_model_len": 1024},
    },
    "pocket": {"use": "pocket", "compute_type": "int8_float32"},
}


@asynccontextmanager
async def sample_pocket_traces(
    wrong_traces: int, seed: int, file: Path | None, engine: str
) -> AsyncIterator[GroundTruth]:
    """Sample the first problems of a seed until at least `wrong_traces` of their traces are wrong.

    Completions are kept in `file`, if one is given. `engine` is a key of `ENGINES`.
    """
    plan = _plan(seed, wrong_traces, engine)
    assert plan.engine is not None
    cache = RolloutCache(engine=plan.engine, file=file)
    plan = plan.with_engines(plan.engines.wrap(lambda _: cache))
    cache.load()
    with TemporaryDirectory(prefix="stepmark-efficiency-") as folder:
        job = Job(plan=plan, dataset=Dataset(folder), meter=Meter())
        try:
            yield await _sample(job, cache, wrong_traces)
        finally:
            await job.close()


async def _sample(job: Job, cache: RolloutCache, wrong_traces: int) -> GroundTruth:
    """Make shards until there are enough wrong traces, then fill the cache with their rollouts."""
    traces = list[Trace]()
    first_errors = dict[str, int]()
    formal = dict[str, Mapping[str, Annotation]]()
    selected: Sequence[Trace] = ()
    for shard in range(len(await job.make_problems())):
        await job.make_traces(shard)
        await job.make_oracle(shard)
        await job.make_annotations(shard, FORMAL)
        traces += job.dataset.read_part(TRACES, shard)
        for annotation in job.dataset.read_part(annotations(ORACLE), shard):
            if annotation.first_error is not None:
                first_errors[annotation.trace_id] = annotation.first_error
        for annotation in job.dataset.read_part(annotations(FORMAL), shard):
            formal[annotation.trace_id] = {FORMAL: annotation}
        selected = _select(traces, first_errors)
        if sum(first_errors[trace.trace_id] != NO_ERROR for trace in selected) >= wrong_traces:
            break
    else:
        raise InputError(
            f"{len(traces)} samples contain fewer than {wrong_traces} wrong traces; reduce --traces"
        )
    problems = problems_by_id(job.dataset)
    services = job.services(job.plan.annotators[FORMAL])
    await gather_or_cancel(
        _cache_rollouts(job, cache, problems[trace.problem_id], trace) for trace in selected
    )
    return GroundTruth(
        services=services,
        cache=cache,
        problems={trace.problem_id: problems[trace.problem_id] for trace in traces},
        traces=traces,
        first_errors={trace.trace_id: first_errors[trace.trace_id] for trace in selected},
        annotations=formal,
    )


def _select(traces: Sequence[Trace], first_errors: Mapping[str, int]) -> Sequence[Trace]:
    """Return all wrong traces, then a few without an error, at most one of each problem."""
    wrong = list[Trace]()
    sound = list[Trace]()
    for trace in traces:
        if trace.trace_id not in first_errors or len(trace.steps) < MIN_STEPS:
            continue
        has_error = first_errors[trace.trace_id] != NO_ERROR
        # Left out: solutions with a mistake and the correct answer, or the other way round.
        if trace.outcome is Verdict.INCORRECT and has_error:
            wrong.append(trace)
        if trace.outcome is Verdict.CORRECT and not has_error:
            sound.append(trace)
    # In reverse, so that the first sound trace of a problem replaces the later ones. The last
    # problems therefore come first.
    by_problem = {trace.problem_id: trace for trace in reversed(sound)}
    count = min(MAX_SOUND, round(SOUND_PER_WRONG * len(wrong)))
    return [*wrong, *list(by_problem.values())[:count]]


async def _cache_rollouts(job: Job, cache: RolloutCache, problem: Problem, trace: Trace) -> None:
    """Write the rollouts that Math-Shepherd requests, after all prefixes concurrently."""
    engine = CachedTraceEngine(engine=cache, trace_id=trace.trace_id)
    sampling = job.plan.sampling(n=BATCH_SIZE, seed=0)
    prompt = job.plan.solve_prompt(problem)
    requests = []
    for prefix_steps in range(1, len(trace.steps)):
        prefix = "".join(trace.steps[:prefix_steps])
        requests.append(engine.complete(replace(prompt, prefix=prefix), sampling))
    await gather_or_cancel(requests)


def _plan(seed: int, wrong_traces: int, engine: str) -> Plan:
    return build_plan(
        {
            "dataset": "unused",
            "seed": seed,
            "problems": {
                "use": "word_problems",
                # At least one trace per problem is assumed to be wrong on average.
                "count": max(PROBLEMS_PER_SHARD, wrong_traces),
                "seed": seed,
                "min_steps": 2,
                "max_steps": 6,
            },
            "engine": dict(ENGINES[engine]),
            "generate": pocket_generation(SAMPLES_PER_PROBLEM),
            "annotators": [{"use": FORMAL}],
            "shards": {"problems_per_shard": PROBLEMS_PER_SHARD},
        }
    )
