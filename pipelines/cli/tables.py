"""Printing of tables on the terminal."""

import sys
from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepmark.visible_text import visible

__all__ = ["output_console", "print_copy", "print_counts", "print_summary"]

# The width of output into a pipe or file. Rich would assume 80 columns and wrap the tables.
PIPE_WIDTH = 160
MEGABYTE = 1e6


def output_console() -> Console:
    """Return a console for standard output, as wide as the terminal if there is one."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_summary(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Print a title and a table of rows with the keys `what` and `count`."""
    table = Table(show_header=False)
    for row in rows:
        table.add_row(Text(visible(row["what"])), Text(visible(row["count"])))
    console = output_console()
    console.print(Text(visible(title)))
    console.print(table)


def print_counts(title: str, counts: Mapping[str, object]) -> None:
    """Print a title and a table of counts, or of short texts, by name."""
    print_summary(title, [{"what": what, "count": str(count)} for what, count in counts.items()])


def print_copy(path: str, traces: int, selected: int, size: int) -> None:
    """Print what a copy of pages contains.

    Args:
        path: The file that a browser opens.
        traces: The number of copied traces.
        selected: The number of traces that were selected.
        size: The size of all files in bytes.
    """
    typer.echo(f"{path}: {traces:,} of {selected:,} traces, {size / MEGABYTE:.1f} MB")
