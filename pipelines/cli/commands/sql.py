"""`stepmark sql`."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.options import DatasetOption
from pipelines.cli.tables import output_console
from pipelines.terminal import visible

__all__ = ["sql"]

# Rich renders a table as a whole, in memory.
MAX_TABLE_ROWS = 1000


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
) -> None:
    """Query a dataset with SQL.

    The views are problems, traces, steps, rollouts, critiques, annotations, labels, classes,
    step_values and rejected.
    """
    from storage.dataset.dataset import Dataset
    from storage.queries import render
    from storage.queries.sql import query as run_query

    answer = run_query(Dataset(dataset), query or sys.stdin.read())
    if layout is Layout.json:
        sys.stdout.write(render.to_json(answer))
    elif layout is Layout.csv:
        sys.stdout.write(render.to_csv(answer))
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
