"""SQL over a dataset: DuckDB, restricted so that a query can only read the dataset's parts.

No connection can access files outside the dataset, the network, extensions, Python variables or the
configuration, and there is nothing to write to. `query` accepts untrusted SQL: one SELECT, with a
time limit and a result of bounded size.
"""

import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import ENTRIES, SCHEMAS
from storage.queries.listing import TableParts, completion_locations, list_parts
from storage.queries.mount import Mount
from storage.queries.views import EMPTY, kinds_read, literal, readable, view_statements

__all__ = ["MAX_RESULT_BYTES", "RunQuery", "connect", "query", "query_session"]

MAX_RESULT_BYTES = 1 << 30
"""The maximum size of a result of `query`, as Arrow batches."""

RunQuery = Callable[[str], pa.Table]
"""A function that returns the result of a query."""

# The result is checked against its limit after each batch.
_BATCH_ROWS = 10_000
_INTERRUPT_INTERVAL_S = 0.1


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
    return _connect(dataset, parts)


def query(dataset: Dataset, sql: str, timeout_s: float = 60.0) -> pa.Table:
    """Return the result of one SELECT (or DESCRIBE, SHOW, SUMMARIZE, VALUES, FROM).

    Column names can be repeated, as in SQL.

    Raises:
        ConfigError: The SQL is another statement or invalid, takes longer than `timeout_s` seconds,
            or has a result larger than `MAX_RESULT_BYTES`.
    """
    with query_session(dataset, timeout_s) as run_query:
        return run_query(sql)


@contextmanager
def query_session(dataset: Dataset, timeout_s: float = 60.0) -> Iterator[RunQuery]:
    """Open one connection for several queries: connecting takes longer than most queries.

    The checksums of a table are verified before the first query that reads it.

    Raises:
        DatasetError: The dataset is missing, or a part is damaged.
    """
    dataset.require()
    parts = list_parts(dataset)
    checked_kinds: set[str] = set()
    with _connect(dataset, parts) as connection:

        def run_query(sql: str) -> pa.Table:
            kinds = kinds_read(sql) - checked_kinds
            _check_parts(dataset, parts, kinds)
            checked_kinds.update(kinds)
            return _run_query(connection, timeout_s, sql)

        yield run_query


def _check_parts(dataset: Dataset, parts: TableParts, kinds: frozenset[str]) -> None:
    """Verify the checksums of the parts on the disk, which queries of these kinds read.

    Raises:
        DatasetError: A part is damaged.
    """
    if not dataset.folder.is_local:
        return
    for table, table_parts in parts.items():
        if table.kind in kinds:
            for part in table_parts:
                dataset.check_part(table, part.shard)


def _connect(dataset: Dataset, parts: TableParts) -> duckdb.DuckDBPyConnection:
    completions = completion_locations(dataset)
    connection = duckdb.connect()
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


def _run_query(connection: duckdb.DuckDBPyConnection, timeout_s: float, sql: str) -> pa.Table:
    with _deadline(connection, timeout_s) as passed:
        try:
            statement = _only_select(connection, sql)
            return _bounded(connection.sql(statement).to_arrow_reader(_BATCH_ROWS))
        # While rows are fetched, Arrow converts DuckDB's errors to OSError.
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            reason = f"it took longer than {timeout_s:g} s" if passed.is_set() else _one_line(error)
            raise ConfigError(f"the query failed: {reason}") from error


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
    scratch = Path(tempfile.gettempdir(), f"stepmark-{uuid.uuid4().hex}")
    if not dataset.folder.is_local:
        connection.execute("SET enable_external_file_cache = false")
        connection.register_filesystem(Mount(dataset.folder))
    # DuckDB creates the folder when a query exceeds the memory, and removes it with the connection.
    connection.execute(f"SET temp_directory = {literal([str(scratch)])}[1]")
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
    connection.execute(f"CREATE SCHEMA {EMPTY}")
    for kind, schema in SCHEMAS.items():
        # A stream instead of a table: for a table DuckDB imports pandas to check its type, which
        # takes longer than everything else here.
        typed = connection.from_arrow(pa.RecordBatchReader.from_batches(_with_maps(schema), []))
        columns = ", ".join(
            f'NULL::{dtype} AS "{name}"'
            for name, dtype in zip(typed.columns, typed.types, strict=True)
        )
        # A view instead of a table: a SELECT can contain a DELETE or an INSERT in its WITH.
        connection.execute(f"CREATE VIEW {EMPTY}.{kind} AS SELECT {columns} WHERE false")
    for statement in view_statements(parts, completions):
        connection.execute(statement)


def _with_maps(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the types that the views have: `ENTRIES` is a map in SQL."""
    for index, field in enumerate(schema):
        if field.type == ENTRIES:
            schema = schema.set(index, field.with_type(pa.map_(pa.string(), pa.string())))
    return schema


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    # A lone surrogate, which the shell can pass, cannot be passed on to DuckDB.
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the query is not UTF-8") from error
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
def _deadline(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    """Interrupt the connection after some seconds, and then set the event that is yielded."""
    done = threading.Event()
    passed = threading.Event()

    def interrupt_after_deadline() -> None:
        # An interrupt that arrives before the query has started is lost, so it is repeated.
        wait = seconds
        while not done.wait(wait):
            passed.set()
            connection.interrupt()
            wait = _INTERRUPT_INTERVAL_S

    watcher = threading.Thread(target=interrupt_after_deadline, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield passed
    finally:
        done.set()
        watcher.join()


def _one_line(error: Exception) -> str:
    """Return DuckDB's message without the excerpt of the query that follows it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
