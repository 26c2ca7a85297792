"""A query in a separate process, for programs that continue when a query must be killed.

DuckDB cannot interrupt some functions, and does not bound what they allocate (see `limits`). The
process is limited as a whole, and killed when it is overdue. It writes its result as an Arrow
stream, which is data and nothing that could be executed.
"""

import json
import os
import subprocess
import sys
from typing import BinaryIO

import pyarrow as pa

from stepmark.errors import ConfigError, DatasetError, UserError
from storage.dataset.dataset import Dataset
from storage.queries.limits import MAX_SQL_CHARS, bound_process
from storage.queries.sql import query

__all__ = ["answer", "column_of_query"]

MODULE = "storage.queries.isolated"
# The exit status of an error that the user can fix, with the message on standard output.
USER_ERROR = 2
# The start of the process and the listing of the parts do not count against the query.
START_SECONDS = 60.0
# The ids of a million traces have 24 MB. A query can return longer texts, which the caller, unlike
# this process, would hold without a limit.
MAX_COLUMN_MIB = 64


def column_of_query(
    dataset: Dataset, sql: str, column: str, *, timeout_s: float, memory_mib: int, max_rows: int
) -> pa.ChunkedArray:
    """Return the texts of one column of the result of a SELECT; see `sql.query`.

    Args:
        dataset: The dataset.
        sql: The statement.
        column: The name of the column.
        timeout_s: The time after which the query is interrupted.
        memory_mib: What it may hold in memory.
        max_rows: The number of rows that are returned at most.

    Raises:
        ConfigError: As for `sql.query`, or the result has no such column, or it is too large.
        DatasetError: As for `sql.query`.
    """
    if len(sql) > MAX_SQL_CHARS:
        raise ConfigError(f"the query has more than {MAX_SQL_CHARS:,} characters")
    request = json.dumps([dataset.uri, sql, column, timeout_s, memory_mib, max_rows])
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", MODULE],
            input=request.encode(),
            capture_output=True,
            timeout=timeout_s + START_SECONDS,
            # The packages may be in the current folder, which `-P` leaves out.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"the query failed: it took longer than {timeout_s:g} s") from error
    if process.returncode == USER_ERROR:
        kind, message = json.loads(process.stdout)
        raise (DatasetError if kind == DatasetError.__name__ else ConfigError)(message)
    if process.returncode != 0:
        raise ConfigError("the query failed: its process has died; it may need too much memory")
    return pa.ipc.open_stream(process.stdout).read_all()[column]


def answer(request: str, out: BinaryIO) -> int:
    """Run the query of a request, write its result or its error, and return the exit status."""
    uri, sql, column, timeout_s, memory_mib, max_rows = json.loads(request)

    def end() -> None:
        out.write(_message(ConfigError(f"the query failed: it took longer than {timeout_s:g} s")))
        out.flush()
        os._exit(USER_ERROR)

    try:
        with bound_process(memory_mib):
            result = query(Dataset(uri), sql, timeout_s, memory_mib=memory_mib, on_overdue=end)
            if result.column_names.count(column) != 1:
                raise ConfigError(f"the query must return one column {column}")
            texts = result.select([column]).slice(0, max_rows)
            texts = texts.cast(pa.schema([(column, pa.string())]))
            if texts.nbytes > MAX_COLUMN_MIB << 20:
                raise ConfigError(f"the column has more than {MAX_COLUMN_MIB} MiB; add a LIMIT")
            with pa.ipc.new_stream(out, texts.schema) as writer:
                writer.write_table(texts)
        return 0
    except UserError as error:
        out.write(_message(error))
    except pa.ArrowException:
        out.write(_message(ConfigError(f"the column {column} does not contain texts")))
    except MemoryError:
        out.write(_message(ConfigError("the answer does not fit into the memory; add a LIMIT")))
    return USER_ERROR


def _message(error: UserError) -> bytes:
    """Return an error as the other process reads it."""
    kind = DatasetError if isinstance(error, DatasetError) else ConfigError
    return json.dumps([kind.__name__, str(error)]).encode()


if __name__ == "__main__":
    raise SystemExit(answer(sys.stdin.read(), sys.stdout.buffer))
