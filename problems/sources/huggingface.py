"""Problems from a dataset on the Hugging Face Hub, or in a folder with the same layout."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import load_dataset

from problems.sources.base import TabularSource
from problems.tabular.problem_stream import limited
from problems.tabular.readers import Row
from stepmark.errors import InputError
from stepmark.records import Problem, Rejected

__all__ = ["HuggingFace"]


@dataclass(frozen=True, kw_only=True)
class HuggingFace(TabularSource):
    """The problems in one split of a dataset, streamed.

    `name` is a Hub id (openai/gsm8k) or the path of a folder. The fields that are not declared here
    are those of `TabularSource`. Pin `revision` to a commit, or a repeated run may read other rows.
    Code that belongs to a dataset is never executed. A file that the `datasets` library cannot
    parse ends the run, because the library yields no row after it.
    """

    name: str
    """Hub id, such as `openai/gsm8k`, or a folder in that layout."""
    config: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Split of the data set."""
    revision: str | None = None
    """Commit. Pin it, so that a repeated run reads the same rows."""

    version: ClassVar[int] = 1

    def problems(self) -> Iterator[Problem | Rejected]:
        """Yield all problems of the split.

        Raises:
            InputError: The dataset does not exist, is not reachable or lacks a mapped column.
        """
        return limited(self._problems_in(self._rows(), self.name, set()), self.limit)

    def _rows(self) -> Iterator[Row]:
        try:
            for number, value in enumerate(self._open(), start=1):
                yield Row(self.name, number, value)
        # The library defines many exception types, which change between its versions.
        except Exception as error:
            raise InputError(
                f"{self._description()} cannot be read: {_first_line(error)}"
            ) from error

    def _open(self) -> Iterable[Mapping[str, Any]]:
        dataset: Iterable[Mapping[str, Any]] = load_dataset(
            self.name, self.config, split=self.split, revision=self.revision, streaming=True
        )
        return dataset

    def _description(self) -> str:
        name = self.name
        if self.config:
            name += f" ({self.config})"
        return f"the dataset {name}, split {self.split},"


def _first_line(error: Exception) -> str:
    message = str(error).strip() or type(error).__name__
    return message.splitlines()[0]
