"""What the parts of a shard hold together: traces beside their problems, and what methods say of each."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from annotators.base import AnnotatedTrace
from stepmark.errors import DatasetError
from stepmark.records import Annotation, Problem, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, Table, annotations, discovered

__all__ = ["Contents"]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A dataset, shard by shard, as a run reads it; `DatasetError` where a part that must be whole is not."""

    dataset: Dataset
    explorers: Collection[str]
    """The methods that discover traces."""

    def stamp(self, table: Table[Any], shard: int) -> str:
        """The fingerprint of a part that must stand."""
        footer = self.dataset.footer(table, shard)
        if footer is None:
            raise DatasetError(
                f"{self.dataset.uri}/{table.folder} has no whole part {shard}: run again to make it"
            )
        return footer.fingerprint

    def tables_of_traces(self) -> Sequence[Table[Any]]:
        """The run's own traces, and those that its methods discovered."""
        return [TRACES, *map(discovered, self.explorers)]

    def traces(self, shard: int, *tables: Table[Any]) -> Iterator[tuple[Problem, Trace]]:
        """The traces of a shard, each beside its problem: the run's own, or all of these tables."""
        problems = {
            problem.problem_id: problem for problem in self.dataset.read_part(PROBLEMS, shard)
        }
        for trace in chain.from_iterable(
            self.dataset.read_part(table, shard) for table in tables or [TRACES]
        ):
            if trace.problem_id not in problems:
                raise DatasetError(
                    f"{self.dataset.uri}: part {shard} of problems has none of id {trace.problem_id}; import or run again"
                )
            yield problems[trace.problem_id], trace

    def cases(
        self, shard: int, methods: Sequence[str], *tables: Table[Any]
    ) -> Iterator[AnnotatedTrace]:
        """The traces of a shard, those that were discovered too or those of these tables, and what the methods say of each."""
        said: dict[str, dict[str, Annotation]] = defaultdict(dict)
        for method in methods:
            for annotation in self.dataset.read_part(annotations(method), shard):
                said[annotation.trace_id][method] = annotation
        for table in tables or self.tables_of_traces():
            for trace in self.dataset.read_part(table, shard):
                yield trace, said[trace.trace_id]
