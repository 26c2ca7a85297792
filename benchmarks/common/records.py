"""The problems of a source and the records of a dataset, as the benchmarks look them up."""

from collections.abc import Mapping, Sequence

from problems.base import Source
from stepmark.records import Annotation, Problem
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, annotations

__all__ = ["annotations_by_trace", "problems_by_id", "problems_in"]


def problems_in(source: Source) -> Sequence[Problem]:
    """Return the problems of a source, without its rejected rows."""
    return [row for row in source.problems() if isinstance(row, Problem)]


def problems_by_id(dataset: Dataset) -> Mapping[str, Problem]:
    """Return the problems of a dataset by id."""
    return {problem.problem_id: problem for problem in dataset.read(PROBLEMS)}


def annotations_by_trace(dataset: Dataset, method: str) -> Mapping[str, Annotation]:
    """Return the annotations of a method by trace id."""
    return {row.trace_id: row for row in dataset.read(annotations(method))}
