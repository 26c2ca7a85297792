"""The DuckDB views over a dataset, as SQL text.

Views:

    problems, rejected, labels   the tables without changes
    traces                       the sampled or imported traces, and those that methods discovered.
                                 For discovered traces, found_by is the method, parent_trace_id and
                                 parent_steps the prefix, rollout_id the rollout; otherwise NULL
    rollouts, critiques          the tables of all methods. In parts of versions that did not store
                                 the column `method`, it is the name of the folder
    annotations                  the tables of all methods
    completions                  what the engines returned, one row per key: the newest one
    stale_labels                 labels of people on steps that no trace has, with the reason
    classes                      the class of each labelled trace: positive, negative, undecided, or
                                 flawed positive (correct answer, incorrect step); dropped traces
                                 are included
    steps                        one row per step: trace_id, problem_id, step_index, text, label,
                                 value, and `<method>_verdict` and `<method>_value` for each method
                                 with annotations
    estimates                    one row per step and method, where 'the labels' is also a method:
                                 verdict, value, trials, unknowns, the value `before` the step, and
                                 `pass_rate`, the share of the problem's traces that are correct
    step_values                  one row per step, with all formulas of `storage/values` as columns
                                 `<name>` and `<name>_<column>`

Table macros: one for each formula, `FROM rpe(threshold := 0.5)`, and
`trace_scores(source := 'monte_carlo')`, which aggregates the values of a trace's steps.

A table without parts is read from an empty view with its schema, so all views exist with their
column types as soon as the dataset exists. A column that an earlier version of Stepmark did not
write is NULL in the rows of its parts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from storage.dataset.migrations import readable_columns
from storage.dataset.schemas import ENTRIES, SCHEMAS
from storage.dataset.tables import (
    SINGLE_TABLES,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.queries.listing import Part, TableParts
from storage.values.base import StepValues, arguments, call, macros

__all__ = ["EMPTY", "kinds_read", "literal", "readable", "view_statements"]

CLASSES = """
CREATE VIEW classes AS SELECT trace_id, problem_id, outcome, first_error, kept, reason,
  CASE WHEN first_error IS NULL THEN 'undecided' WHEN first_error < 0 THEN 'positive'
       WHEN outcome = 'correct' THEN 'flawed positive' ELSE 'negative' END AS class
FROM labels JOIN traces USING (trace_id)
"""
ESTIMATES = """
SELECT trace_id, problem_id, method, step_index, verdict, value, trials, unknowns,
  lag(value) OVER (PARTITION BY method, trace_id ORDER BY step_index) AS before, pass_rate
FROM (
  SELECT trace_id, method, unnest(range(len(steps)))::INTEGER AS step_index,
    unnest(steps, recursive := true)
  FROM annotations
  UNION ALL BY NAME
  SELECT trace_id, 'the labels' AS method, unnest(range(len(steps)))::INTEGER AS step_index,
    unnest(
      [{'verdict': step.label, 'value': step.value} FOR step IN steps], recursive := true
    )
  FROM labels
) JOIN traces USING (trace_id) JOIN (
  SELECT problem_id,
    avg((outcome = 'correct')::INTEGER) FILTER (outcome <> 'unknown') AS pass_rate
  FROM traces GROUP BY problem_id
) USING (problem_id)
"""
# PURE (Cheng et al. 2025, arXiv 2504.15275) scores a trace by the minimum of its step values; the
# other aggregates are in common use.
TRACE_SCORES = """
CREATE MACRO trace_scores(source := 'monte_carlo') AS TABLE
SELECT trace_id, min(value) AS least, product(value) AS product,
  last(value ORDER BY step_index) AS last, avg(value) AS mean,
  count(*) - count(value) AS unknown_steps
