"""Ground to compare methods on: traces whose first errors are known, every sample of their problems, and a bank of completions."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from annotators.base import Annotator, DependsOnAnnotators, FitsPerShard
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, ProblemGroup, RunServices
from annotators.running import run
from benchmarks._bank import Account, Bank
from stepmark.records import Annotation, Problem, Trace, Verdict

__all__ = ["Found", "Ground", "Labelled"]

METHOD = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a method says of one trace, and the truth."""

    trace: Trace
    truth: int
    solvable: bool
    """Whether some sample solves the problem."""
    said: Annotation


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a method says of all traces, and what it took of the processor, in seconds: the model is a bank, and takes nothing."""

    found: Sequence[Found]
    own_seconds: float

    @classmethod
    def of(cls, grounds: Iterable["Labelled"]) -> "Labelled":
        """What the method says of the traces of several grounds."""
        each = list(grounds)
        return cls(
            found=[found for one in each for found in one.found],
            own_seconds=sum(one.own_seconds for one in each),
        )


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The traces that are labelled are those in `truth`, in its order; the others are known to whoever looks at a problem's samples."""

    services: RunServices
    bank: Bank
    problems: Mapping[str, Problem]
    traces: Sequence[Trace]
    truth: Mapping[str, int]
    said: Mapping[str, Mapping[str, Annotation]]
    """By trace: what methods say that others may hear."""

    async def labelled(self, method: Annotator) -> Labelled:
        """Have a method label the traces, all of them at once; what it learns it learns from all samples."""
        await self._label(
            method
        )  # so that what is not in the bank yet, and no processor time is wanted for, is written
        started = time.process_time()
        found = await self._label(method)
        return Labelled(found=found, own_seconds=time.process_time() - started)

    async def _label(self, method: Annotator) -> Sequence[Found]:
        context = self._tools(method.evidence if isinstance(method, DependsOnAnnotators) else ())
        if isinstance(method, FitsPerShard):
            method = await method.fit(list(context.values()))
        wanted = [context[trace_id] for trace_id in self.truth]
        said = await gather_or_cancel(
            run(method, METHOD, "", one.problem, one.trace, one) for one in wanted
        )
        return [
            Found(
                trace=one.trace,
                truth=self.truth[one.trace.trace_id],
                solvable=Verdict.CORRECT in one.siblings,
                said=annotation,
            )
            for one, annotation in zip(wanted, said, strict=True)
        ]

    def _tools(self, hears: Sequence[str]) -> Mapping[str, AnnotationContext]:
        families: dict[str, ProblemGroup] = {
            problem_id: ProblemGroup(traces={}) for problem_id in self.problems
        }
        for trace in self.traces:
            families[trace.problem_id].traces[trace.trace_id] = trace
        return {
            trace.trace_id: AnnotationContext(
                replace(self.services, engine=Account(engine=self.bank, trace_id=trace.trace_id)),
                METHOD,
                self.problems[trace.problem_id],
                trace,
                families[trace.problem_id],
                {name: self.said[trace.trace_id][name] for name in hears},
            )
            for trace in self.traces
        }
