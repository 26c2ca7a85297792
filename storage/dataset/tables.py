"""The tables of a dataset: the record type and the folder of each."""

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
    StaleLabel,
    Trace,
)
from storage.dataset.schemas import SCHEMAS

__all__ = [
    "LABELS",
    "ORACLE",
    "PER_METHOD",
    "PROBLEMS",
    "REJECTED",
    "SINGLE_TABLES",
    "STALE_LABELS",
    "TRACES",
    "Table",
    "annotations",
    "critiques",
    "discovered",
    "is_human",
    "is_made_by_people",
    "is_method",
    "rollouts",
]

Record = TypeVar("Record")

ORACLE = "oracle"
"""The method of true verdicts, which some problem sources know."""
HUMAN = "human"
"""The method of labels that people made."""
# The name of a method is also the name of a folder and part of SQL column names, so it must be a
# plain identifier.
_METHOD = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Table(Generic[Record]):
    """One table: a single one, or one per method for the records that methods write.

    Shard i of every table belongs to the problems in shard i of `problems`, so tables can be joined
    shard by shard.
    """

    kind: str
    record: type[Record]
    method: str | None = None

    def __post_init__(self) -> None:
        if self.method is not None and not is_method(self.method):
            raise ConfigError(
                f"{self.method[:80]!r} cannot name a method;"
                " use a-z, 0-9 and _, at most 63, a letter first"
            )

    @property
    def folder(self) -> str:
        """Return the folder of the parts, relative to the dataset: `annotations/judge`."""
        return self.kind if self.method is None else f"{self.kind}/{self.method}"

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the parts."""
        return SCHEMAS[self.kind]


PROBLEMS = Table("problems", Problem)
REJECTED = Table("rejected", Rejected)
TRACES = Table("traces", Trace)
LABELS = Table("labels", Label)
STALE_LABELS = Table("stale_labels", StaleLabel)

SINGLE_TABLES: tuple[Table[Any], ...] = (PROBLEMS, REJECTED, TRACES, LABELS, STALE_LABELS)
# The kinds that have one table per method.
PER_METHOD = ("rollouts", "critiques", "discovered", "annotations")


def rollouts(method: str) -> Table[Rollout]:
    """Return the table of the rollouts that a method sampled.

    Raises:
        ConfigError: `method` is not a valid name; so do the functions below.
    """
    return Table("rollouts", Rollout, method)


def critiques(method: str) -> Table[Critique]:
    """Return the table of the judge replies that a method requested."""
    return Table("critiques", Critique, method)


def discovered(method: str) -> Table[Discovered]:
    """Return the table of the traces that a method discovered."""
    return Table("discovered", Discovered, method)


def annotations(method: str) -> Table[Annotation]:
    """Return the table of the annotations that a method made."""
    return Table("annotations", Annotation, method)


def is_human(method: str) -> bool:
    """Check that a method is a person: `human`, or `human_NAME` for one of several raters."""
    return method == HUMAN or method.startswith(f"{HUMAN}_")


def is_made_by_people(table: Table[Any]) -> bool:
    """Check that a table contains labels of people, which no command can make again."""
    if table == STALE_LABELS:
        return True
    return table.kind == "annotations" and table.method is not None and is_human(table.method)


def is_method(name: str) -> bool:
    """Check that a name is valid for a method: safe as a folder and in a column name."""
    return _METHOD.fullmatch(name) is not None
