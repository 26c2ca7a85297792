"""Verify a dataset: damaged parts, and tables that disagree with each other.

Every part and every file of stored completions is read completely. The shards are verified one by
one, so memory holds the ids of the problems, traces, rollouts and annotations, about 100 bytes for
each.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from stepmark.errors import DatasetError
from stepmark.plugin_files import id_of
from storage.completions.files import FOLDER as COMPLETIONS
from storage.completions.files import Damaged, list_files, read_table
from storage.dataset.dataset import LABEL_FILE, RUN_FILE, DamagedPartError, Dataset
from storage.dataset.parts import Footer
from storage.dataset.tables import (
    LABELS,
    PER_METHOD,
    PROBLEMS,
    REJECTED,
    TRACES,
    Table,
    annotations,
    is_made_by_people,
    is_method,
)

__all__ = ["Finding", "verify"]
from storage.labelling.homes import JOURNALS, journals_of
from storage.labelling.journal import Journal

# The column that identifies a row of a table, and the column that names a row of an earlier table.
_IDS: Mapping[str, str] = MappingProxyType(
    {
        "problems": "problem_id",
        "traces": "trace_id",
        "discovered": "trace_id",
        "rollouts": "rollout_id",
        "annotations": "trace_id",
        "labels": "trace_id",
    }
)
_REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "traces": "problem_id",
        "discovered": "problem_id",
        "rollouts": "trace_id",
        "critiques": "trace_id",
        "annotations": "trace_id",
        "labels": "trace_id",
    }
)
JOURNAL_REMEDY = "all other entries count: look at the labels of that rater, and keep the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of a dataset."""

    path: str
    """The file or folder, relative to the dataset."""
    fault: str
    """What is wrong, as one line."""
    remedy: str
    """How to repair it, as one line."""
    damaged_part: tuple[Table[Any], int] | None = None
    """The table and the shard of a part that cannot be read; None for other faults, and for labels
    of people, because no command can make them again."""

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}"


@dataclass(slots=True, kw_only=True)
class _Rows:
    """The ids in a part, row by row."""

    footer: Footer
    ids: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


_Shard = dict[Table[Any], _Rows]


def verify(dataset: Dataset) -> Iterator[Finding]:
    """Yield the faults of a dataset. A run that writes at the same time can cause some.

    Raises:
        DatasetError: The dataset is missing or cannot be read, or a newer version of Stepmark wrote
            it.
    """
    dataset.require()
    yield from _unknown_files(dataset)
    tables = {table: frozenset(dataset.shards(table)) for table in dataset.tables()}
    ids = _UniqueIds()
    earlier_methods = _earlier_methods(dataset)
    for shard in sorted(frozenset().union(*tables.values())):
        rows: _Shard = {}
        damaged = set[Table[Any]]()
        for table in tables:
            if shard not in tables[table]:
                continue
            try:
                rows[table] = _read(dataset, table, shard)
            except DamagedPartError:
                damaged.add(table)
                yield _damage(dataset, table, shard)
        yield from _shard_faults(dataset, shard, rows, damaged, earlier_methods)
        yield from ids.duplicates(dataset, shard, rows)
    yield from _damaged_completions(dataset)
    yield from _journal_faults(dataset)


def _journal_faults(dataset: Dataset) -> Iterator[Finding]:
    """Yield what is wrong with the journals of raters, which are in local datasets only."""
    if not dataset.folder.is_local:
        return
    for path in journals_of(dataset).values():
        journal = Journal(path)
        name = f"{JOURNALS}/{path.name}"
        try:
            journal.read()
        except DatasetError:
            remedy = "replace it by a file that you may read"
            yield Finding(path=name, fault="cannot be read", remedy=remedy)
            continue
        for fault in journal.faults():
            yield Finding(path=name, fault=fault, remedy=JOURNAL_REMEDY)
        waiting = len(journal.pending())
        if waiting:
            fault = f"{_count(waiting, 'finished label')} not stored as annotations"
            yield Finding(path=name, fault=fault, remedy="start `stepmark view`, which stores them")


