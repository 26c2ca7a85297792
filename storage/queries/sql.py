"""SQL over a dataset: DuckDB, opened so that a query can read the dataset's parts and touch nothing else.

Files outside the dataset, the network, extensions, Python variables and the configuration are out of reach of every connection, and
there is nothing to write to. `query` takes SQL from strangers: one SELECT, a time limit, an answer of bounded size.
"""

import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import SCHEMAS
from storage.queries.mount import Mount
from storage.queries.views import EMPTY, literal, locations, readable, tables, view_statements

__all__ = ["ANSWER_BYTES", "Ask", "asking", "connect", "query"]

ANSWER_BYTES = 1 << 30
"""The most that `query` answers with, as Arrow holds it."""

Ask = Callable[[str], pa.Table]
"""From a query to its answer."""

_BATCH_ROWS = 10_000
_KNOCK_SECONDS = 0.1


def connect(dataset: Dataset) -> duckdb.DuckDBPyConnection:
    """A connection with the views of `storage.views`, of the parts as they are now; `DatasetError` when one is damaged.

    The caller closes it. A part that is replaced later is read as it then is; one that is removed makes queries fail.
    """
    dataset.require()
    connection = duckdb.connect()
    try:
        _confine(connection, dataset)
        _make_views(connection, dataset)
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise DatasetError(
            f"{dataset.uri} cannot be queried: {_one_line(error)}; a damaged part is made anew by running again"
        ) from error
    return connection


def query(dataset: Dataset, sql: str, timeout_s: float = 60.0) -> pa.Table:
    """The answer to one SELECT (or DESCRIBE, SHOW, SUMMARIZE, VALUES, FROM); column names may repeat, as in SQL.

    `ConfigError` for any other statement, for an error in the SQL, past `timeout_s` seconds and past `ANSWER_BYTES`.
    """
    with asking(dataset, timeout_s) as ask:
        return ask(sql)


@contextmanager
def asking(dataset: Dataset, timeout_s: float = 60.0) -> Iterator[Ask]:
    """`query` for several questions about a dataset as it is now: to connect costs more than most answers."""
    with connect(dataset) as connection:
        yield partial(_answer, connection, timeout_s)


def _answer(connection: duckdb.DuckDBPyConnection, timeout_s: float, sql: str) -> pa.Table:
    with _deadline(connection, timeout_s) as passed:
        try:
            statement = _only_select(connection, sql)
            return _bounded(connection.sql(statement).to_arrow_reader(_BATCH_ROWS))
        # While rows are fetched, Arrow passes DuckDB's errors on as OSError.
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            reason = f"it took longer than {timeout_s:g} s" if passed.is_set() else _one_line(error)
            raise ConfigError(f"the query failed: {reason}") from error


def _confine(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    found = [location for table in tables(dataset) for location in locations(dataset, table)]
    # DuckDB checks a path both as it is asked for and as its pattern resolves.
    allowed = sorted({*found, *map(readable, found)})
    scratch = Path(tempfile.gettempdir(), f"stepmark-{uuid.uuid4().hex}")
    if not dataset.folder.is_local:
        connection.execute("SET enable_external_file_cache = false")
        connection.register_filesystem(Mount(dataset.folder))
    # DuckDB makes the folder when a query outgrows the memory, and removes it with the connection.
    connection.execute(f"SET temp_directory = {literal([str(scratch)])}[1]")
    connection.execute(f"SET allowed_paths = {literal(allowed)}")
    for setting in (
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "python_enable_replacements",
    ):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET enable_external_access = false")


def _make_views(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    connection.execute(f"CREATE SCHEMA {EMPTY}")
    for kind, schema in SCHEMAS.items():
        # A stream, since of a table DuckDB asks whether it is one of pandas, which takes longer to import than all the rest does.
        typed = connection.from_arrow(pa.RecordBatchReader.from_batches(schema, []))
        columns = ", ".join(
            f'NULL::{dtype} AS "{name}"'
            for name, dtype in zip(typed.columns, typed.types, strict=True)
        )
        # A view and no table: a SELECT can hold a DELETE or an INSERT in its WITH.
        connection.execute(f"CREATE VIEW {EMPTY}.{kind} AS SELECT {columns} WHERE false")
    for statement in view_statements(dataset):
        connection.execute(statement)


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
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
        if size > ANSWER_BYTES:
            raise ConfigError(
                f"the answer is larger than {ANSWER_BYTES >> 20} MiB; add a LIMIT or aggregate"
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=reader.schema)


@contextmanager
def _deadline(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    done, passed = threading.Event(), threading.Event()

    def watch() -> None:
        # An interrupt that comes before the query has begun is lost, so it is repeated.
        wait = seconds
        while not done.wait(wait):
            passed.set()
            connection.interrupt()
            wait = _KNOCK_SECONDS

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield passed
    finally:
        done.set()
        watcher.join()


def _one_line(error: Exception) -> str:
    """DuckDB's message without the picture of the query that follows it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
