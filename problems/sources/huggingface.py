"""Problems from a data set on the Hugging Face Hub, or in a folder laid out like one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from datasets import load_dataset

from problems.tabular.columns import with_columns
from problems.tabular.problem_formats import needed_columns, shape_of
from problems.tabular.problem_stream import check_limit, limited, problems_of
from problems.tabular.readers import Row
from stepmark.errors import InputError
from stepmark.records import Problem, Rejected

__all__ = ["HuggingFace"]


@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """The problems of one split of a data set, streamed: `name` is a Hub id (openai/gsm8k) or the path of a folder.

    `shape` and `fields` are those of `files`. Pin `revision` to a commit, or a repeated run may meet other rows. Code that a data
    set brings along is never run. A file that the `datasets` library cannot parse ends the run, as the library gives no row after it.
    """

    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
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
        """All problems of the split; `InputError` when the data set is not found, not reachable or lacks a mapped field."""
        shape = shape_of(self.shape, self.fields)
        shape = replace(
            shape, source=self.name, license=self.license, domain=self.domain or shape.domain
        )
        rows = with_columns(self._rows(), needed_columns(shape, self.fields))
        return limited(problems_of(rows, shape, set()), self.limit)

    def _rows(self) -> Iterator[Row]:
        try:
            for number, value in enumerate(self._open(), start=1):
                yield Row(self.name, number, value)
        except Exception as error:
            raise InputError(f"{self._described()} cannot be read: {_first_line(error)}") from error

    def _open(self) -> Iterable[Mapping[str, Any]]:
        opened: Iterable[Mapping[str, Any]] = load_dataset(
            self.name, self.config, split=self.split, revision=self.revision, streaming=True
        )
        return opened

    def _described(self) -> str:
        config = f" ({self.config})" if self.config else ""
        return f"the data set {self.name}{config}, split {self.split},"


def _first_line(error: Exception) -> str:
    """What the library says, on one line: its own error types are many and change between versions."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
