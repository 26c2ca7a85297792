"""The second stage of a run: have the engine write the traces of one shard."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from annotators.concurrency import gather_or_cancel
from engines.base import Completion, Engine, completion_keys
from pipelines.run.graders import grade
from pipelines.run.human_labels import set_aside_human_labels
from pipelines.run.plan import Plan
from pipelines.run.resume import (
    current_footer,
    remove_derived_parts,
    remove_method,
    unnamed_methods,
)
from pipelines.run.run_context import RunContext
from pipelines.run.stored_engine import StoredEngine
from pipelines.run.transient import is_transient
from stepmark.errors import DatasetError, EngineError
from stepmark.identity import content_id, seed_for
from stepmark.records import Problem, Sampling, Trace
from stepmark.steps import thinking_metadata
from storage.dataset.tables import PROBLEMS, TRACES, Table, discovered

__all__ = ["is_rejected", "make_traces", "trace_ids"]

# Prefix of `Trace.finish_reason` for a request that the engine rejected; SQL selects by it.
REJECTED_REQUEST = "error: "


async def make_traces(run: RunContext, shard: int) -> None:
    """Write the traces of a shard's problems. All requests are sent at once.

    Raises:
        EngineError: The engine failed with a retryable error, or rejected every request.
    """
    problems_content = await asyncio.to_thread(run.reader.content, PROBLEMS, shard)
    part_key = run.fingerprints.traces_part_key(problems_content)
    footer = await asyncio.to_thread(current_footer, run, TRACES, shard, part_key)
    if footer is not None:
        run.meter.skip("traces", footer.rows)
        return
    problems = await asyncio.to_thread(lambda: list(run.dataset.read_part(PROBLEMS, shard)))
    solved = await gather_or_cancel(_solve(run, problem) for problem in problems)
    await asyncio.to_thread(_fail_if_all_rejected, run, solved)
    traces = list(chain.from_iterable(solved))
    await run.flush_completions()
    await asyncio.to_thread(_replace_traces, run, shard, traces, part_key)


def trace_ids(plan: Plan, problem: Problem) -> Sequence[str]:
    """Return the ids that the sampled traces of a problem have.

    They are derived from the keys of the completions, so they depend on the problem, the engine,
    the prompt, the sampling parameters and the index, and on nothing that only reads the text.
    """
    engine = _engine(plan)
    sampling = _sampling(plan, problem)
    keys = completion_keys(engine.identity, plan.solve_prompt(problem), sampling)
    return [content_id("trace", problem.problem_id, key.hex()) for key in keys]


def is_rejected(trace: Trace) -> bool:
    """Return whether the engine rejected the request for a trace, which then has no steps."""
    return trace.finish_reason.startswith(REJECTED_REQUEST)


def _engine(plan: Plan) -> Engine:
    if plan.engine is None:
        raise DatasetError(
            "the dataset holds no traces and the run file has no [engine] to write them"
        )
    return plan.engine


def _sampling(plan: Plan, problem: Problem) -> Sampling:
    seed = seed_for(plan.run_file.seed, "trace", problem.problem_id)
    return plan.sampling(n=plan.run_file.generate.traces_per_problem, seed=seed)


def _replace_traces(run: RunContext, shard: int, traces: Sequence[Trace], part_key: str) -> None:
    """Write the traces of a shard, and set aside or remove what belongs to the earlier ones.

    Annotations stay as long as all earlier traces remain with the same steps, for instance when
    traces are added or graded again. The run then replaces those of its own methods one by one.
    Those of methods that the run file does not name stay only if the traces come out the same,
    because no stage makes them again for other grades or for added traces.
    """
    steps_of = {trace.trace_id: trace.steps for trace in traces}
    earlier = _earlier_traces(run, shard)
    is_changed = any(steps_of.get(trace.trace_id) != trace.steps for trace in earlier)
    unnamed: Sequence[str] = ()
    # Without an earlier part, for instance a damaged one, they may still fit.
    if earlier and _graded_steps(earlier) != _graded_steps(traces):
        unnamed = unnamed_methods(run)
    replaced: dict[Table[Any], Sequence[Trace]] = {TRACES: traces}
    for method in run.dataset.methods("discovered"):
        if is_changed or method in unnamed:
            # They are removed below.
            replaced[discovered(method)] = ()
    set_aside_human_labels(run, shard, replaced)
    # Before the traces are written: a rerun after a kill finds current traces and removes nothing.
    for method in unnamed:
        remove_method(run, method, shard)
    failed = sum(map(is_transient, traces))
    run.dataset.write_part(TRACES, shard, traces, part_key, failed=failed)
    if is_changed:
        remove_derived_parts(run, shard)


def _graded_steps(traces: Sequence[Trace]) -> Mapping[str, tuple[object, ...]]:
    """Return what annotations depend on, by trace id: the steps and their grade."""
    return {trace.trace_id: (trace.steps, trace.final_answer, trace.outcome) for trace in traces}


def _earlier_traces(run: RunContext, shard: int) -> Sequence[Trace]:
    """Return the sampled traces that the dataset has for a shard, made by another run file."""
    if run.dataset.footer(TRACES, shard) is None:
        return []
    return list(run.dataset.read_part(TRACES, shard))


async def _solve(run: RunContext, problem: Problem) -> Sequence[Trace]:
    """Sample the traces of one problem with a single request."""
    sampling = _sampling(run.plan, problem)
    ids = trace_ids(run.plan, problem)
    try:
        completions = await _engine(run.plan).complete(run.plan.solve_prompt(problem), sampling)
    except EngineError as error:
        if error.retryable:
            raise
        completions = await _stored_or_rejected(run, problem, sampling, error)
    traces = list[Trace]()
    for index, (trace_id, completion) in enumerate(zip(ids, completions, strict=True)):
        sample = replace(sampling, n=1, seed=sampling.seed + index)
        traces.append(await _trace(run, problem, trace_id, completion, sample))
    run.meter.finish("traces", len(traces))
    return traces


async def _stored_or_rejected(
    run: RunContext, problem: Problem, sampling: Sampling, error: EngineError
) -> Sequence[Completion]:
    """Return the stored samples of a rejected request, and the record of it for the others.

    A request for more traces that is rejected must not cost the traces that exist.
    """
    engine = _engine(run.plan)
    stored: Mapping[int, Completion] = {}
    if isinstance(engine, StoredEngine):
        stored = await engine.stored(run.plan.solve_prompt(problem), sampling)
    return [stored.get(index, _rejected(error)) for index in range(sampling.n)]


async def _trace(
    run: RunContext, problem: Problem, trace_id: str, completion: Completion, sampling: Sampling
) -> Trace:
    """Grade a completion and return it as a trace.

    Args:
        run: The run.
        problem: The problem that the completion solves.
        trace_id: The id of the trace.
        completion: One sample of the problem's request.
        sampling: The sampling parameters of this sample.
    """
    graded = await grade(
        run.workers,
        completion.text,
        completion.finish_reason,
        problem.answer,
        grader=run.plan.grader,
    )
    splitter = run.plan.splitter
    steps = splitter(completion.text)
    return Trace(
        trace_id=trace_id,
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=graded.final_answer,
        outcome=graded.outcome,
        outcome_reason=graded.reason,
        outcome_parts=graded.outcome_parts,
        model=_engine(run.plan).model_name,
        sampling=sampling,
        reasoning=completion.reasoning,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        generated_tokens=completion.generated_tokens,
        metadata=thinking_metadata(steps, splitter.how),
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

    A single problem may really be too long for the model, so one rejection proves nothing. Neither
    does a shard of rejections if the engine has answered for another shard, in this run or before.
    """
    if len(solved) <= 1 or run.meter.generated_tokens > 0 or run.meter.reused > 0:
        return
    reasons = [trace.finish_reason for trace in chain.from_iterable(solved)]
    are_all_rejected = all(reason.startswith(REJECTED_REQUEST) for reason in reasons)
    if are_all_rejected and not _has_sampled_traces(run):
        raise EngineError(
            f"the engine rejected every problem: {reasons[0].removeprefix(REJECTED_REQUEST)}",
            retryable=False,
        )


def _has_sampled_traces(run: RunContext) -> bool:
    """Return whether a part of this run's traces has one that the engine did not reject.

    The meter counts only what this process has requested: an earlier process, or another worker,
    may have made all other shards.
    """
    for shard in run.dataset.shards(TRACES):
        footer = run.dataset.footer(TRACES, shard)
        problems = run.dataset.footer(PROBLEMS, shard)
        if footer is None or problems is None or footer.failed == footer.rows:
            continue
        if footer.part_key == run.fingerprints.traces_part_key(problems.content):
            return True
    return False