def _damaged_completions(dataset: Dataset) -> Iterator[Finding]:
    """Yield the files of stored completions that cannot be read.

    `damaged_part` is never set: the completions have cost tokens, and another program may be able
    to recover some of them.
    """
    remedy = "replace it by a copy, or delete it: a run requests its completions again"
    for file in list_files(dataset.folder):
        try:
            read_table(dataset.folder, file.path)
        except Damaged as damage:
            yield Finding(path=file.path, fault=f"damaged: {damage}", remedy=remedy)
        except DatasetError:
            # A run that finishes a shard replaces its segments by a part.
            if dataset.folder.has(file.path):
                raise


def _read(dataset: Dataset, table: Table[Any], shard: int) -> _Rows:
    footer = dataset.footer(table, shard)
    if footer is None:
        raise dataset.damage_error(table, shard)
    rows = _Rows(footer=footer)
    id_column = _IDS.get(table.kind)
    reference_column = _REFERENCES.get(table.kind)
    for record in dataset.read_part(table, shard):
        if id_column is not None:
            rows.ids.append(getattr(record, id_column))
        if reference_column is not None:
            rows.references.append(getattr(record, reference_column))
    return rows


def _unknown_files(dataset: Dataset) -> Iterator[Finding]:
    remedy = "no command reads it: move it elsewhere"
    for table in dataset.tables():
        for path in dataset.other_files(table):
            yield Finding(path=path, fault="not a part of the table", remedy=remedy)
    for folder in (COMPLETIONS, *[table.folder for table in dataset.tables()]):
        for name in dataset.folder.entries_without_content(folder):
            yield Finding(path=f"{folder}/{name}", fault="not a file", remedy=remedy)
    for kind in PER_METHOD:
        for name in dataset.folder.folders(kind):
            if not is_method(name):
                fault = "not the name of a method"
                yield Finding(path=f"{kind}/{name}", fault=fault, remedy=remedy)
        for name in dataset.folder.files(kind):
            if not name.startswith("."):
                fault = "not in the folder of a method"
                yield Finding(path=f"{kind}/{name}", fault=fault, remedy=remedy)


def _damage(dataset: Dataset, table: Table[Any], shard: int) -> Finding:
    return Finding(
        path=dataset.path(table, shard),
        fault="damaged",
        remedy=_delete_and_remake(dataset, table),
        damaged_part=None if is_made_by_people(table) else (table, shard),
    )


def _delete_and_remake(dataset: Dataset, table: Table[Any]) -> str:
    if is_made_by_people(table):
        return (
            "labels of people cannot be made again: replace it by a copy, "
            "or delete it and import again if all of them were imported"
        )
    return f"delete it, and {_remake(dataset, table)}"


def _remake(dataset: Dataset, table: Table[Any]) -> str:
    """Return which command makes the parts of a table again."""
    if dataset.folder.has(RUN_FILE):
        if table in (PROBLEMS, REJECTED, LABELS):
            return "`stepmark run` makes it again"
        return "`stepmark run` makes it again from stored completions"
    if table in (PROBLEMS, REJECTED, TRACES) or not dataset.folder.has(LABEL_FILE):
        return "import again"
    return "`stepmark label` makes it again"


def _earlier_methods(dataset: Dataset) -> Collection[str]:
    """Return the methods that the dataset has of earlier run files.

    No run makes their annotations again, so they have none of traces that were added later.
    """
    run_files = dataset.read_run_files()
    if not run_files:
        return ()
    # The oracle is a part of the source of the problems and is not in [[annotators]].
    named = {"oracle"}
    for text in run_files:
        try:
            for table in tomllib.loads(text).get("annotators", []):
                named.add(table.get("name") or id_of(table["use"]))
        # It is unknown which methods a damaged run file has.
        except (ValueError, RecursionError, TypeError, AttributeError, KeyError):
            return ()
    return {*dataset.methods("annotations")} - named


