"""`stepmark sql`."""

import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.options import DatasetOption
from pipelines.cli.tables import output_console
from stepmark.errors import ConfigError
from stepmark.visible_text import visible
from storage.queries.limits import MAX_SQL_CHARS, MEMORY_MIB, bound_process

__all__ = ["sql"]

# Rich renders a table as a whole, in memory.
MAX_TABLE_ROWS = 1000
# The exit status of an error that the user can fix.
USER_ERROR = 2


class Layout(StrEnum):
    """The output formats of `stepmark sql`."""

    table = "table"
    json = "json"
    csv = "csv"


def sql(
    query: Annotated[
        str, typer.Argument(help="One SELECT statement. Default: read from standard input.")
    ] = "",
    *,
    dataset: DatasetOption,
    layout: Annotated[Layout, typer.Option("--format")] = Layout.table,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86400, help="The seconds after which the query is ended.")
    ] = 60.0,
    memory: Annotated[
        int,
        typer.Option(
            min=64, help="The MiB that the query may hold; what is more is written to the disk."
        ),
    ] = MEMORY_MIB,
) -> None:
    """Query a dataset with SQL.

    The views are problems, traces, steps, rollouts, critiques, annotations, labels, classes,
    step_values and rejected.
    """
    from storage.dataset.dataset import Dataset
    from storage.queries.sql import query as run_query

    def end() -> None:
        message = f"stepmark: the query failed: it took longer than {timeout:g} s\n"
        os.write(sys.stderr.fileno(), message.encode())
        os._exit(USER_ERROR)

    text = query or sys.stdin.read(MAX_SQL_CHARS + 1)
    try:
        # This process has no other task, so its memory can be limited as a whole.
        with bound_process(memory):
            answer = run_query(Dataset(dataset), text, timeout, memory_mib=memory, on_overdue=end)
            _write(answer, layout)
    except MemoryError as error:
        raise ConfigError("the answer does not fit into the memory; add a LIMIT") from error


def _write(answer: Any, layout: Layout) -> None:
    from storage.queries import render

    if layout is Layout.json:
        sys.stdout.writelines(render.json_rows(answer))
    elif layout is Layout.csv:
        sys.stdout.writelines(render.csv_rows(answer))
    else:
        first_rows = render.values(answer.slice(0, MAX_TABLE_ROWS))
        console = output_console()
        console.print(_table(answer.column_names, first_rows))
        if answer.num_rows > MAX_TABLE_ROWS:
            console.print(
                f"the first {MAX_TABLE_ROWS} of {answer.num_rows} rows; "
                "--format csv or json writes them all"
            )


def _table(column_names: Any, rows: Any) -> Table:
    table = Table()
    for name in column_names:
        table.add_column(Text(visible(name)))
    for row in rows:
        cells = ["" if value is None else visible(str(value)) for value in row]
        table.add_row(*map(Text, cells))
    return table