FROM estimates WHERE method = source GROUP BY trace_id
"""
# Keys with several rows are rare, so these are found first, from the keys alone, and their old rows
# left out: a window over all rows takes twice as long and would hold all texts in memory.
# Files of earlier versions lack columns, which the union with the empty view adds.
COMPLETIONS = """
WITH files AS (
  FROM read_parquet({files}, filename = true, file_row_number = true, union_by_name = true)
),
repeated AS (SELECT key FROM files GROUP BY key HAVING count(*) > 1),
replaced AS (
  SELECT filename, file_row_number FROM files SEMI JOIN repeated USING (key)
  QUALIFY row_number() OVER (
    PARTITION BY key ORDER BY revision DESC, filename, file_row_number
  ) > 1
)
FROM {empty}.completions
UNION ALL BY NAME
SELECT * EXCLUDE (filename, file_row_number)
FROM files ANTI JOIN replaced USING (filename, file_row_number)
"""
# In the view `traces`, `found_by` is the method. A second column of that name would be ambiguous in
# every join with annotations.
_WITHOUT_METHOD = "SELECT * EXCLUDE (method)"
# The DuckDB schema of the empty views.
EMPTY = "empty"


def view_statements(parts: TableParts, completions: Sequence[str]) -> Iterator[str]:
    """Yield the statements that create the views, in order.

    `completions` is the result of `listing.completion_locations`.

    DuckDB resolves a view when it is created and again in every query. The views that build on
    tables are therefore created over empty tables, which are then replaced by the real ones:
    otherwise each connection would open every part many times.
    """
    empty_selects = {table.kind: f"FROM {EMPTY}.{table.kind}" for table in SINGLE_TABLES}
    empty_selects["annotations"] = f"FROM {EMPTY}.annotations"
    empty_selects["completions"] = f"FROM {EMPTY}.completions"
    empty_selects[TRACES.kind] = (
        f"FROM {EMPTY}.traces UNION ALL BY NAME FROM ({_WITHOUT_METHOD} FROM {EMPTY}.discovered)"
    )
    for kind in ("rollouts", "critiques"):
        empty_selects[kind] = f"FROM {EMPTY}.{kind}"
    for kind, select in empty_selects.items():
        yield f"CREATE VIEW {kind} AS {select}"

    # A table in place of the view: it need not be resolved again for each of the macros below.
    yield f"CREATE TABLE {EMPTY}.estimates AS {ESTIMATES}"
    yield f"CREATE VIEW estimates AS FROM {EMPTY}.estimates"
    yield CLASSES
    yield TRACE_SCORES
    formulas = macros()
    # The default values of the plugin's fields are those of the macro's parameters.
    for name, formula in formulas.items():
        yield f"CREATE MACRO {name}({arguments(formula())}) AS TABLE {formula.sql}"
    yield _step_values_view(formulas)
    yield f"CREATE OR REPLACE VIEW estimates AS {ESTIMATES}"
    yield f"DROP TABLE {EMPTY}.estimates"

    selects = _selects(parts)
    selects["completions"] = _completions_select(completions)
    for kind, select in selects.items():
        yield f"CREATE OR REPLACE VIEW {kind} AS {select or empty_selects[kind]}"
    yield _steps_view(parts)


def kinds_read(sql: str) -> frozenset[str]:
    """Return the kinds of tables that a query can read: those whose names occur in it.

    All kinds if another name of a view or macro occurs, or a function that takes the name of a
    table as text.
    """
    words = set(re.findall(r"\w+", sql.lower()))
    composed = {"steps", "classes", "estimates", "step_values", "trace_scores", *macros()}
    if words & (composed | {"query", "query_table"}):
        return frozenset(SCHEMAS)
    kinds = words & SCHEMAS.keys()
    if TRACES.kind in kinds:
        kinds.add("discovered")
    return frozenset(kinds)


def _selects(parts: TableParts) -> dict[str, str]:
    """Return the SELECT over the parts of each kind of table; "" if there are none."""
    selects = {table.kind: f"FROM {_source(parts, table)}" for table in SINGLE_TABLES}
    selects[TRACES.kind] = _traces_select(parts)
    for kind, table_of in (("rollouts", rollouts), ("critiques", critiques)):
        method_selects = []
        for method in _methods(parts, kind):
            source = _source(parts, table_of(method))
            # The folder names the method in parts of versions that did not store the column.
            replaced = f"REPLACE (coalesce(nullif(method, ''), '{method}') AS method)"
            method_selects.append(f"SELECT * {replaced} FROM {source}")
        selects[kind] = " UNION ALL BY NAME ".join(method_selects)
    annotation_selects = []
    for method in _methods(parts, "annotations"):
        annotation_selects.append(f"FROM {_source(parts, annotations(method))}")
    selects["annotations"] = " UNION ALL ".join(annotation_selects)
    return selects


def _methods(parts: TableParts, kind: str) -> Sequence[str]:
    """Return the methods that have a table of a kind."""
    return [table.method for table in parts if table.kind == kind and table.method is not None]


def _step_values_view(formulas: Mapping[str, type[StepValues]]) -> str:
    columns = ""
    joins = ""
    for name, formula in formulas.items():
        columns += f", {name}.value AS {name}"
        for column in formula.columns:
            columns += f", {name}.{column} AS {name}_{column}"
        joins += f" LEFT JOIN {call(formula())} AS {name} USING (trace_id, step_index)"
    steps = (
        "SELECT trace_id, problem_id, unnest(range(len(steps)))::INTEGER AS step_index,"
        " unnest(steps) AS text FROM traces"
    )
    return (
        f"CREATE VIEW step_values AS SELECT trace_id, problem_id, step_index, text{columns}"
        f" FROM ({steps}){joins}"
    )


def readable(location: str) -> str:
    """Escape `*`, `?` and `[` in a path, which DuckDB would read as patterns."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in location)


