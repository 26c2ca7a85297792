"""The tables of a dataset: which record each holds, and in which folder its parts lie."""

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from stepmark.errors import ConfigError
from stepmark.records import (
    Annotation,
    Critique,
    Discovered,
    Label,
    Problem,
    Rejected,
    Rollout,
    Trace,
)
from storage.dataset.schemas import SCHEMAS

__all__ = [
    "LABELS",
    "PER_METHOD",
    "PROBLEMS",
    "REJECTED",
    "TRACES",
    "WHOLE",
    "Table",
    "annotations",
    "critiques",
    "discovered",
    "is_method",
    "rollouts",
]

Record = TypeVar("Record")

# A method names a folder and SQL columns, so it is an identifier and nothing else.
_METHOD = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Table(Generic[Record]):
    """One table. What methods write has one table per method, the rest a single one.

    Shard i of every table speaks of the problems of shard i of `problems`, so shards can be joined one by one.
    """

    kind: str
    record: type[Record]
    method: str | None = None

    def __post_init__(self) -> None:
        if self.method is not None and not is_method(self.method):
            raise ConfigError(
                f"{self.method[:80]!r} cannot name a method; use a-z, 0-9 and _, at most 63, a letter first"
            )

    @property
    def folder(self) -> str:
        """Where its parts lie, relative to the dataset: `traces`, `annotations/judge`."""
        return self.kind if self.method is None else f"{self.kind}/{self.method}"

    @property
    def schema(self) -> pa.Schema:
        """The schema of every one of its parts."""
        return SCHEMAS[self.kind]


PROBLEMS = Table("problems", Problem)
REJECTED = Table("rejected", Rejected)
TRACES = Table("traces", Trace)
LABELS = Table("labels", Label)

WHOLE: tuple[Table[Any], ...] = (PROBLEMS, REJECTED, TRACES, LABELS)
PER_METHOD = ("rollouts", "critiques", "discovered", "annotations")


def rollouts(method: str) -> Table[Rollout]:
    """The rollouts that a method asked for; `ConfigError` when `method` is no plain name."""
    return Table("rollouts", Rollout, method)


def critiques(method: str) -> Table[Critique]:
    """What the judges that a method asked wrote; `ConfigError` when `method` is no plain name."""
    return Table("critiques", Critique, method)


def discovered(method: str) -> Table[Discovered]:
    """The traces that a method discovered; `ConfigError` when `method` is no plain name."""
    return Table("discovered", Discovered, method)


def annotations(method: str) -> Table[Annotation]:
    """What a method says of each trace; `ConfigError` when `method` is no plain name."""
    return Table("annotations", Annotation, method)


def is_method(name: str) -> bool:
    """Whether a name can be a method's: it is safe as a folder and as part of a column's name."""
    return _METHOD.fullmatch(name) is not None
