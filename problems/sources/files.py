"""Problems from your own files: JSONL, Parquet, CSV or JSON, in a known shape or with a map of your columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import ClassVar

from problems.tabular.columns import with_columns
from problems.tabular.problem_formats import needed_columns, shape_of
from problems.tabular.problem_stream import check_limit, limited, problems_of
from problems.tabular.readers import expand, read
from stepmark.records import Problem, Rejected

__all__ = ["Files"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The problems of files; globs are allowed, and a file's ending tells its format.

    `shape` is one of gsm8k, gsm8k_solutions, math, processbench, or empty for columns called `question` and `answer`. `fields` maps
    our names (question, answer, reference_solution, domain, license, source, metadata.NAME) to yours, dots reach into objects.
    Rows are streamed; what grows with their number is the set of ids by which duplicates are known, about 110 bytes a problem.
    """

    paths: tuple[str, ...]
    shape: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    domain: str = ""
    license: str = ""
    limit: int | None = None
    """At most so many problems, not counting rejected rows."""

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        shape_of(self.shape, self.fields)
        check_limit(self.limit)

    def problems(self) -> Iterator[Problem | Rejected]:
        """All problems, file by file; `InputError` when a file is missing, cannot be read or lacks a mapped field."""
        seen: set[str] = set()
        parts = (self._of_file(path, seen) for path in expand(self.paths))
        return limited(chain.from_iterable(parts), self.limit)

    def _of_file(self, path: Path, seen: set[str]) -> Iterator[Problem | Rejected]:
        shape = shape_of(self.shape, self.fields)
        shape = replace(
            shape, source=path.name, license=self.license, domain=self.domain or shape.domain
        )
        return problems_of(
            with_columns(read(path), needed_columns(shape, self.fields)), shape, seen
        )
