"""The view `steps`, as SQL text: one row per step, with the columns of all methods.

Tables that are aligned (see `alignment`) are put side by side; the others are joined by id. In the
first case DuckDB reads only the columns that a query uses: the texts, for instance, are most of the
data and seldom needed.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Any

from storage.dataset.tables import LABELS, TRACES, Table
from storage.queries.alignment import Alignment
from storage.queries.limits import thread_count
from storage.queries.listing import Part, TableParts
from storage.queries.sources import literal, readable, table_source, traces_select

__all__ = ["steps_select"]


def steps_select(parts: TableParts, alignment: Alignment) -> str:
    """Return the SELECT of the view."""
    selects = list[str]()
    for shards in _groups(alignment.shards):
        selects.append(_aligned_select(parts, alignment.tables, shards))
    other_parts = dict[Table[Any], Sequence[Part]]()
    for table, table_parts in parts.items():
        other_parts[table] = [part for part in table_parts if part.shard not in alignment.shards]
    # A shard without sampled traces can have labels and annotations, but no steps.
    has_other_traces = any(
        other_parts[table] for table in parts if table.kind in ("traces", "discovered")
    )
    if has_other_traces or not selects:
        selects.append(_joined_select(other_parts))
    return " UNION ALL ".join(selects)


def _groups(shards: Sequence[int]) -> Iterator[Set[int]]:
    """Divide shards into groups, one for each thread.

    DuckDB puts rows side by side in one thread, but reads the operands of a union concurrently.
    """
    count = min(thread_count(), len(shards))
    for group in range(count):
        start = group * len(shards) // count
        end = (group + 1) * len(shards) // count
        yield frozenset(shards[start:end])


def _aligned_select(parts: TableParts, tables: Sequence[Table[Any]], shards: Set[int]) -> str:
    lists = ""
    # Without subqueries: DuckDB would first copy all rows of a subquery.
    sources = f'{_scan(parts, TRACES, shards)} AS "of traces"'
    joins = ""
    for table in _step_tables(parts):
        name = _name(table)
        lists += f', "{name}".steps AS "{name}"'
        if table in tables:
            sources += f' POSITIONAL JOIN {_scan(parts, table, shards)} AS "{name}"'
        else:
            source = table_source(_only(parts, table, shards), table)
            joins += (
                f' LEFT JOIN (FROM {source}) AS "{name}"'
                f' ON "{name}".trace_id = "of traces".trace_id'
            )
    # The lists of all tables have the same length. This one is short to read.
    places = f'unnest(range(1, len("{_name(tables[0])}".steps) + 1)) AS place'
    columns = _columns(parts, "[place]")
    return (
        "SELECT trace_id, problem_id, (place - 1)::INTEGER AS step_index,"
        f' "of traces"[place] AS text, {columns}'
        ' FROM (SELECT "of traces".trace_id AS trace_id, "of traces".problem_id AS problem_id,'
        f' "of traces".steps AS "of traces"{lists}, {places} FROM {sources}{joins})'
    )


def _joined_select(parts: TableParts) -> str:
    # Lists that are unnested in the same SELECT are zipped. WITH ORDINALITY would number them too,
    # but is many times slower.
    lists = ""
    joins = ""
    for table in _step_tables(parts):
        name = _name(table)
        lists += f', unnest("{name}".steps) AS "{name}"'
        source = table_source(parts, table)
        joins += f' LEFT JOIN (FROM {source}) AS "{name}" USING (trace_id)'
    return (
        f"SELECT trace_id, problem_id, step_index, text, {_columns(parts)}"
        " FROM (SELECT trace_id, problem_id,"
        " unnest(range(len(traces.steps)))::INTEGER AS step_index,"
        f" unnest(traces.steps) AS text{lists} FROM ({traces_select(parts)}) AS traces{joins})"
    )


def _columns(parts: TableParts, place: str = "") -> str:
    """Return the columns of the labels and of all methods.

    Args:
        parts: The parts.
        place: What selects the value of a step, where it is in a list.
    """
    columns = list[str]()
    for table in _step_tables(parts):
        step = f'"{_name(table)}"{place}'
        if table.method is None:
            columns.append(f"{step}.label AS label, {step}.value AS value")
        else:
            columns.append(f"{step}.verdict AS {table.method}_verdict")
            columns.append(f"{step}.value AS {table.method}_value")
            columns.append(f"{step}.rationale AS {table.method}_rationale")
    return ", ".join(columns)


def _step_tables(parts: TableParts) -> Sequence[Table[Any]]:
    """Return the tables with values of steps, in the order of their columns."""
    return [LABELS, *(table for table in parts if table.kind == "annotations")]


def _name(table: Table[Any]) -> str:
    # With a space, so that it is no other name in the query.
    return f"of {table.method or table.kind}"


def _scan(parts: TableParts, table: Table[Any], shards: Set[int]) -> str:
    locations = [part.location for part in parts[table] if part.shard in shards]
    return f"read_parquet({literal(map(readable, locations))})"


def _only(parts: TableParts, table: Table[Any], shards: Set[int]) -> TableParts:
    return {table: [part for part in parts.get(table, ()) if part.shard in shards]}
