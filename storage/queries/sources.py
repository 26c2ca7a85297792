"""The parts of one table as an item of FROM, as SQL text."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from storage.dataset.migrations import readable_columns
from storage.dataset.schemas import ENTRIES
from storage.dataset.tables import TRACES, Table, discovered
from storage.queries.listing import Part, TableParts

__all__ = [
    "EMPTY",
    "WITHOUT_METHOD",
    "literal",
    "methods_with",
    "readable",
    "table_source",
    "traces_select",
]

EMPTY = "empty"
"""The DuckDB schema of the empty views."""
# In the view `traces`, `found_by` is the method. A second column of that name would be ambiguous in
# every join with annotations.
WITHOUT_METHOD = "SELECT * EXCLUDE (method)"
# DuckDB reads these characters of a path as a pattern.
PATTERN_CHARACTERS = re.compile(r"[*?[]")


def methods_with(parts: TableParts, kind: str) -> Sequence[str]:
    """Return the methods that have a table of a kind."""
    return [table.method for table in parts if table.kind == kind and table.method is not None]


def table_source(parts: TableParts, table: Table[Any]) -> str:
    """Return the FROM item for a table: its parts, or the empty view."""
    by_schema = _by_schema(parts.get(table, ()))
    if not by_schema:
        return f"{EMPTY}.{table.kind}"
    selects = [_select(table.kind, same_schema) for same_schema in by_schema]
    has_all_columns = all(
        len(readable_columns(table.kind, same_schema[0].footer.schema) or ()) == len(table.schema)
        for same_schema in by_schema
    )
    if len(selects) == 1 and has_all_columns:
        return f"({selects[0]})"
    # The empty view adds the missing columns, and its columns determine their order.
    return f"(FROM {EMPTY}.{table.kind} UNION ALL BY NAME {' UNION ALL BY NAME '.join(selects)})"


def traces_select(parts: TableParts) -> str:
    """Return the SELECT over sampled and discovered traces."""
    selects = [f"FROM {table_source(parts, TRACES)}"]
    # The empty view adds the columns of discovered traces, which are NULL for other traces.
    sources = [f"{EMPTY}.discovered"]
    for method in methods_with(parts, "discovered"):
        sources.append(table_source(parts, discovered(method)))
    for source in sources:
        selects.append(f"{WITHOUT_METHOD} FROM {source}")
    return " UNION ALL BY NAME ".join(selects)


def readable(location: str) -> str:
    """Escape `*`, `?` and `[` in a path, which DuckDB would read as patterns."""
    return PATTERN_CHARACTERS.sub(r"[\g<0>]", location)


def literal(texts: Iterable[str]) -> str:
    """Return a list of texts as an SQL literal."""
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"[{', '.join(quoted)}]"


def _by_schema(parts: Iterable[Part]) -> Sequence[Sequence[Part]]:
    """Return the parts in groups of equal schemas."""
    groups = list[list[Part]]()
    for part in parts:
        # `equals` is fast for parts of this version, which have one schema in memory.
        schema = part.footer.schema
        group = next((group for group in groups if schema.equals(group[0].footer.schema)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    return groups


def _select(kind: str, same_schema: Sequence[Part]) -> str:
    """Return the SELECT over parts that have the same schema."""
    schema = same_schema[0].footer.schema
    names = readable_columns(kind, schema)
    assert names is not None, "`list_parts` returns no other parts"
    columns = []
    for current_name, name in names.items():
        expression = f'"{name}"'
        if schema.field(name).type == ENTRIES:
            expression = f"map_from_entries({expression})"
        columns.append(f'{expression} AS "{current_name}"')
    paths = literal(readable(part.location) for part in same_schema)
    return f"SELECT {', '.join(columns)} FROM read_parquet({paths})"
