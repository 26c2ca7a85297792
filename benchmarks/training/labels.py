"""Labels of several methods for an equal budget of generated tokens, as exported rows.

Rows of the format `trl` train a process reward model, those of `verification` a verifier.
"""

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
from stepmark.records import Annotation, Critique, Label, StepLabel, Trace
from storage.formats.base import Example, ExportedRow, TraceFormat, exported_rows
from storage.formats.trl import Trl
from storage.formats.verification import Verification

__all__ = [
    "BY_ORACLE",
    "METHODS",
    "LabellingMethod",
    "Labels",
    "critiques_for_budget",
    "label_by_oracle",
    "label_for_budget",
]

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
    """None: the label is the annotation by the only annotator, or by the oracle without one."""
    with_judge: bool = False
    """Whether the judge of the pool annotates too."""
    batch: int = TRACES_PER_BATCH


MATH_SHEPHERD = LabellingMethod(annotators={"monte_carlo": MonteCarlo(rollouts=8)})
OMEGA_PRM = LabellingMethod(
    annotators={"binary_search": BinarySearch(rollouts=8, right_answers="search")}
)
BY_ORACLE = LabellingMethod()
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
    """Rows of the exported format."""


@dataclass(frozen=True, kw_only=True)
class _Annotated:
    """A trace with the output of all annotators of a method."""

    trace: Trace
    annotations: Mapping[str, Annotation]
    critiques: Sequence[Critique]
    tokens: int


async def label_for_budget(pool: Pool, method: LabellingMethod, budget: int) -> Labels:
    """Label candidates in their order until the budget of generated tokens is spent.

    The trace that exceeds the budget, and those after it, have no label.
    """
    annotated = await _annotate_for_budget(pool, method, budget, with_critiques=False)
    return _labels(pool, method, annotated, Trl())


async def critiques_for_budget(pool: Pool, method: LabellingMethod, budget: int) -> Labels:
    """Label candidates as `label_for_budget`, and export the judge's replies that agree.

    The judge replies to each trace, even if the method does not use its verdicts. The tokens of
    these replies are a part of the budget.
    """
    annotated = await _annotate_for_budget(pool, method, budget, with_critiques=True)
    return _labels(pool, method, annotated, Verification())


def label_by_oracle(pool: Pool, traces: int | None = None) -> Labels:
    """Return the true labels of the first candidates, of all by default. They cost no tokens."""
    annotated = list[_Annotated]()
    for trace in pool.candidates()[:traces]:
        annotated.append(_Annotated(trace=trace, annotations={}, critiques=(), tokens=0))
    return _labels(pool, BY_ORACLE, annotated, Trl())


async def _annotate_for_budget(
    pool: Pool, method: LabellingMethod, budget: int, *, with_critiques: bool
) -> Sequence[_Annotated]:
    candidates = pool.candidates()
    annotated = list[_Annotated]()
    tokens = 0
    for start in range(0, len(candidates), method.batch):
        batch = await _annotate(pool, method, candidates[start : start + method.batch])
        for number, item in enumerate(batch):
            # The batch of adaptive search is all candidates: the judge replies only to the traces
            # that the budget may allow.
            if with_critiques and not method.with_judge and number % TRACES_PER_BATCH == 0:
                stop = number + TRACES_PER_BATCH
                batch[number:stop] = await _add_critiques(pool, batch[number:stop])
                item = batch[number]
            tokens += item.tokens
            if tokens > budget:
                return annotated
            annotated.append(item)
    return annotated


async def _annotate(
    pool: Pool, method: LabellingMethod, traces: Sequence[Trace]
) -> list[_Annotated]:
    annotated = list[_Annotated]()
    for trace in traces:
        formal = {FORMAL: pool.formal[trace.trace_id]}
        item = _Annotated(trace=trace, annotations=formal, critiques=(), tokens=0)
        annotated.append(item)
    for name, annotator in method.annotators.items():
        annotated = await _add_annotations(pool, name, annotator, annotated)
    if method.with_judge:
        annotated = await _add_critiques(pool, annotated)
    return annotated


async def _add_critiques(pool: Pool, annotated: Sequence[_Annotated]) -> list[_Annotated]:
    judge = pool.job.plan.annotators[JUDGE].plugin
    assert not isinstance(judge, ProblemAnnotator)
    return await _add_annotations(pool, JUDGE, judge, annotated)


async def _add_annotations(
    pool: Pool, name: str, annotator: Annotator, annotated: Sequence[_Annotated]
) -> list[_Annotated]:
    ground_truth = pool.ground_truth([item.trace for item in annotated])
    results = await ground_truth.annotate(annotator)
    extended = list[_Annotated]()
    for item, result in zip(annotated, results, strict=True):
        assert result.trace == item.trace, "results have the order of the traces"
        assert not result.annotation.error, result.annotation.error
        extended_item = _Annotated(
            trace=item.trace,
            annotations={**item.annotations, name: result.annotation},
            critiques=[*item.critiques, *result.critiques],
            tokens=item.tokens + result.annotation.cost.generated_tokens,
        )
        extended.append(extended_item)
    return extended


def _labels(
    pool: Pool, method: LabellingMethod, annotated: Sequence[_Annotated], exporter: TraceFormat
) -> Labels:
    examples = list[Example]()
    for item, label in zip(annotated, _labels_of(pool, method, annotated), strict=True):
        if label.kept:
            example = Example(
                problem=pool.problems[item.trace.problem_id],
                trace=item.trace,
                label=label,
                critiques=item.critiques,
            )
            examples.append(example)
    rows = list[Mapping[str, Any]]()
    for exported in exported_rows(exporter, examples):
        if isinstance(exported, ExportedRow):
            rows.append(exported.row)
    return Labels(
        tokens=sum(item.tokens for item in annotated),
        traces=len(annotated),
        exact=_exact(pool, examples),
        rows=rows,
    )


def _labels_of(
    pool: Pool, method: LabellingMethod, annotated: Sequence[_Annotated]
) -> Sequence[Label]:
    if method is BY_ORACLE:
        return [_label_of(pool.oracle[item.trace.trace_id]) for item in annotated]
    labeler = method.labeler
    if labeler is None:
        (name,) = method.annotators
        return [_label_of(item.annotations[name]) for item in annotated]
    if isinstance(labeler, FittableLabeler):
        labeler = labeler.fit((item.trace, item.annotations) for item in annotated)
    return [labeler.label(item.trace, item.annotations) for item in annotated]


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


def _exact(pool: Pool, examples: Sequence[Example]) -> float | None:
    exact = list[bool]()
    for example in examples:
        truth = pool.oracle[example.trace.trace_id].first_error
        if truth is not None and example.label.first_error is not None:
            exact.append(example.label.first_error == truth)
    return sum(exact) / len(exact) if exact else None
