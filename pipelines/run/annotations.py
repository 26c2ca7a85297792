"""The annotation stage of a run: have one method annotate all traces of one shard."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

from annotators.base import FitsPerShard, ProblemAnnotator
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, ProblemContext, ProblemGroup
from annotators.running import run as annotate_trace
from annotators.running import run_problem as annotate_problem
from pipelines.run.plan import AnnotatorSpec
from pipelines.run.resume import is_current
from pipelines.run.run_context import RunContext
from stepmark.records import Annotation, Critique, Discovered, Problem, Rollout, Trace
from stepmark.steps import split
from storage.dataset.tables import (
    TRACES,
    annotations,
    critiques,
    discovered,
    rollouts,
)

__all__ = ["make_annotations"]


async def make_annotations(run: RunContext, shard: int, method: str) -> None:
    """Annotate all traces of a shard concurrently.

    Discovered traces, rollouts and critiques are written first: the annotations part marks the
    completion of the method on this shard.
    """
    spec = run.plan.annotators[method]
    traces_key = await asyncio.to_thread(run.reader.part_key, TRACES, shard)
    part_key = run.fingerprints.annotations_part_key(spec, traces_key)
    if await asyncio.to_thread(is_current, run, annotations(method), shard, part_key):
        return
    # Read in a thread, like every file: the event loop serves the requests of all shards.
    contexts = await asyncio.to_thread(_annotation_contexts, run, shard, spec)
    run.meter.expect(method, len(contexts))
    if isinstance(spec.plugin, ProblemAnnotator):
        problem_contexts = _problem_contexts(run, spec, contexts)
        rows = await _annotate_by_problem(run, spec, problem_contexts)
        new_traces = list[Discovered]()
        all_contexts = list[AnnotationContext]()
        for context in problem_contexts:
            new_traces.extend(context.discovered)
            all_contexts.extend(context.all_contexts)
        contexts = all_contexts
        await asyncio.to_thread(
            run.dataset.write_part, discovered(method), shard, new_traces, part_key
        )
    else:
        rows = await _annotate_by_trace(run, spec, contexts)
    await asyncio.to_thread(_write_parts, run, shard, method, part_key, contexts, rows)


async def _annotate_by_trace(
    run: RunContext, spec: AnnotatorSpec, contexts: Sequence[AnnotationContext]
) -> Sequence[Annotation]:
    annotator = spec.plugin
    assert not isinstance(annotator, ProblemAnnotator)
    if isinstance(annotator, FitsPerShard):
        annotator = await annotator.fit(contexts)
    fingerprint = run.fingerprints.annotations(spec)

    async def annotate(context: AnnotationContext) -> Annotation:
        annotation = await annotate_trace(
            annotator, spec.name, fingerprint, context.problem, context.trace, context
        )
        run.meter.add_cost(annotation.cost)
        run.meter.finish(spec.name, failed=annotation.error is not None)
        return annotation

    return await gather_or_cancel(annotate(context) for context in contexts)


async def _annotate_by_problem(
    run: RunContext, spec: AnnotatorSpec, contexts: Sequence[ProblemContext]
) -> Sequence[Annotation]:
    annotator = spec.plugin
    assert isinstance(annotator, ProblemAnnotator)
    fingerprint = run.fingerprints.annotations(spec)

    async def annotate(context: ProblemContext) -> Sequence[Annotation]:
        rows = await annotate_problem(annotator, spec.name, fingerprint, context)
        for annotation in rows:
            run.meter.add_cost(annotation.cost)
        failed = any(annotation.error is not None for annotation in rows)
        # Only sampled traces were expected; discovered ones would exceed the total.
        run.meter.finish(spec.name, len(context.contexts), failed=failed)
        return rows

    by_problem = await gather_or_cancel(annotate(context) for context in contexts)
    return list(chain.from_iterable(by_problem))


def _annotation_contexts(
    run: RunContext, shard: int, spec: AnnotatorSpec
) -> Sequence[AnnotationContext]:
    """Return the contexts of all sampled traces of a shard, in the order of the traces."""
    traces = list(run.reader.traces(shard))
    group_of = _problem_groups(traces)
    _add_upstream_rollouts(run, shard, spec, group_of)
    upstream = dict[str, Mapping[str, Annotation]]()
    if spec.depends_on:
        methods = [dependency.name for dependency in spec.depends_on]
        for trace, by_method in run.reader.annotated_traces(shard, methods, [TRACES]):
            upstream[trace.trace_id] = by_method
    services = run.services(spec)
    contexts = list[AnnotationContext]()
    for problem, trace in traces:
        group = group_of[trace.trace_id]
        contexts.append(
            AnnotationContext(
                services, spec.name, problem, trace, group, upstream.get(trace.trace_id)
            )
        )
    return contexts


def _problem_groups(traces: Sequence[tuple[Problem, Trace]]) -> Mapping[str, ProblemGroup]:
    """Return the group of traces of the same problem by trace id."""
    groups = dict[str, ProblemGroup]()
    group_of = dict[str, ProblemGroup]()
    for problem, trace in traces:
        group = groups.setdefault(problem.problem_id, ProblemGroup(traces={}))
        group.traces[trace.trace_id] = trace
        group_of[trace.trace_id] = group
    return group_of


def _add_upstream_rollouts(
    run: RunContext, shard: int, spec: AnnotatorSpec, group_of: Mapping[str, ProblemGroup]
) -> None:
    """Add the rollouts that the dependencies of an annotator sampled to the groups.

    Rollouts of another model are left out: they do not estimate what this annotator's engine would
    write.
    """
    for dependency in spec.depends_on:
        if dependency.uses_prover != spec.uses_prover:
            continue
        table = rollouts(dependency.name)
        if run.dataset.footer(table, shard) is None:
            continue  # a method that samples no rollouts has no such part
        for rollout in run.dataset.read_part(table, shard):
            # Rollouts from discovered traces have no group: only sampled traces are annotated.
            if rollout.trace_id in group_of:
                group_of[rollout.trace_id].rollouts.append(rollout)


def _problem_contexts(
    run: RunContext, spec: AnnotatorSpec, contexts: Sequence[AnnotationContext]
) -> Sequence[ProblemContext]:
    """Return the contexts grouped by problem, in the order of each problem's first trace."""
    by_problem = defaultdict[str, list[AnnotationContext]](list)
    for context in contexts:
        by_problem[context.problem.problem_id].append(context)
    services = run.services(spec)
    split_text = partial(split, how=run.plan.run_file.generate.split)
    problem_contexts = list[ProblemContext]()
    for contexts_of_problem in by_problem.values():
        problem_contexts.append(
            ProblemContext(services, split_text, spec.name, contexts_of_problem)
        )
    return problem_contexts


def _write_parts(
    run: RunContext,
    shard: int,
    method: str,
    part_key: str,
    contexts: Sequence[AnnotationContext],
    rows: Sequence[Annotation],
) -> None:
    sampled = list[Rollout]()
    replies = list[Critique]()
    for context in contexts:
        sampled.extend(context.sampled_rollouts)
        replies.extend(context.critiques)
    # A method that samples no rollouts, or asks no judge, has no such part.
    if sampled:
        run.dataset.write_part(rollouts(method), shard, sampled, part_key)
    if replies:
        run.dataset.write_part(critiques(method), shard, replies, part_key)
    run.dataset.write_part(annotations(method), shard, rows, part_key)
