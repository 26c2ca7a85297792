"""Read a dataset shard by shard, joining traces with their problems and annotations."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.base import AnnotatedTrace
from stepmark.errors import DatasetError
from stepmark.records import Annotation, Problem, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.parts import Footer
from storage.dataset.tables import PROBLEMS, TRACES, Table, annotations, discovered

__all__ = ["DatasetReader"]


@dataclass(frozen=True, kw_only=True)
class DatasetReader:
    """A dataset as the stages of a run read it.

    Methods raise `DatasetError` if a part that an earlier stage must have written is missing or
    damaged.
    """

    dataset: Dataset
    discovering_methods: Sequence[str]
    """The methods of the run that add discovered traces."""

    def content(self, table: Table[Any], shard: int) -> str:
        """Return the digest of the rows of a part that must exist."""
        return self.footer(table, shard).content

    def footer(self, table: Table[Any], shard: int) -> Footer:
        """Return the footer of a part that must exist."""
        footer = self.dataset.footer(table, shard)
        if footer is None:
            raise DatasetError(
                f"{self.dataset.uri}/{table.folder} has no complete part {shard}: "
                "run again to make it"
            )
        return footer

    def trace_tables(self) -> Sequence[Table[Any]]:
        """Return the table of sampled traces, followed by those of discovered traces."""
        return [TRACES, *map(discovered, self.discovering_methods)]

    def traces(
        self, shard: int, tables: Sequence[Table[Any]] = (TRACES,)
    ) -> Iterator[tuple[Problem, Trace]]:
        """Yield the traces of a shard in the order of the tables, each with its problem."""
        # The traces of shard i belong to the problems of shard i, so one part is enough.
        problems = dict[str, Problem]()
        for problem in self.dataset.read_part(PROBLEMS, shard):
            problems[problem.problem_id] = problem
        for table in tables:
            for trace in self.dataset.read_part(table, shard):
                if trace.problem_id not in problems:
                    raise DatasetError(
                        f"{self.dataset.uri}: part {shard} of problems has no problem with id "
                        f"{trace.problem_id}; import or run again"
                    )
                yield problems[trace.problem_id], trace

    def annotated_traces(
        self, shard: int, methods: Sequence[str], tables: Sequence[Table[Any]]
    ) -> Iterator[AnnotatedTrace]:
        """Yield the traces of a shard, each with its annotations by method."""
        annotations_of = defaultdict[str, dict[str, Annotation]](dict)
        for method in methods:
            for annotation in self.dataset.read_part(annotations(method), shard):
                annotations_of[annotation.trace_id][method] = annotation
        for table in tables:
            for trace in self.dataset.read_part(table, shard):
                yield trace, annotations_of[trace.trace_id]
