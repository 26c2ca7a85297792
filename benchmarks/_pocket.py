"""Ground of the pocket domain: the model's own solutions of word problems, whose every step the oracle can tell."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from annotators.concurrency import gather_or_cancel
from benchmarks._bank import TOGETHER, Account, Bank
from benchmarks._ground import Ground
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.oracle import ORACLE
from stepmark.errors import InputError
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations

__all__ = ["ENGINES", "FORMAL", "ground"]

FORMAL = "formal"
SAMPLES = 8
PROBLEMS_AT_ONCE = 32
FEWEST_STEPS = 2
"""In a trace of one step there is nothing to search."""
SOUND_PER_WRONG, MOST_SOUND = 0.25, 100
"""Traces without an error that are labelled too, for F1: methods differ little on them, and Math-Shepherd pays as much for each."""
MODEL = Path(__file__).resolve().parents[1] / "engines" / "pocket_model"
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "vllm": {
        "use": "vllm",
        "model": str(MODEL),
        "dtype": "float32",
        "options": {"max_model_len": 1024},
    },
    "pocket": {"use": "pocket", "compute_type": "int8_float32"},
}


@asynccontextmanager
async def ground(wrong: int, seed: int, file: Path | None, engine: str) -> AsyncIterator[Ground]:
    """The first problems of a seed, so many that at least `wrong` of their traces are wrong; what the model writes is kept in `file`."""
    plan = _plan(seed, most=wrong, engine=engine)
    assert plan.engine is not None
    bank = Bank(engine=plan.engine, file=file)
    bank.load()
    with TemporaryDirectory(prefix="stepmark-efficiency-") as folder:
        job = Job(plan=replace(plan, engine=bank), dataset=Dataset(folder), meter=Meter())
        try:
            yield await _written(job, bank, wrong)
        finally:
            await job.close()


async def _written(job: Job, bank: Bank, wrong: int) -> Ground:
    """Shards are written until there are enough; then the completions that Math-Shepherd asks for are."""
    traces, truth = list[Trace](), dict[str, int]()
    said = dict[str, Mapping[str, Annotation]]()
    for shard in await job.make_problems():
        await job.make_traces(shard)
        await job.make_oracle(shard)
        await job.make_annotations(shard, FORMAL)
        traces += job.dataset.read_part(TRACES, shard)
        for told in job.dataset.read_part(annotations(ORACLE), shard):
            if told.first_error is not None:
                truth[told.trace_id] = told.first_error
        said |= {
            one.trace_id: {FORMAL: one} for one in job.dataset.read_part(annotations(FORMAL), shard)
        }
        chosen = _chosen(traces, truth)
        if sum(truth[one.trace_id] != NO_ERROR for one in chosen) >= wrong:
            break
    else:
        raise InputError(
            f"{len(traces)} samples hold fewer than {wrong} wrong traces: ask for fewer"
        )
    problems = {problem.problem_id: problem for problem in job.dataset.read(PROBLEMS)}
    services = job.services(job.plan.annotators[FORMAL])
    await gather_or_cancel(_fill(job, bank, problems[trace.problem_id], trace) for trace in chosen)
    return Ground(
        services=services,
        bank=bank,
        problems={trace.problem_id: problems[trace.problem_id] for trace in traces},
        traces=traces,
        truth={trace.trace_id: truth[trace.trace_id] for trace in chosen},
        said=said,
    )


def _chosen(traces: Sequence[Trace], truth: dict[str, int]) -> Sequence[Trace]:
    """All wrong traces, and behind them a share of those without an error, of as many problems as there are."""
    known = [
        trace for trace in traces if trace.trace_id in truth and len(trace.steps) >= FEWEST_STEPS
    ]
    wrong = [
        trace
        for trace in known
        if trace.outcome is Verdict.INCORRECT and truth[trace.trace_id] != NO_ERROR
    ]
    firsts = {
        trace.problem_id: trace
        for trace in reversed(known)
        if trace.outcome is Verdict.CORRECT and truth[trace.trace_id] == NO_ERROR
    }
    return [*wrong, *list(firsts.values())[: min(MOST_SOUND, round(SOUND_PER_WRONG * len(wrong)))]]


async def _fill(job: Job, bank: Bank, problem: Problem, trace: Trace) -> None:
    account = Account(engine=bank, trace_id=trace.trace_id)
    sampling = job.plan.sampling(n=TOGETHER, seed=0)
    prompt = job.plan.solve_prompt(problem)
    await gather_or_cancel(
        account.complete(replace(prompt, prefix="".join(trace.steps[:prefix])), sampling)
        for prefix in range(1, len(trace.steps))
    )


def _plan(seed: int, most: int, engine: str) -> planning.Plan:
    """A run file as a user would write it: the demo's, with eight samples a problem. Of so many problems some traces are wrong."""
    return planning.build(
        parse(
            {
                "dataset": "unused",
                "seed": seed,
                "problems": {
                    "use": "word_problems",
                    "count": max(PROBLEMS_AT_ONCE, most),
                    "seed": seed,
                    "min_steps": 2,
                    "max_steps": 6,
                },
                "engine": dict(ENGINES[engine]),
                "generate": {
                    "prompt": "pocket",
                    "traces_per_problem": SAMPLES,
                    "temperature": 1.0,
                    "max_tokens": 320,
                    "split": "line",
                },
                "annotators": [{"use": FORMAL}],
                "shards": {"problems_per_shard": PROBLEMS_AT_ONCE},
            },
            "the benchmark's run file",
        )
    )
