"""The result of a query as a table, or vertically where the columns do not fit side by side."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from stepmark.visible_text import visible
from storage.queries.render import values

__all__ = ["MAX_TABLE_ROWS", "Expanded", "result_output"]

# Rich renders a table as a whole, in memory.
MAX_TABLE_ROWS = 1000
# A column of texts is wrapped to this width before the output becomes vertical.
READABLE_WIDTH = 20
# The border and the padding of a column.
BORDER_WIDTH = 3


class Expanded(StrEnum):
    """Whether every value is printed on a separate line."""

    auto = "auto"
    on = "on"
    off = "off"


def result_output(
    answer: Any, console: Console, expanded: Expanded = Expanded.auto
) -> Iterator[RenderableType]:
    """Yield what rich prints for an Arrow table: at most its first `MAX_TABLE_ROWS` rows.

    Args:
        answer: The result.
        console: The console, whose width decides in the case of `auto`.
        expanded: Whether the output is vertical.
    """
    names = [visible(name) for name in answer.column_names]
    rows = list[Sequence[str]]()
    for row in values(answer.slice(0, MAX_TABLE_ROWS)):
        rows.append(["" if value is None else visible(str(value)) for value in row])
    is_vertical = expanded is Expanded.on
    if expanded is Expanded.auto:
        is_vertical = not _fits(names, rows, console.width)
    if is_vertical:
        yield from _vertical(names, rows)
    else:
        yield _table(names, rows)
    if answer.num_rows > MAX_TABLE_ROWS:
        yield Text(
            f"the first {MAX_TABLE_ROWS} of {answer.num_rows} rows; "
            "--format csv or json writes them all"
        )


def _fits(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether every column can have its content, or lines of `READABLE_WIDTH`."""
    needed = 1
    for index, name in enumerate(names):
        longest = max((len(row[index]) for row in rows), default=0)
        needed += max(len(name), min(longest, READABLE_WIDTH)) + BORDER_WIDTH
    return needed <= width


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _vertical(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[RenderableType]:
    for number, row in enumerate(rows, start=1):
        yield Text(f"row {number}", "bold")
        record = Table.grid(padding=(0, 2, 0, 0))
        record.add_column(style="dim")
        record.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            record.add_row(Text(name), Text(value))
        yield record
    if not rows:
        yield Text(f"no rows; columns: {', '.join(names)}")
