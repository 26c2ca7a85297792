"""The DuckDB views over a dataset, as SQL text.

Views:

    problems, rejected, labels   the tables without changes
    traces                       the sampled or imported traces, and those that methods discovered.
                                 For discovered traces, found_by is the method, parent_trace_id and
                                 parent_steps the prefix, rollout_id the rollout; otherwise NULL
    rollouts, critiques          the tables of all methods, with a first column `method`
    annotations                  the tables of all methods
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
column types as soon as the dataset exists.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    SINGLE_TABLES,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.queries.mount import PROTOCOL
from storage.values.base import StepValues, arguments, call, macros

__all__ = ["EMPTY", "literal", "locations", "readable", "tables", "view_statements"]

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
# The DuckDB schema of the empty views.
EMPTY = "empty"


def tables(dataset: Dataset) -> Iterator[Table[Any]]:
    """Yield the single tables and the existing tables of the methods."""
    yield from SINGLE_TABLES
    yield from map(rollouts, dataset.methods("rollouts"))
    yield from map(critiques, dataset.methods("critiques"))
    yield from map(discovered, dataset.methods("discovered"))
    yield from map(annotations, dataset.methods("annotations"))


def view_statements(dataset: Dataset) -> Iterator[str]:
    """Yield the statements that create the views, in order.

    DuckDB resolves a view when it is created and again in every query. The views that build on
    tables are therefore created over empty tables, which are then replaced by the real ones:
    otherwise each connection would open every part many times.
    """
    empty_selects = {table.kind: f"FROM {EMPTY}.{table.kind}" for table in SINGLE_TABLES}
    empty_selects["annotations"] = f"FROM {EMPTY}.annotations"
    empty_selects[TRACES.kind] = f"FROM {EMPTY}.traces UNION ALL BY NAME FROM {EMPTY}.discovered"
    for kind in ("rollouts", "critiques"):
        empty_selects[kind] = f"SELECT NULL::VARCHAR AS method, * FROM {EMPTY}.{kind}"
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

    for kind, select in _selects(dataset).items():
        yield f"CREATE OR REPLACE VIEW {kind} AS {select or empty_selects[kind]}"
    yield _steps_view(dataset)


def _selects(dataset: Dataset) -> Mapping[str, str]:
    """Return the SELECT over the parts of each kind of table; "" if there are none."""
    selects = {table.kind: f"FROM {_source(dataset, table)}" for table in SINGLE_TABLES}
    selects[TRACES.kind] = _traces_select(dataset)
    for kind, table_of in (("rollouts", rollouts), ("critiques", critiques)):
        # These tables have no column for the method.
        method_selects = []
        for method in dataset.methods(kind):
            source = _source(dataset, table_of(method))
            method_selects.append(f"SELECT '{method}' AS method, * FROM {source}")
        selects[kind] = " UNION ALL ".join(method_selects)
    annotation_selects = []
    for method in dataset.methods("annotations"):
        annotation_selects.append(f"FROM {_source(dataset, annotations(method))}")
    selects["annotations"] = " UNION ALL ".join(annotation_selects)
    return selects


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


def locations(dataset: Dataset, table: Table[Any]) -> list[str]:
    """Return the locations of a table's parts for DuckDB: on the disk, or in a `Mount`."""
    folder = dataset.folder
    root = folder.root if folder.is_local else f"{PROTOCOL}:/"
    return [f"{root}/{path}" for path in dataset.paths(table)]


def readable(location: str) -> str:
    """Escape `*`, `?` and `[` in a path, which DuckDB would read as patterns."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in location)


def literal(texts: Iterable[str]) -> str:
    """Return a list of texts as an SQL literal."""
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"[{', '.join(quoted)}]"


def _source(dataset: Dataset, table: Table[Any]) -> str:
    """Return the FROM item for a table: its parts, or the empty view."""
    part_locations = locations(dataset, table)
    # `read_parquet` requires at least one file.
    if not part_locations:
        return f"{EMPTY}.{table.kind}"
    return f"read_parquet({literal(map(readable, part_locations))})"


def _traces_select(dataset: Dataset) -> str:
    # The empty view adds the columns of discovered traces, which are NULL for other traces.
    sources = [_source(dataset, TRACES), f"{EMPTY}.discovered"]
    for method in dataset.methods("discovered"):
        sources.append(_source(dataset, discovered(method)))
    return " UNION ALL BY NAME ".join(f"FROM {source}" for source in sources)


def _steps_view(dataset: Dataset) -> str:
    # Lists that are unnested in the same SELECT are zipped. WITH ORDINALITY would number them too,
    # but is many times slower.
    lists = ""
    joins = ""
    columns = ""
    for method in dataset.methods("annotations"):
        source = _source(dataset, annotations(method))
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
