"""Traces with known first errors, on which methods are compared, and the results of a method."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from annotators.base import Annotator, DependsOnAnnotators, FitsPerShard
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, ProblemGroup, RunServices
from annotators.running import run
from benchmarks.efficiency.rollout_cache import CachedTraceEngine, RolloutCache
from stepmark.records import Annotation, Critique, Problem, Trace, Verdict

__all__ = ["GroundTruth", "MethodResults", "TraceResult"]

# The id of the method in its seeds: the same for all, so that a method's name changes no result.
METHOD = "benchmark"


@dataclass(frozen=True, kw_only=True)
class TraceResult:
    """The annotation of one trace by a method, and the true first error."""

    trace: Trace
    first_error: int
    """The true first error; -1 for none."""
    solvable: bool
    """Whether some sample solves the problem."""
    annotation: Annotation
    critiques: Sequence[Critique]
    """The replies of judges that the method asked."""


@dataclass(frozen=True, kw_only=True)
class MethodResults:
    """The annotations of all traces by one method."""

    traces: Sequence[TraceResult]
    cpu_seconds: float
    """CPU time of the method. Completions come from a cache and take almost none."""

    @classmethod
    def merge(cls, parts: Iterable["MethodResults"]) -> "MethodResults":
        """Return the results on the traces of several ground truths as one."""
        traces = list[TraceResult]()
        cpu_seconds = 0.0
        for part in parts:
            traces += part.traces
            cpu_seconds += part.cpu_seconds
        return cls(traces=traces, cpu_seconds=cpu_seconds)


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """Traces with known first errors, all samples of their problems, and a cache of rollouts."""

    services: RunServices
    cache: RolloutCache
    problems: Mapping[str, Problem]
    traces: Sequence[Trace]
    """All samples of the problems. Methods can use them as siblings of the annotated traces."""
    first_errors: Mapping[str, int]
    """The true first errors of the traces that are annotated, by trace id, in this order."""
    annotations: Mapping[str, Mapping[str, Annotation]]
    """Annotations that methods can depend on, by trace id and method."""

    async def evaluate(self, method: Annotator) -> MethodResults:
        """Annotate all traces concurrently; a method that fits parameters fits them to all samples.

        The traces are annotated twice: the first pass fills the cache, so that the second one
        measures the CPU time of the method alone.
        """
        await self.annotate(method)
        started = time.process_time()
        results = await self.annotate(method)
        return MethodResults(traces=results, cpu_seconds=time.process_time() - started)

    async def annotate(self, method: Annotator) -> Sequence[TraceResult]:
        """Annotate all traces concurrently, in the order of `first_errors`."""
        dependencies: Sequence[str] = ()
        if isinstance(method, DependsOnAnnotators):
            dependencies = method.evidence
        contexts = self._contexts(dependencies)
        if isinstance(method, FitsPerShard):
            method = await method.fit(list(contexts.values()))
        annotated = [contexts[trace_id] for trace_id in self.first_errors]
        annotations = await gather_or_cancel(
            run(method, METHOD, "", context.problem, context.trace, context)
            for context in annotated
        )
        results = list[TraceResult]()
        for context, annotation in zip(annotated, annotations, strict=True):
            result = TraceResult(
                trace=context.trace,
                first_error=self.first_errors[context.trace.trace_id],
                solvable=Verdict.CORRECT in context.siblings,
                annotation=annotation,
                critiques=context.critiques,
            )
            results.append(result)
        return results

    def _contexts(self, dependencies: Sequence[str]) -> Mapping[str, AnnotationContext]:
        groups = {problem_id: ProblemGroup(traces={}) for problem_id in self.problems}
        for trace in self.traces:
            groups[trace.problem_id].traces[trace.trace_id] = trace
        contexts = dict[str, AnnotationContext]()
        for trace in self.traces:
            engine = CachedTraceEngine(engine=self.cache, trace_id=trace.trace_id)
            annotations = self.annotations[trace.trace_id]
            contexts[trace.trace_id] = AnnotationContext(
                replace(self.services, engine=engine),
                METHOD,
                self.problems[trace.problem_id],
                trace,
                groups[trace.problem_id],
                {name: annotations[name] for name in dependencies},
            )
        return contexts
