"""Problems from your own JSONL, Parquet, CSV or JSON files, by format name or column mapping."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from problems.sources.base import TabularSource
from problems.tabular.problem_stream import limited
from problems.tabular.readers import expand, read
from stepmark.records import Problem, Rejected

__all__ = ["Files"]


@dataclass(frozen=True, kw_only=True)
class Files(TabularSource):
    """The problems in files.

    `paths` may contain globs; the suffix of a file determines its format. The other fields are
    those of `TabularSource`. Rows are streamed. Memory grows only with the set of problem ids that
    detects duplicates, by about 110 bytes per problem.
    """

    paths: tuple[str, ...]
    """Files: JSONL, Parquet, CSV or JSON; patterns such as `train/*.jsonl` are allowed."""

    version: ClassVar[int] = 1

    def problems(self) -> Iterator[Problem | Rejected]:
        """Yield all problems, file by file.

        Raises:
            InputError: A file is missing, cannot be read or lacks a mapped column.
        """
        # A missing file is reported before the first row is read, hence outside the generator.
        paths = expand(self.paths)
        return limited(self._problems_in_files(paths), self.limit)

    def _problems_in_files(self, paths: Sequence[Path]) -> Iterator[Problem | Rejected]:
        # One set for all files: a problem in two files is a duplicate in the second.
        seen: set[str] = set()
        for path in paths:
            yield from self._problems_in(read(path), path.name, seen)
