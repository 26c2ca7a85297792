"""Labelled traces, joined shard by shard: shard i of every table speaks of the same problems, so memory holds one shard."""

from collections.abc import Iterator

from stepmark.records import Label, Problem, Trace
from storage.dataset import Dataset
from storage.formats.base import Example, LeftOut
from storage.tables import LABELS, PROBLEMS, TRACES

__all__ = ["examples"]


def examples(dataset: Dataset) -> Iterator[Example | LeftOut]:
    """Every trace with its problem and its label, or the reason why one of them is missing."""
    problem_shards, label_shards = set(dataset.shards(PROBLEMS)), set(dataset.shards(LABELS))
    for shard in dataset.shards(TRACES):
        problems = {each.problem_id: each for each in dataset.read_part(PROBLEMS, shard)} if shard in problem_shards else {}
        labels = {each.trace_id: each for each in dataset.read_part(LABELS, shard)} if shard in label_shards else {}
        for trace in dataset.read_part(TRACES, shard):
            yield _joined(trace, problems.get(trace.problem_id), labels.get(trace.trace_id))


def _joined(trace: Trace, problem: Problem | None, label: Label | None) -> Example | LeftOut:
    if problem is None:
        return LeftOut("its problem is missing")
    if label is None:
        return LeftOut("it has no label")
    if len(label.steps) != len(trace.steps):
        return LeftOut("its label is of another number of steps")
    return Example(problem=problem, trace=trace, label=label)
