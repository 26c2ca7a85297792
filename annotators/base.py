"""The protocols that annotation methods and labelers implement.

An annotator is ordinary async code for one trace. Thousands of traces are in flight on one event
loop, so a method that awaits its own rollouts, such as a binary search, never leaves the engine
idle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from pydantic import Field

from annotators.context import AnnotationContext, ProblemContext
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Label, Problem, Trace

__all__ = [
    "AnnotatedTrace",
    "Annotator",
    "CostBound",
    "DependsOnAnnotators",
    "FitsPerShard",
    "FittableLabeler",
    "HasCostBound",
    "Labeler",
    "Method",
    "ProblemAnnotator",
    "SampleCount",
]

# At least one completion, since none would decide nothing; at most the distance between the seeds
# of two requests, since more would share seeds with the next request.
SampleCount = Annotated[int, Field(ge=1, le=SEED_SPACING)]


class Annotator(Protocol):
    """An annotation method that works on one trace at a time."""

    needs: ClassVar[frozenset[str]]
    """The engines that the method uses: a subset of {"engine", "judge_engine", "judge_engines"}.

    "engine" writes and scores rollouts. "judge_engine" is a single judge, "judge_engines" are one
    or more; a method declares at most one of the two.
    """

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Annotate one trace.

        `annotators.running.run` fills in `method`, `fingerprint` and `cost`, and records failures.
        """
        ...


@runtime_checkable
class ProblemAnnotator(Protocol):
    """An annotation method that works on all traces of one problem and may discover more.

    All problems of a shard are in flight at once. A discovered trace is a trace of the dataset, but
    the other methods of the run do not annotate it: they work on the sampled traces.
    """

    needs: ClassVar[frozenset[str]]
    """The engines that the method uses, as in `Annotator`."""

    async def annotate_problem(
        self, problem: Problem, traces: Sequence[Trace], context: ProblemContext
    ) -> Sequence[Annotation]:
        """Annotate the traces of one problem.

        Args:
            problem: The problem.
            traces: The sampled traces of the problem that have at least one step.
            context: Samples rollouts and creates discovered traces.

        Returns:
            One annotation for each of `traces` and of `context.discovered`, in any order.
        """
        ...


Method = Annotator | ProblemAnnotator
"""A plugin that annotates, by trace or by problem."""


@runtime_checkable
class DependsOnAnnotators(Protocol):
    """An annotator that reads the output of other annotators. They run first."""

    evidence: tuple[str, ...]
    """The names of the methods that it depends on."""


@runtime_checkable
class FitsPerShard(Protocol):
    """An annotator that is fitted to all traces of a shard before it annotates any of them."""

    async def fit(self, shard: Sequence[AnnotationContext]) -> Annotator:
        """Return the annotator fitted to these traces.

        Rollouts that fitting samples are stored in the context of their trace.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CostBound:
    """The most that a method requests for one problem; see `HasCostBound`."""

    rollouts: int = 0
    replies: int = 0
    """Replies of judges."""
    reply_tokens: int = 0
    """The most tokens that all replies together can have."""
    scores: int = 0
    """Scoring calls, which generate no tokens."""


@runtime_checkable
class HasCostBound(Protocol):
    """A method that declares what it costs at most; `stepmark plan` prints it before a run."""

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return the most that the method requests for one problem.

        Args:
            steps: The number of steps of each trace of the problem.
            judges: The number of engines that judge for the method.
        """
        ...


AnnotatedTrace = tuple[Trace, Mapping[str, Annotation]]
"""A trace and its annotations by method name."""


class Labeler(Protocol):
    """A rule that turns the annotations of a trace into its training label, without an engine."""

    def check(self, methods: Sequence[str]) -> None:
        """Check that a run with these methods can yield a label.

        Raises:
            ConfigError: No trace could ever be labelled.
        """
        ...

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """Return the label of one trace from its annotations by method name.

        The pipeline fills in `fingerprint`.
        """
        ...


@runtime_checkable
class FittableLabeler(Protocol):
    """A labeler that must be fitted to all traces of a dataset before it labels any of them."""

    @property
    def gold(self) -> str:
        """The method whose annotations are used as ground truth; "" for none."""
        ...

    def check(self, methods: Sequence[str]) -> None:
        """Check that a run with these methods can yield a label; see `Labeler.check`."""
        ...

    def fit(self, cases: Iterable[AnnotatedTrace]) -> Labeler:
        """Return the labeler fitted to these traces; deterministic in its input."""
        ...