def _shard_faults(
    dataset: Dataset,
    shard: int,
    rows: _Shard,
    damaged: set[Table[Any]],
    earlier_methods: Collection[str],
) -> Iterator[Finding]:
    """Yield the disagreements between the parts of one shard.

    Parts that a damaged part would have to agree with are not compared with it.
    """
    problem_ids = frozenset(rows[PROBLEMS].ids) if PROBLEMS in rows else frozenset[str]()
    trace_ids = frozenset[str]()
    for table in rows:
        if table.kind in ("traces", "discovered"):
            trace_ids = trace_ids.union(rows[table].ids)
    has_all_traces = not any(table.kind in ("traces", "discovered") for table in damaged)
    for table, table_rows in rows.items():
        if table.kind in ("traces", "discovered"):
            kind = "problems"
            known_ids = problem_ids
            can_compare = PROBLEMS not in damaged
        else:
            kind = "traces"
            known_ids = trace_ids
            can_compare = has_all_traces
        unknown = [name for name in table_rows.references if name not in known_ids]
        if unknown and can_compare:
            yield _disagreement(dataset, table, shard, f"{_count(len(unknown))} of unknown {kind}")
        if TRACES in rows and table.method not in earlier_methods:
            yield from _missing_rows(dataset, table, shard, rows)
        if table.kind == "annotations":
            yield from _sibling_faults(dataset, table, shard, rows)
        elif table.kind in PER_METHOD:
            yield from _orphan_fault(dataset, table, shard, {*rows, *damaged})


def _missing_rows(
    dataset: Dataset, table: Table[Any], shard: int, rows: _Shard
) -> Iterator[Finding]:
    """Yield a finding if a label or an annotation of a sampled trace is missing."""
    is_imported = rows[table].footer.part_key == rows[TRACES].footer.part_key
    if table.kind == "annotations":
        # People need not annotate all traces.
        if is_imported or is_made_by_people(table):
            return
    elif table != LABELS:
        return
    missing = frozenset(rows[TRACES].ids).difference(rows[table].ids)
    if missing:
        fault = f"{_count(len(missing), 'trace')} without a row"
        yield _disagreement(dataset, table, shard, fault)


def _sibling_faults(
    dataset: Dataset, table: Table[Any], shard: int, rows: _Shard
) -> Iterator[Finding]:
    """Yield the parts that differ from those that the annotations were written with."""
    siblings = rows[table].footer.tables
    for kind in ("rollouts", "critiques", "discovered"):
        sibling = Table(kind, object, table.method)
        sibling_rows = _rows_of(rows, kind, table.method)
        path = dataset.path(sibling, shard)
        if kind not in siblings:
            # Parts of earlier versions name no siblings, and have some.
            if siblings and sibling_rows is not None:
                yield _disagreement(dataset, table, shard, f"written without {path}")
        elif sibling_rows is None:
            yield _disagreement(dataset, table, shard, f"written with {path}, which is missing")
        else:
            footer = sibling_rows.footer
            if (footer.rows, footer.content) != siblings[kind]:
                fault = f"written with other rows of {path}"
                yield _disagreement(dataset, table, shard, fault)


def _rows_of(rows: _Shard, kind: str, method: str | None) -> _Rows | None:
    for table, table_rows in rows.items():
        if (table.kind, table.method) == (kind, method):
            return table_rows
    return None


def _orphan_fault(
    dataset: Dataset, table: Table[Any], shard: int, existing: set[Table[Any]]
) -> Iterator[Finding]:
    assert table.method is not None
    if annotations(table.method) not in existing:
        fault = f"there is no {dataset.path(annotations(table.method), shard)}"
        yield _disagreement(dataset, table, shard, fault)


def _disagreement(dataset: Dataset, table: Table[Any], shard: int, fault: str) -> Finding:
    remedy = _delete_and_remake(dataset, table)
    return Finding(path=dataset.path(table, shard), fault=fault, remedy=remedy)


class _UniqueIds:
    """The ids of all shards that were verified, to find duplicates."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str | None], set[str]] = {}

    def duplicates(self, dataset: Dataset, shard: int, rows: _Shard) -> Iterator[Finding]:
        """Yield the parts with an id that a row before has, and add the ids."""
        for table, table_rows in rows.items():
            # The ids of sampled and discovered traces must differ too.
            name = (table.kind, table.method)
            if table.kind == "discovered":
                name = (TRACES.kind, None)
            seen = self.seen.setdefault(name, set())
            duplicates = 0
            for row_id in table_rows.ids:
                if row_id in seen:
                    duplicates += 1
                seen.add(row_id)
            if duplicates:
                fault = f"{_count(duplicates)} with the {_IDS[table.kind]} of another row"
                yield _disagreement(dataset, table, shard, fault)


def _count(number: int, noun: str = "row") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
