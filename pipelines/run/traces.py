"""The second stage of a run: have the engine write the traces of one shard."""

import asyncio
from collections.abc import Sequence
from itertools import chain

from annotators.concurrency import gather_or_cancel
from engines.base import Completion
from pipelines.run.graders import grade, grader_of
from pipelines.run.resume import is_current
from pipelines.run.run_context import RunContext
from stepmark.errors import DatasetError, EngineError
from stepmark.identity import digest, seed_for
from stepmark.records import Cost, Problem, Trace
from stepmark.steps import split
from storage.dataset.tables import PROBLEMS, TRACES

__all__ = ["make_traces"]

# Prefix of `Trace.finish_reason` for a request that the engine rejected; SQL selects by it.
REJECTED_REQUEST = "error: "


async def make_traces(run: RunContext, shard: int) -> None:
    """Write the traces of a shard's problems. All requests are sent at once.

    Raises:
        EngineError: The engine failed with a retryable error, or rejected every request.
    """
    problems_key = await asyncio.to_thread(run.reader.part_key, PROBLEMS, shard)
    part_key = run.fingerprints.traces_part_key(problems_key)
    if await asyncio.to_thread(is_current, run, TRACES, shard, part_key):
        return
    problems = await asyncio.to_thread(lambda: list(run.dataset.read_part(PROBLEMS, shard)))
    run.meter.expect("traces", len(problems) * run.plan.run_file.generate.traces_per_problem)
    solved = await gather_or_cancel(_solve(run, problem) for problem in problems)
    _fail_if_all_rejected(run, solved)
    traces = list(chain.from_iterable(solved))
    await asyncio.to_thread(run.dataset.write_part, TRACES, shard, traces, part_key)


async def _solve(run: RunContext, problem: Problem) -> Sequence[Trace]:
    """Sample the traces of one problem with a single request."""
    engine = run.plan.engine
    if engine is None:
        raise DatasetError(
            "the dataset holds no traces and the run file has no [engine] to write them"
        )
    seed = seed_for(run.plan.run_file.seed, "trace", problem.problem_id)
    count = run.plan.run_file.generate.traces_per_problem
    sampling = run.plan.sampling(n=count, seed=seed)
    try:
        completions = await engine.complete(run.plan.solve_prompt(problem), sampling)
    except EngineError as error:
        if error.retryable:
            raise
        completions = [_rejected(error)] * count
    traces = list[Trace]()
    for index, completion in enumerate(completions):
        traces.append(await _trace(run, problem, completion, index, seed))
    run.meter.finish("traces", len(traces))
    return traces


async def _trace(
    run: RunContext, problem: Problem, completion: Completion, index: int, seed: int
) -> Trace:
    """Grade a completion and return it as a trace.

    Args:
        run: The run.
        problem: The problem that the completion solves.
        completion: One sample of the problem's request.
        index: The position of the sample in its request.
        seed: The seed of the request.
    """
    assert run.plan.engine is not None
    generate = run.plan.run_file.generate
    graded = await grade(
        run.workers,
        completion.text,
        completion.finish_reason,
        problem.answer,
        grader=grader_of(run.plan.run_file),
    )
    run.meter.add_cost(
        Cost(
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            generated_tokens=completion.generated_tokens,
        )
    )
    return Trace(
        trace_id=digest("trace", run.fingerprints.traces, problem.problem_id, index),
        problem_id=problem.problem_id,
        steps=split(completion.text, generate.split),
        final_answer=graded.final_answer,
        outcome=graded.outcome,
        outcome_reason=graded.reason,
        model=run.plan.engine.model_name,
        # Engines give sample i of a request the seed `seed + i`.
        sampling=run.plan.sampling(n=1, seed=seed + index),
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        generated_tokens=completion.generated_tokens,
    )


def _rejected(error: EngineError) -> Completion:
    """Return the record of a request that the engine will never answer.

    It becomes a trace without steps whose outcome is unknown, so it trains nothing.
    """
    return Completion(
        text="",
        finish_reason=f"{REJECTED_REQUEST}{error}",
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=0,
    )


def _fail_if_all_rejected(run: RunContext, solved: Sequence[Sequence[Trace]]) -> None:
    """Raise `EngineError` if the engine rejected every request: then it is misconfigured.

    A single problem may really be too long for the model, so one rejection proves nothing.
    """
    if len(solved) <= 1 or run.meter.generated_tokens > 0:
        return
    reasons = [trace.finish_reason for trace in chain.from_iterable(solved)]
    if all(reason.startswith(REJECTED_REQUEST) for reason in reasons):
        raise EngineError(
            f"the engine rejected every problem: {reasons[0].removeprefix(REJECTED_REQUEST)}",
            retryable=False,
        )
