"""Datasets in Python: queries and traces, which a notebook displays."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.trace_display import TraceDisplay
from stepmark.visible_text import visible
from storage.dataset.dataset import Dataset
from storage.queries import sql
from storage.queries.relation import Connection, Relation
from storage.queries.trace_details import TraceDetails, find_trace, read_details

__all__ = ["OpenDataset", "Rows", "TraceView", "open_dataset", "to_html"]

VIEWS = """
SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY 1
"""
# A notebook displays the first rows only; a query has all of them.
DISPLAYED_ROWS = 20
# A cell with a whole solution would fill the page; `trace` displays it.
DISPLAYED_CHARACTERS = 200
# The columns of a page of a notebook.
HTML_WIDTH = 120
HTML = '<pre style="white-space:pre; overflow-x:auto; line-height:1.2">{code}</pre>'


@dataclass(frozen=True, eq=False)
class Rows(Relation):
    """The rows of a query, which a terminal and a notebook display as a table."""

    def __rich__(self) -> RenderableType:
        """Return the first rows as a table of rich."""
        table = Table(caption=self._caption())
        for name in self.columns:
            table.add_column(Text(visible(name)))
        for row in self.first_rows():
            table.add_row(*(Text(_text(value)) for value in row))
        return table

    def first_rows(self) -> Sequence[Sequence[Any]]:
        """Return the rows that are displayed."""
        return Rows(self.table.slice(0, DISPLAYED_ROWS)).rows()

    def _caption(self) -> str:
        count = f"{len(self):,} rows"
        return f"the first {DISPLAYED_ROWS} of {count}" if len(self) > DISPLAYED_ROWS else count

    def _repr_html_(self) -> str:
        lines = ["<table>", _html_row("th", self.columns)]
        for row in self.first_rows():
            lines.append(_html_row("td", [_text(value) for value in row]))
        lines += [f"<caption>{self._caption()}</caption>", "</table>"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the number of rows and the columns."""
        return f"<{len(self)} rows: {visible(', '.join(self.columns))}>"


@dataclass(frozen=True)
class TraceView:
    """A trace with its problem, verdicts, label, critiques and rollouts."""

    details: TraceDetails
    """The records."""
    critiques: bool = False
    """Whether the replies of judges are displayed."""
    rollouts: bool = False
    """Whether the rollouts are displayed."""

    def __rich__(self) -> RenderableType:
        """Return the display of `stepmark show`."""
        return TraceDisplay(details=self.details, critiques=self.critiques, rollouts=self.rollouts)

    def _repr_html_(self) -> str:
        return to_html(self)

    def __repr__(self) -> str:
        """Return the id of the trace."""
        return f"<trace {visible(self.details.trace.trace_id)}>"


@dataclass(frozen=True)
class OpenDataset:
    """A dataset that can be queried.

    Every call reads the files as they are at that time, also while a run writes them.
    """

    uri: str
    """A folder, or a URI of a bucket."""

    @property
    def tables(self) -> list[str]:
        """The names of the tables and views that queries can read."""
        return [name for (name,) in self.sql(VIEWS).rows()]

    def sql(
        self, query: str, parameters: Mapping[str, str] | None = None, *, timeout_s: float = 60.0
    ) -> Rows:
        """Return the rows of a SELECT, with the views and limits of `stepmark sql`.

        Args:
            query: The statement.
            parameters: The values of `$name` in the statement, which are never read as SQL.
            timeout_s: The time after which the query is interrupted.

        Raises:
            ConfigError: The query is invalid, or exceeds a limit.
            DatasetError: The dataset is missing or damaged.
        """
        table = sql.query(Dataset(self.uri), query, timeout_s, parameters=parameters or {})
        return Rows(table)

    def table(self, name: str) -> Rows:
        """Return all rows of a table or view, such as "traces" or "steps"."""
        quoted = name.replace('"', '""')
        return self.sql(f'FROM "{quoted}"')

    def connect(self) -> Connection:
        """Return a connection to all views, for results of any size. Close it after use.

        It can read the files of the dataset, and no other files.
        """
        return sql.connect(Dataset(self.uri))

    def trace(self, trace_id: str, *, critiques: bool = False, rollouts: bool = False) -> TraceView:
        """Return one trace, which a terminal and a notebook display.

        Args:
            trace_id: The id, or the beginning of it.
            critiques: Whether to display the replies of judges.
            rollouts: Whether to display the rollouts.

        Raises:
            ConfigError: There is no such trace, or there are several.
        """
        dataset = Dataset(self.uri)
        details = read_details(dataset, find_trace(dataset, trace_id))
        return TraceView(details=details, critiques=critiques, rollouts=rollouts)


def open_dataset(uri: str) -> OpenDataset:
    """Return the dataset in a folder or bucket. As `stepmark.open` it replaces no built-in name.

    Raises:
        DatasetError: There is none.
    """
    Dataset(uri).require()
    return OpenDataset(uri)


def to_html(item: object) -> str:
    """Return an object of rich as HTML, in which no text of the dataset is markup."""
    console = Console(
        record=True, file=io.StringIO(), width=HTML_WIDTH, force_terminal=True, force_jupyter=False
    )
    console.print(item)
    # rich escapes the text of the code.
    return console.export_html(inline_styles=True, code_format=HTML)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    escaped = [f"<{tag}>{html.escape(visible(cell))}</{tag}>" for cell in cells]
    return f"<tr>{''.join(escaped)}</tr>"


def _text(value: Any) -> str:
    text = "" if value is None else visible(str(value))
    if len(text) > DISPLAYED_CHARACTERS:
        text = f"{text[:DISPLAYED_CHARACTERS]}…"
    return text
