"""Execution of one annotator: costs, provenance and failures are recorded here and nowhere else."""

import time
from collections.abc import Sequence
from dataclasses import replace

from annotators.base import Annotator, ProblemAnnotator
from annotators.concurrency import unwrap_exception_group
from annotators.context import AnnotationContext, ProblemContext
from annotators.failures import abstention, failure, should_propagate, validate
from stepmark.records import Annotation, Problem, Trace

__all__ = ["run", "run_problem"]


async def run(
    annotator: Annotator,
    method: str,
    fingerprint: str,
    problem: Problem,
    trace: Trace,
    context: AnnotationContext,
) -> Annotation:
    """Annotate one trace and record any exception in `Annotation.error`.

    Retryable engine errors and errors that the user can fix propagate instead.
    """
    started = time.perf_counter()
    # Fitting to the shard may have waited before; that time is not part of the annotation.
    waited_before = context.wait_clock.seconds
    try:
        annotation = await _annotate(annotator, problem, trace, context)
    except Exception as error:  # a plugin may raise anything
        if should_propagate(error):
            raise
        annotation = failure(trace, error)
    cost = replace(
        context.cost,
        waited_seconds=context.wait_clock.seconds - waited_before,
        seconds=time.perf_counter() - started,
    )
    return replace(annotation, method=method, fingerprint=fingerprint, cost=cost)


async def _annotate(
    annotator: Annotator, problem: Problem, trace: Trace, context: AnnotationContext
) -> Annotation:
    if not trace.steps:
        return abstention(trace, "no steps")
    annotation = await unwrap_exception_group(annotator.annotate(problem, trace, context))
    return validate(trace, annotation)


async def run_problem(
    annotator: ProblemAnnotator, method: str, fingerprint: str, context: ProblemContext
) -> Sequence[Annotation]:
    """Annotate all traces of one problem and the traces that the method discovers.

    Exceptions are handled as in `run`: a failure is recorded in every annotation.

    Returns:
        One annotation per sampled trace, followed by one per discovered trace.
    """
    started = time.perf_counter()
    try:
        annotations = await _annotate_problem(annotator, context)
    except Exception as error:  # as in `run`
        if should_propagate(error):
            raise
        annotations = [failure(item.trace, error) for item in context.all_contexts]
    # The traces share the times equally, because they cannot be attributed to one of them.
    waited_seconds = context.wait_clock.seconds / len(annotations)
    seconds = (time.perf_counter() - started) / len(annotations)
    recorded = list[Annotation]()
    for annotation, item in zip(annotations, context.all_contexts, strict=True):
        cost = replace(item.cost, seconds=seconds, waited_seconds=waited_seconds)
        recorded.append(replace(annotation, method=method, fingerprint=fingerprint, cost=cost))
    return recorded


async def _annotate_problem(
    annotator: ProblemAnnotator, context: ProblemContext
) -> Sequence[Annotation]:
    annotations = dict[str, Annotation]()
    traces = list[Trace]()
    with_steps = list[Trace]()
    for item in context.contexts:
        traces.append(item.trace)
        if item.trace.steps:
            with_steps.append(item.trace)
        else:
            annotations[item.trace.trace_id] = abstention(item.trace, "no steps")
    if with_steps:
        problem = context.contexts[0].problem
        returned = await unwrap_exception_group(
            annotator.annotate_problem(problem, with_steps, context)
        )
        for annotation in returned:
            annotations[annotation.trace_id] = annotation
    # The method has filled `discovered` while it ran.
    traces.extend(context.discovered)
    # Exactly one annotation per trace: a missing one would leave the trace unlabelled, and one of
    # an unknown trace could not be stored.
    if annotations.keys() != {trace.trace_id for trace in traces}:
        raise ValueError(f"{len(annotations)} annotations for {len(traces)} traces")
    return [validate(trace, annotations[trace.trace_id]) for trace in traces]