def literal(texts: Iterable[str]) -> str:
    """Return a list of texts as an SQL literal."""
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"[{', '.join(quoted)}]"


def _completions_select(file_locations: Sequence[str]) -> str:
    # `read_parquet` requires at least one file.
    if not file_locations:
        return ""
    return COMPLETIONS.format(files=literal(map(readable, file_locations)), empty=EMPTY)


def _source(parts: TableParts, table: Table[Any]) -> str:
    """Return the FROM item for a table: its parts, or the empty view."""
    by_schema: dict[str, list[Part]] = {}
    for part in parts.get(table, ()):
        by_schema.setdefault(str(part.footer.schema), []).append(part)
    if not by_schema:
        return f"{EMPTY}.{table.kind}"
    selects = [_select(table.kind, same_schema) for same_schema in by_schema.values()]
    has_all_columns = all(
        len(readable_columns(table.kind, same_schema[0].footer.schema) or ()) == len(table.schema)
        for same_schema in by_schema.values()
    )
    if len(selects) == 1 and has_all_columns:
        return f"({selects[0]})"
    # The empty view adds the missing columns, and its columns determine their order.
    return f"(FROM {EMPTY}.{table.kind} UNION ALL BY NAME {' UNION ALL BY NAME '.join(selects)})"


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


def _traces_select(parts: TableParts) -> str:
    selects = [f"FROM {_source(parts, TRACES)}"]
    # The empty view adds the columns of discovered traces, which are NULL for other traces.
    sources = [f"{EMPTY}.discovered"]
    for method in _methods(parts, "discovered"):
        sources.append(_source(parts, discovered(method)))
    for source in sources:
        selects.append(f"{_WITHOUT_METHOD} FROM {source}")
    return " UNION ALL BY NAME ".join(selects)


def _steps_view(parts: TableParts) -> str:
    # Lists that are unnested in the same SELECT are zipped. WITH ORDINALITY would number them too,
    # but is many times slower.
    lists = ""
    joins = ""
    columns = ""
    for method in _methods(parts, "annotations"):
        source = _source(parts, annotations(method))
        lists += f', unnest("by {method}".steps) AS "of {method}"'
        joins += f' LEFT JOIN (FROM {source}) AS "by {method}" USING (trace_id)'
        columns += f', "of {method}".verdict AS {method}_verdict'
        columns += f', "of {method}".value AS {method}_value'
    return (
        "CREATE VIEW steps AS SELECT trace_id, problem_id, step_index, text,"
        f" of_label.label AS label, of_label.value AS value{columns}"
        " FROM (SELECT trace_id, problem_id,"
        " unnest(range(len(traces.steps)))::INTEGER AS step_index,"
        " unnest(traces.steps) AS text, unnest(labels.steps) AS of_label"
        f"{lists} FROM traces LEFT JOIN labels USING (trace_id){joins})"
    )
