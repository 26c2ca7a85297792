"""The annotation stage of a run: have one method annotate all traces of one shard."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from annotators.base import FitsPerShard, ProblemAnnotator
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, ProblemContext, ProblemGroup
from annotators.running import run as annotate_trace
from annotators.running import run_problem as annotate_problem
from engines.base import Engine
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.human_labels import set_aside_human_labels
from pipelines.run.resume import annotations_part_key, current_footer
from pipelines.run.run_context import RunContext
from pipelines.run.transient import is_transient
from stepmark.records import Annotation, Critique, Discovered, Problem, Rollout, Trace
from storage.dataset.parts import Footer
from storage.dataset.tables import (
    LABELS,
    TRACES,
    Table,
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
    part_key = await asyncio.to_thread(annotations_part_key, run, spec, shard)
    footer = await asyncio.to_thread(current_footer, run, annotations(method), shard, part_key)
    if footer is not None:
        # Discovered traces have annotations, too, but only sampled ones are expected.
        sampled = await asyncio.to_thread(run.reader.footer, TRACES, shard)
        run.meter.skip(method, sampled.rows)
        return
    # Read in a thread, like every file: the event loop serves the requests of all shards.
    contexts = await asyncio.to_thread(_annotation_contexts, run, shard, spec)
    if isinstance(spec.plugin, ProblemAnnotator):
        problem_contexts = _problem_contexts(run, spec, contexts)
        rows = await _annotate_by_problem(run, spec, problem_contexts)
        new_traces = list[Discovered]()
        all_contexts = list[AnnotationContext]()
        for context in problem_contexts:
            new_traces.extend(context.discovered)
            all_contexts.extend(context.all_contexts)
        output = _Output(rows=rows, contexts=all_contexts, discovered=new_traces)
    else:
        rows = await _annotate_by_trace(run, spec, contexts)
        output = _Output(rows=rows, contexts=contexts, discovered=None)
    await run.flush_completions()
    await asyncio.to_thread(_write_parts, run, shard, method, part_key, output)


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
        run.meter.add_rollouts(annotation.cost)
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
            run.meter.add_rollouts(annotation.cost)
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
    write. An annotator without an engine gets those of the engine that wrote the traces.
    """
    engine = spec.engine or run.plan.engine
    for dependency in spec.depends_on:
        if not _is_same_model(dependency.engine, engine):
            continue
        table = rollouts(dependency.name)
        if run.dataset.footer(table, shard) is None:
            continue  # a method that samples no rollouts has no such part
        for rollout in run.dataset.read_part(table, shard):
            # Rollouts from discovered traces have no group: only sampled traces are annotated.
            if rollout.trace_id in group_of:
                group_of[rollout.trace_id].rollouts.append(rollout)


def _is_same_model(engine: Engine | None, other: Engine | None) -> bool:
    """Return whether two engines are the same model.

    Identities are compared, as in fingerprints, because two names can stand for one model.
    """
    if engine is None or other is None:
        return False
    return engine is other or engine.identity == other.identity


def _problem_contexts(
    run: RunContext, spec: AnnotatorSpec, contexts: Sequence[AnnotationContext]
) -> Sequence[ProblemContext]:
    """Return the contexts grouped by problem, in the order of each problem's first trace."""
    by_problem = defaultdict[str, list[AnnotationContext]](list)
    for context in contexts:
        by_problem[context.problem.problem_id].append(context)
    services = run.services(spec)
    problem_contexts = list[ProblemContext]()
    for contexts_of_problem in by_problem.values():
        problem_contexts.append(ProblemContext(services, spec.name, contexts_of_problem))
    return problem_contexts


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What a method returned for a shard."""

    rows: Sequence[Annotation]
    contexts: Sequence[AnnotationContext]
    """The contexts of all annotated traces, which hold the rollouts and critiques."""
    discovered: Sequence[Discovered] | None
    """The traces that the method added; None for a method that cannot add traces."""


def _write_parts(run: RunContext, shard: int, method: str, part_key: str, output: _Output) -> None:
    """Write the tables of a method for one shard; the annotations come last and list the others."""
    sampled = list[Rollout]()
    replies = list[Critique]()
    for context in output.contexts:
        # Sorted, because rollouts arrive in an order that depends on the engine: equal rollouts
        # give an equal part.
        sampled.extend(sorted(context.sampled_rollouts, key=_prefix_and_seed))
        replies.extend(context.critiques)
    footers = dict[str, Footer]()
    # A method that samples no rollouts, asks no judge or adds no traces has no such part. One that
    # an earlier version of the method left is removed.
    siblings: Sequence[tuple[Table[Any], Sequence[Any] | None]] = (
        (discovered(method), output.discovered),
        (rollouts(method), sampled or None),
        (critiques(method), replies or None),
    )
    if shard in run.dataset.shards(discovered(method)):
        set_aside_human_labels(run, shard, {discovered(method): output.discovered or ()})
    for table, records in siblings:
        if records is None:
            run.dataset.remove_part(table, shard)
        else:
            footers[table.kind] = run.dataset.write_part(table, shard, records, part_key)
    failed = sum(row.error is not None for row in output.rows)
    failed += sum(map(is_transient, sampled))
    failed += sum(map(is_transient, replies))
    failed += sum(context.transient_findings for context in output.contexts)
    earlier = run.dataset.footer(annotations(method), shard)
    written = run.dataset.write_part(
        annotations(method), shard, output.rows, part_key, tables=footers, failed=failed
    )
    if earlier is not None and earlier.content != written.content:
        # They contradict the new annotations, and another stage makes them again without cost.
        run.dataset.remove_part(LABELS, shard)


def _prefix_and_seed(rollout: Rollout) -> tuple[int, int]:
    return rollout.prefix_steps, rollout.seed
