"""Labelled traces, joined shard by shard: shard i of every table speaks of the same problems, so memory holds one shard."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stepmark.errors import ConfigError
from stepmark.records import Annotation, Discovered, Label, Problem, StepLabel, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, Table, annotations, discovered
from storage.formats.base import Example, LeftOut

__all__ = ["examples"]


Values = Mapping[str, Sequence[float | None]]
"""One value per step of each trace, by its id."""


def examples(
    dataset: Dataset, *, labels_by: str = "", values: Values | None = None
) -> Iterator[Example | LeftOut]:
    """Every trace with its problem and its label, or the reason why one of them is missing.

    With `labels_by`, what that method says of a trace stands for its label, kept unless the method failed on it; `ConfigError` where the
    dataset has no annotations by that method. `values` take the place of the labels' own.
    """
    if labels_by and labels_by not in (known := dataset.methods("annotations")):
        raise ConfigError(
            f"{dataset.uri} has no annotations of '{labels_by}' to export; it has: {', '.join(known) or 'none'}"
        )
    found = _joined_shards(dataset, labels_by)
    return found if values is None else (_with_values(item, values) for item in found)


def _joined_shards(dataset: Dataset, labels_by: str) -> Iterator[Example | LeftOut]:
    problem_shards, label_shards = (
        set(dataset.shards(PROBLEMS)),
        set(dataset.shards(annotations(labels_by) if labels_by else LABELS)),
    )
    found = {
        table: set(dataset.shards(table))
        for table in map(discovered, dataset.methods("discovered"))
    }
    for shard in dataset.shards(TRACES):
        problems = (
            {each.problem_id: each for each in dataset.read_part(PROBLEMS, shard)}
            if shard in problem_shards
            else {}
        )
        labels = _labels(dataset, shard, labels_by) if shard in label_shards else {}
        for trace in _traces(dataset, shard, found):
            yield _joined(trace, problems.get(trace.problem_id), labels.get(trace.trace_id))


def _traces(
    dataset: Dataset, shard: int, found: Mapping[Table[Discovered], set[int]]
) -> Iterator[Trace]:
    """The run's own, then those that methods discovered, by table and its shards."""
    yield from dataset.read_part(TRACES, shard)
    for table, shards in found.items():
        if shard in shards:
            yield from dataset.read_part(table, shard)


def _with_values(item: Example | LeftOut, values: Values) -> Example | LeftOut:
    if isinstance(item, LeftOut):
        return item
    known = values.get(item.trace.trace_id, [None] * len(item.label.steps))
    steps = tuple(
        replace(step, value=value) for step, value in zip(item.label.steps, known, strict=True)
    )
    return replace(item, label=replace(item.label, steps=steps))


def _labels(dataset: Dataset, shard: int, labels_by: str) -> Mapping[str, Label]:
    if labels_by:
        return {
            each.trace_id: _label_of(each)
            for each in dataset.read_part(annotations(labels_by), shard)
        }
    return {each.trace_id: each for each in dataset.read_part(LABELS, shard)}


def _label_of(said: Annotation) -> Label:
    return Label(
        trace_id=said.trace_id,
        first_error=said.first_error,
        steps=tuple(StepLabel(label=step.verdict, value=step.value) for step in said.steps),
        confidence=said.confidence,
        kept=said.error is None,
        reason=f"as {said.method} says",
        sources=(said.method,),
        fingerprint=said.fingerprint,
    )


def _joined(trace: Trace, problem: Problem | None, label: Label | None) -> Example | LeftOut:
    if problem is None:
        return LeftOut("its problem is missing")
    if label is None:
        return LeftOut("it has no label")
    if len(label.steps) != len(trace.steps):
        return LeftOut("its label is of another number of steps")
    return Example(problem=problem, trace=trace, label=label)
