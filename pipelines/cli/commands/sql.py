"""`stepmark sql`."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from pipelines.cli.options import DatasetOption
from pipelines.cli.tables import output_console
from stepmark.errors import ConfigError
from storage.queries.limits import MAX_SQL_CHARS, MEMORY_MIB

__all__ = ["sql"]


class Layout(StrEnum):
    """The output formats of `stepmark sql`."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def sql(
    query: Annotated[
        str,
        typer.Argument(
            help="One SELECT statement, or the name of a query such as :kappa. Default: a prompt "
            "on a terminal, else standard input."
        ),
    ] = "",
    arguments: Annotated[
        list[str], typer.Argument(help="The arguments of a named query; see --list.")
    ] = [],  # noqa: B006
    *,
    dataset: DatasetOption = "",
    layout: Annotated[Layout, typer.Option("--format")] = Layout.table,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Write the result to a file: .parquet, .csv, .json or .jsonl.",
            metavar="FILE",
        ),
    ] = "",
    list_queries: Annotated[
        bool, typer.Option("--list", help="List the named queries and their parameters.")
    ] = False,
    ddl: Annotated[
        bool,
        typer.Option(
            "--ddl", help="Print the views as SQL that any DuckDB can execute, and run no query."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=86400, help="The seconds after which the query is stopped."),
    ] = 60.0,
    memory: Annotated[
        int,
        typer.Option(
            min=64, help="The MiB of memory for the query; larger data are written to the disk."
        ),
    ] = MEMORY_MIB,
) -> None:
    """Query a dataset with SQL.

    The views are problems, traces, steps, verdicts, rollouts, critiques, annotations, labels,
    classes, estimates, step_values and rejected.
    """
    if list_queries:
        _print_named_queries()
        return
    if not dataset:
        raise ConfigError("name the dataset: --dataset FOLDER")
    from pipelines.sql_prompt.runner import QueryRunner
    from storage.dataset.dataset import Dataset

    runner = QueryRunner(dataset=Dataset(dataset), timeout=timeout, memory=memory)
    if ddl:
        from storage.queries.ddl import ddl as ddl_of

        sys.stdout.write(ddl_of(runner.dataset))
    elif not (query or output) and layout is Layout.table and _is_on_terminal():
        from pipelines.sql_prompt.prompt import Prompt

        Prompt(runner).run()
    else:
        if output:
            from storage.queries.result_files import check_result_file

            check_result_file(output)
        text = query or sys.stdin.read(MAX_SQL_CHARS + 1)
        with runner.limited():
            _write(runner.run(text, arguments), layout, output)


def _is_on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _write(answer: Any, layout: Layout, output: str) -> None:
    from storage.queries import render

    if output:
        from storage.queries.result_files import write_result

        write_result(answer, output)
    elif layout is Layout.json:
        sys.stdout.writelines(render.json_rows(answer))
    elif layout is Layout.jsonl:
        sys.stdout.writelines(render.json_lines(answer))
    elif layout is Layout.csv:
        sys.stdout.writelines(render.csv_rows(answer))
    else:
        from pipelines.sql_prompt.output import result_output

        console = output_console()
        for renderable in result_output(answer, console):
            console.print(renderable)


def _print_named_queries() -> None:
    from storage.queries.named_queries import named_queries

    for query in named_queries().values():
        typer.echo(query.usage)
        typer.echo(f"    {query.description}")
        for parameter in query.parameters:
            default = f" (default: {parameter.default})" if parameter.default else ""
            typer.echo(f"    {parameter.name.upper()}: {parameter.description}{default}")
