"""SQL over a dataset: DuckDB, restricted so that a query can only read the dataset's parts.

No connection can access files outside the dataset, the network, extensions, Python variables or the
configuration, and there is nothing to write to. `query` accepts untrusted SQL: one SELECT with
limits on its length, time, memory, threads and disk, and a result of bounded size (see `limits`).
"""

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import Table
from storage.queries.alignment import NO_ALIGNMENT, Alignment, align, is_current
from storage.queries.empty_views import empty_view_statements
from storage.queries.limits import MAX_SQL_CHARS, MEMORY_MIB, settings, thread_count
from storage.queries.listing import TableParts, completion_locations, files_of, list_parts
from storage.queries.mount import Mount
from storage.queries.sources import literal, readable
from storage.queries.views import create_steps_view, kinds_read, reads_steps, view_statements

__all__ = ["MAX_RESULT_BYTES", "RunQuery", "connect", "query", "query_session"]

MAX_RESULT_BYTES = 1 << 30
"""The maximum size of a result of `query`, as Arrow batches."""

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class RunQuery(Protocol):
    """A function that returns the result of a query."""

    def __call__(self, sql: str, parameters: Mapping[str, str] = NO_PARAMETERS, /) -> pa.Table:
        """Return the result of a query, in which `$name` is the parameter of that name."""
        ...


class ReplacedError(OSError):
    """Parts that were put side by side have been replaced, so rows of two versions were joined."""


# Errors of a query whose files were replaced or removed after they had been listed.
FILE_ERRORS = (duckdb.IOException, duckdb.PermissionException, OSError)
OUT_OF_MEMORY = (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError)
# The result is checked against its limit after each batch.
_BATCH_ROWS = 10_000
_INTERRUPT_INTERVAL_S = 0.1
# DuckDB ends most queries within this time after an interrupt.
_GRACE_S = 5.0


def connect(dataset: Dataset) -> duckdb.DuckDBPyConnection:
    """Open a connection with the views of `storage.queries.views`, which the caller must close.

    The views include the parts that exist now. A part that is replaced later is read in its new
    version; a removed part makes queries fail. DuckDB does not verify checksums, so those of all
    parts on the disk are verified first.

    Raises:
        DatasetError: The dataset is missing, or a part is damaged.
    """
    dataset.require()
    parts = list_parts(dataset)
    _check_parts(dataset, parts, frozenset(SCHEMAS))
    completions = completion_locations(dataset)
    return _connect(dataset, parts, completions, MEMORY_MIB, _scratch_folder())


def query(
    dataset: Dataset,
    sql: str,
    timeout_s: float = 60.0,
    *,
    parameters: Mapping[str, str] = NO_PARAMETERS,
    memory_mib: int = MEMORY_MIB,
    on_overdue: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> pa.Table:
    """Return the result of one SELECT (or DESCRIBE, SHOW, SUMMARIZE, VALUES, FROM).

    Column names can be repeated, as in SQL.

    Args:
        dataset: The dataset.
        sql: The statement.
        timeout_s: The time after which the query is interrupted.
        parameters: The values of `$name` in the statement, by name. They are never a part of it.
        memory_mib: What it may hold in memory; the rest is written to the disk (see `limits`).
        on_overdue: Called in another thread if the query cannot be interrupted, as within some
            functions of DuckDB. It can only end the process.
        stop: Interrupts the query when it is set by another thread.

    Raises:
        ConfigError: The SQL is another statement, invalid or too long, exceeds a limit, or has a
            result larger than `MAX_RESULT_BYTES`.
    """
    files: frozenset[tuple[str, int]] | None = None
    while True:
        try:
            with query_session(
                dataset,
                timeout_s,
                memory_mib=memory_mib,
                on_overdue=on_overdue,
                stop=stop,
                kinds=kinds_read(sql),
            ) as run_query:
                return run_query(sql, parameters)
        except (ConfigError, DatasetError) as error:
            if not isinstance(error.__cause__, FILE_ERRORS):
                raise
            # A run replaces and removes files while the query reads them. If none of them has
            # changed since the last attempt, the error has another cause.
            current = files_of(dataset)
            if current == files:
                raise
            files = current


@contextmanager
def query_session(
    dataset: Dataset,
    timeout_s: float | None = None,
    *,
    memory_mib: int = MEMORY_MIB,
    on_overdue: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
    kinds: Set[str] = frozenset(SCHEMAS),
) -> Iterator[RunQuery]:
    """Open one connection for several queries: connecting takes longer than most queries.

    The checksums of a table are verified before the first query that reads it.

    Args:
        dataset: The dataset.
        timeout_s: The time after which a query is interrupted. None for queries of Stepmark itself,
            which can take minutes on a large dataset.
        memory_mib: As for `query`.
        on_overdue: As for `query`.
        stop: As for `query`.
        kinds: The kinds of tables that the queries can read (see `kinds_read`). All other tables
            have no rows.

    Raises:
        DatasetError: The dataset is missing, or a part is damaged.
    """
    dataset.require()
    parts = list_parts(dataset, kinds)
    completions = completion_locations(dataset) if "completions" in kinds else ()
    checked_kinds: set[str] = set()
    scratch = _scratch_folder()

    def end_process() -> None:
        if on_overdue is not None:
            # DuckDB removes the folder only with the connection.
            shutil.rmtree(scratch, ignore_errors=True)
            on_overdue()

    with _connect(dataset, parts, completions, memory_mib, scratch) as connection:

        @cache
        def align_steps() -> Alignment:
            alignment = align(dataset, parts)
            connection.execute(create_steps_view(parts, alignment))
            return alignment

        def run_query(sql: str, parameters: Mapping[str, str] = NO_PARAMETERS, /) -> pa.Table:
            unchecked_kinds = kinds_read(sql) - checked_kinds
            _check_parts(dataset, parts, unchecked_kinds)
            checked_kinds.update(unchecked_kinds)
            alignment = align_steps() if reads_steps(sql) else NO_ALIGNMENT
            with _deadline(connection, timeout_s, end_process, stop) as passed:
                try:
                    answer = _run_query(connection, sql, parameters)
                    if not is_current(dataset, alignment):
                        raise ReplacedError("parts were replaced while it ran; try again")
                    return answer
                # While rows are fetched, Arrow converts DuckDB's errors to OSError.
                except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
                    reason = _one_line(error)
                    if timeout_s is not None and passed.is_set():
                        reason = f"it took longer than {timeout_s:g} s"
                    elif isinstance(error, OUT_OF_MEMORY):
                        reason = f"it needs more memory than {memory_mib} MiB and more disk"
                    raise ConfigError(f"the query failed: {reason}") from error

        yield run_query


def _check_parts(dataset: Dataset, parts: TableParts, kinds: frozenset[str]) -> None:
    """Verify the checksums of the parts on the disk, which queries of these kinds read.

    Raises:
        DatasetError: A part is damaged.
    """
    if not dataset.folder.is_local:
        return
    to_check = list[tuple[Table[Any], int]]()
    for table, table_parts in parts.items():
        if table.kind in kinds:
            to_check.extend((table, part.shard) for part in table_parts)
    with ThreadPoolExecutor(thread_count()) as pool:
        for _ in pool.map(lambda part: dataset.check_part(*part), to_check):
            pass


def _scratch_folder() -> Path:
    """Return a name for the folder that DuckDB creates when a query exceeds the memory."""
    return Path(tempfile.gettempdir(), f"stepmark-{uuid.uuid4().hex}")


def _connect(
    dataset: Dataset,
    parts: TableParts,
    completions: Sequence[str],
    memory_mib: int,
    scratch: Path,
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config=settings(memory_mib, scratch))
    try:
        _restrict(connection, dataset, parts, completions)
        _create_views(connection, parts, completions)
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise DatasetError(
            f"{dataset.uri} cannot be queried: {_one_line(error)};"
            " delete damaged parts and run again"
        ) from error
    return connection


def _run_query(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, str]
) -> pa.Table:
    statement = _only_select(connection, sql)
    relation = connection.sql(statement, params=dict(parameters) or None)
    return _bounded(relation.to_arrow_reader(_BATCH_ROWS))


