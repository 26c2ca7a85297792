"""A dataset to label, and raters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepmark.records import Annotation, StepAnnotation, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations
from storage.labelling.label_store import LabelStore, LabelTarget
from storage.labelling.raters import method_of
from tests.storage.samples import PROBLEM, TRACE

__all__ = ["human", "labels_of", "target_of", "write_traces"]


def write_traces(dataset: Dataset, shards: int = 2, per_shard: int = 3) -> None:
    """Write traces with the ids `t0-0`, `t0-1` and so on, and three steps each."""
    for shard in range(shards):
        problem = replace(PROBLEM, problem_id=f"p{shard}")
        traces = []
        for number in range(per_shard):
            traces.append(
                replace(
                    TRACE,
                    trace_id=f"t{shard}-{number}",
                    problem_id=problem.problem_id,
                    steps=("a ", "b ", "c"),
                )
            )
        dataset.write_part(PROBLEMS, shard, [problem], "f")
        dataset.write_part(TRACES, shard, traces, "f")


def target_of(
    store: LabelStore, trace_id: str = "t0-0", rater: str = "ann", mode: str = "blind"
) -> LabelTarget:
    """Return a trace as a page hands it to the store."""
    for shard in store.source.shards(TRACES):
        for trace in store.source.matching_records(TRACES, shard, "trace_id", [trace_id]):
            annotation = store.annotation(method_of(rater), shard, trace)
            return LabelTarget(
                rater=rater, trace=trace, shard=shard, mode=mode, annotation=annotation
            )
    raise AssertionError(trace_id)


def labels_of(dataset: Dataset, method: str) -> Sequence[Annotation]:
    """Return the annotations of a method."""
    return list(dataset.read(annotations(method)))


def human(first_error: int | None, *verdicts: Verdict, **changes: Any) -> Annotation:
    """Return a label with a rationale for each step."""
    steps = list[StepAnnotation]()
    for index, verdict in enumerate(verdicts):
        steps.append(StepAnnotation(verdict=verdict, rationale=f"because {index}"))
    return Annotation(
        trace_id="t", method="human", first_error=first_error, steps=tuple(steps), **changes
    )
