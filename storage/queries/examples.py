"""Labelled traces with their problems, joined shard by shard.

Shard i of every table belongs to the same problems, so memory holds one shard at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from stepmark.errors import ConfigError
from stepmark.records import (
    Annotation,
    Discovered,
    Label,
    Problem,
    StepLabel,
    Trace,
    Verdict,
    with_neutral_steps_as,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, Table, annotations, discovered
from storage.formats.base import Example, LeftOut

__all__ = ["examples"]


Values = Mapping[str, Sequence[float | None]]
"""One value per step, by trace id."""


class _RatedLabel(NamedTuple):
    """A label, and the steps that its source rates as neutral."""

    label: Label
    neutral_steps: tuple[int, ...] = ()


def examples(
    dataset: Dataset,
    *,
    labels_by: str = "",
    neutral: Verdict = Verdict.CORRECT,
    values: Values | None = None,
) -> Iterator[Example | LeftOut]:
    """Yield every trace with its problem and its label.

    Args:
        dataset: The dataset.
        labels_by: A method whose annotations are used as labels. They are kept unless the method
            failed on the trace. "" for the labels of the dataset.
        neutral: The label of steps that the method rates as neutral.
        values: Replace the values of the labels.

    Returns:
        For each trace an example, or the reason why its problem or label is missing.

    Raises:
        ConfigError: The dataset has no annotations by `labels_by`.
    """
    methods = dataset.methods("annotations") if labels_by else ()
    if labels_by and labels_by not in methods:
        listing = ", ".join(methods) or "none"
        raise ConfigError(
            f"{dataset.uri} has no annotations of '{labels_by}' to export; it has: {listing}"
        )
    joined = _joined_shards(dataset, labels_by, neutral)
    if values is None:
        return joined
    return (_with_values(item, values) for item in joined)


def _joined_shards(
    dataset: Dataset, labels_by: str, neutral: Verdict
) -> Iterator[Example | LeftOut]:
    problem_shards = set(dataset.shards(PROBLEMS))
    label_shards = set(dataset.shards(annotations(labels_by) if labels_by else LABELS))
    discovered_shards: dict[Table[Discovered], set[int]] = {}
    for method in dataset.methods("discovered"):
        table = discovered(method)
        discovered_shards[table] = set(dataset.shards(table))

    for shard in dataset.shards(TRACES):
        problems: dict[str, Problem] = {}
        if shard in problem_shards:
            for problem in dataset.read_part(PROBLEMS, shard):
                problems[problem.problem_id] = problem
        labels: Mapping[str, _RatedLabel] = {}
        if shard in label_shards:
            labels = _labels(dataset, shard, labels_by, neutral)
        for trace in _traces(dataset, shard, discovered_shards):
            yield _joined(trace, problems.get(trace.problem_id), labels.get(trace.trace_id))


def _traces(
    dataset: Dataset, shard: int, discovered_shards: Mapping[Table[Discovered], set[int]]
) -> Iterator[Trace]:
    """Yield the sampled or imported traces of a shard, then the discovered ones by method."""
    yield from dataset.read_part(TRACES, shard)
    for table, shards in discovered_shards.items():
        if shard in shards:
            yield from dataset.read_part(table, shard)


def _with_values(item: Example | LeftOut, values: Values) -> Example | LeftOut:
    if isinstance(item, LeftOut):
        return item
    step_labels = item.label.steps
    # A trace without steps has no row in a formula.
    step_values = values.get(item.trace.trace_id, [None] * len(step_labels))
    steps = tuple(
        replace(step, value=value) for step, value in zip(step_labels, step_values, strict=True)
    )
    return replace(item, label=replace(item.label, steps=steps))


def _labels(
    dataset: Dataset, shard: int, labels_by: str, neutral: Verdict
) -> Mapping[str, _RatedLabel]:
    labels: dict[str, _RatedLabel] = {}
    if labels_by:
        for annotation in dataset.read_part(annotations(labels_by), shard):
            label = _label_of(with_neutral_steps_as(annotation, neutral))
            labels[annotation.trace_id] = _RatedLabel(label, annotation.neutral_steps)
    else:
        for label in dataset.read_part(LABELS, shard):
            labels[label.trace_id] = _RatedLabel(label)
    return labels


def _label_of(annotation: Annotation) -> Label:
    """Return the label that has the verdicts and values of an annotation."""
    steps = [StepLabel(label=step.verdict, value=step.value) for step in annotation.steps]
    return Label(
        trace_id=annotation.trace_id,
        first_error=annotation.first_error,
        steps=tuple(steps),
        confidence=annotation.confidence,
        kept=annotation.error is None,
        reason=f"annotation of {annotation.method}",
        sources=(annotation.method,),
        fingerprint=annotation.fingerprint,
    )


def _joined(trace: Trace, problem: Problem | None, rated: _RatedLabel | None) -> Example | LeftOut:
    if problem is None:
        return LeftOut("its problem is missing")
    if rated is None:
        return LeftOut("it has no label")
    if len(rated.label.steps) != len(trace.steps):
        return LeftOut("its label is of another number of steps")
    return Example(
        problem=problem, trace=trace, label=rated.label, neutral_steps=rated.neutral_steps
    )