def _restrict(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    parts: TableParts,
    completions: Sequence[str],
) -> None:
    """Allow the connection to read the files of the dataset and nothing else."""
    part_locations = list(completions)
    for table_parts in parts.values():
        part_locations.extend(part.location for part in table_parts)
    # DuckDB checks both the path in the query and the path to which its pattern resolves.
    allowed_paths = sorted({*part_locations, *map(readable, part_locations)})
    if not dataset.folder.is_local:
        connection.execute("SET enable_external_file_cache = false")
        connection.register_filesystem(Mount(dataset.folder))
    connection.execute(f"SET allowed_paths = {literal(allowed_paths)}")
    for setting in (
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "python_enable_replacements",
    ):
        connection.execute(f"SET {setting} = false")
    # Last, because the allowed paths cannot be changed without external access.
    connection.execute("SET enable_external_access = false")


def _create_views(
    connection: duckdb.DuckDBPyConnection, parts: TableParts, completions: Sequence[str]
) -> None:
    for statement in empty_view_statements(connection):
        connection.execute(statement)
    for statement in view_statements(parts, completions):
        connection.execute(statement)


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    # A lone surrogate, which the shell can pass, cannot be passed on to DuckDB.
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the query is not UTF-8") from error
    if len(sql) > MAX_SQL_CHARS:
        raise ConfigError(f"the query has more than {MAX_SQL_CHARS:,} characters")
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise ConfigError(f"a query is one SELECT statement; this is {kinds}")
    return statements[0]


def _bounded(reader: pa.RecordBatchReader) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        size += batch.nbytes
        if size > MAX_RESULT_BYTES:
            raise ConfigError(
                f"the answer is larger than {MAX_RESULT_BYTES >> 20} MiB; add a LIMIT or aggregate"
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=reader.schema)


@contextmanager
def _deadline(
    connection: duckdb.DuckDBPyConnection,
    seconds: float | None,
    on_overdue: Callable[[], None],
    stop: threading.Event | None,
) -> Iterator[threading.Event]:
    """Interrupt the connection after some seconds, and then set the event that is yielded.

    Interrupt it also when `stop` is set. Call `on_overdue` once if the block has not ended soon
    after. None is no deadline.
    """
    passed = threading.Event()
    if seconds is None and stop is None:
        yield passed
        return
    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    done = threading.Event()

    def watch() -> None:
        overdue: float | None = None
        while not done.wait(_INTERRUPT_INTERVAL_S):
            now = time.monotonic()
            if now >= deadline:
                passed.set()
            elif stop is None or not stop.is_set():
                continue
            # An interrupt that arrives before the query has started is lost, so it is repeated.
            connection.interrupt()
            if overdue is None:
                overdue = now + _GRACE_S
            elif now > overdue:
                overdue = float("inf")
                on_overdue()

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield passed
    finally:
        done.set()
        watcher.join()


def _one_line(error: Exception) -> str:
    """Return DuckDB's message without the excerpt of the query that follows it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
