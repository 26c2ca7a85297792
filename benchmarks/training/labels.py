"""Labels of several methods for an equal budget of generated tokens, as exported rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotators.base import Annotator, FittableLabeler, Labeler, ProblemAnnotator
from annotators.labelers.consensus import Consensus
from annotators.labelers.fusion import Fusion
from annotators.labelers.posterior import Posterior
from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from benchmarks.efficiency.pocket_traces import FORMAL
from benchmarks.training.pool import JUDGE, Pool
from stepmark.records import Annotation, Label, StepLabel, Trace
from storage.formats.base import Example, ExportedRow, exported_rows
from storage.formats.trl import Trl

__all__ = ["METHODS", "LabellingMethod", "Labels", "label_by_oracle", "label_for_budget"]

# Traces that are annotated together until the budget is spent.
TRACES_PER_BATCH = 16
# Adaptive search is fitted to a batch as to a shard of a run: all candidates are one shard.
ALL_TRACES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LabellingMethod:
    """Annotators, and the labeler that makes the label of a trace from their output."""

    annotators: Mapping[str, Annotator] = field(default_factory=dict)
    """By name. Formal checking, which generates no tokens, is always included."""
    labeler: Labeler | FittableLabeler | None = None
    """None: the label is the annotation by the only annotator."""
    with_judge: bool = False
    """Whether the judge of the pool annotates too."""
    batch: int = TRACES_PER_BATCH


MATH_SHEPHERD = LabellingMethod(annotators={"monte_carlo": MonteCarlo(rollouts=8)})
OMEGA_PRM = LabellingMethod(
    annotators={"binary_search": BinarySearch(rollouts=8, right_answers="search")}
)
METHODS: Mapping[str, LabellingMethod] = {
    "Math-Shepherd": MATH_SHEPHERD,
    "OmegaPRM": OMEGA_PRM,
    "adaptive search": LabellingMethod(
        annotators={"adaptive_search": AdaptiveSearch(evidence=(FORMAL,))},
        labeler=Posterior(),
        batch=ALL_TRACES,
    ),
    "consensus": LabellingMethod(
        annotators=MATH_SHEPHERD.annotators, labeler=Consensus(), with_judge=True
    ),
    "fusion": LabellingMethod(annotators=OMEGA_PRM.annotators, labeler=Fusion(), with_judge=True),
}
"""By the name in the table."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The training rows of one method, and what they cost. The fields are keys in the JSON."""

    tokens: int
    """The tokens that were generated to label the traces, those without a label included."""
    traces: int
    """The traces that the method annotated."""
    exact: float | None
    """The share of labels with the true first error, where the oracle knows it."""
    rows: Sequence[Mapping[str, Any]]
    """Rows of the format `trl`."""


@dataclass(frozen=True, kw_only=True)
class _Annotated:
    """A trace with the output of all annotators of a method."""

    trace: Trace
    annotations: Mapping[str, Annotation]
    tokens: int


async def label_for_budget(pool: Pool, method: LabellingMethod, budget: int) -> Labels:
    """Label candidates in their order until the budget of generated tokens is spent.

    The trace that exceeds the budget, and those after it, have no label.
    """
    candidates = pool.candidates()
    annotated = list[_Annotated]()
    tokens = 0
    for start in range(0, len(candidates), method.batch):
        for item in await _annotate(pool, method, candidates[start : start + method.batch]):
            tokens += item.tokens
            if tokens > budget:
                return _labels(pool, method, annotated)
            annotated.append(item)
    return _labels(pool, method, annotated)


def label_by_oracle(pool: Pool, traces: int | None = None) -> Labels:
    """Return the true labels of the first candidates, of all by default. They cost no tokens."""
    examples = list[Example]()
    for trace in pool.candidates()[:traces]:
        label = _label_of(pool.oracle[trace.trace_id])
        examples.append(_example(pool, trace, label))
    return Labels(
        tokens=0, traces=len(examples), exact=_exact(pool, examples), rows=_rows(examples)
    )


async def _annotate(
    pool: Pool, method: LabellingMethod, traces: Sequence[Trace]
) -> Sequence[_Annotated]:
    annotators = dict(method.annotators)
    if method.with_judge:
        judge = pool.job.plan.annotators[JUDGE].plugin
        assert not isinstance(judge, ProblemAnnotator)
        annotators[JUDGE] = judge
    ground_truth = pool.ground_truth(traces)
    annotations = {trace.trace_id: {FORMAL: pool.formal[trace.trace_id]} for trace in traces}
    for name, annotator in annotators.items():
        for result in await ground_truth.annotate(annotator):
            assert not result.annotation.error, result.annotation.error
            annotations[result.trace.trace_id][name] = result.annotation
    annotated = list[_Annotated]()
    for trace in traces:
        by_method = annotations[trace.trace_id]
        item = _Annotated(
            trace=trace,
            annotations=by_method,
            tokens=sum(annotation.cost.generated_tokens for annotation in by_method.values()),
        )
        annotated.append(item)
    return annotated


def _labels(pool: Pool, method: LabellingMethod, annotated: Sequence[_Annotated]) -> Labels:
    labeler = method.labeler
    if isinstance(labeler, FittableLabeler):
        labeler = labeler.fit((item.trace, item.annotations) for item in annotated)
    examples = list[Example]()
    for item in annotated:
        if labeler is None:
            (name,) = method.annotators
            label = _label_of(item.annotations[name])
        else:
            label = labeler.label(item.trace, item.annotations)
        if label.kept:
            examples.append(_example(pool, item.trace, label))
    return Labels(
        tokens=sum(item.tokens for item in annotated),
        traces=len(annotated),
        exact=_exact(pool, examples),
        rows=_rows(examples),
    )


def _label_of(annotation: Annotation) -> Label:
    """Return the label with the verdicts of an annotation, as `stepmark export --labels` does."""
    steps = [StepLabel(label=step.verdict, value=step.value) for step in annotation.steps]
    return Label(
        trace_id=annotation.trace_id,
        first_error=annotation.first_error,
        steps=tuple(steps),
        confidence=annotation.confidence,
        kept=annotation.first_error is not None,
        reason=f"annotation by {annotation.method}",
        sources=(annotation.method,),
    )


def _example(pool: Pool, trace: Trace, label: Label) -> Example:
    return Example(problem=pool.problems[trace.problem_id], trace=trace, label=label)


def _exact(pool: Pool, examples: Sequence[Example]) -> float | None:
    exact = list[bool]()
    for example in examples:
        truth = pool.oracle[example.trace.trace_id].first_error
        if truth is not None and example.label.first_error is not None:
            exact.append(example.label.first_error == truth)
    return sum(exact) / len(exact) if exact else None


def _rows(examples: Sequence[Example]) -> Sequence[Mapping[str, Any]]:
    rows = list[Mapping[str, Any]]()
    for item in exported_rows(Trl(), examples):
        if isinstance(item, ExportedRow):
            rows.append(item.row)
    return rows
