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
                                 value, and `<method>_verdict`, `<method>_value` and
                                 `<method>_rationale` for each method with annotations
    verdicts                     one row per trace: outcome, label, and for each method
                                 `<method>_first_error`, `<method>_confidence`,
                                 `<method>_verdicts`, `<method>_values` and `<method>_error`
    estimates                    one row per step and method, where 'the labels' is also a method:
                                 verdict, value, successes, trials, unknowns, the value `before` the
                                 step, and `pass_rate`, the share of the problem's traces that are
                                 correct
    solutions                    the sampled or imported traces, and all rollouts with the prefix
                                 that they continue
    continuations                one row per prefix and next step: the verdict of the labels, and
                                 the outcomes of the solutions with that step
    siblings                     pairs of next steps after one prefix, the better one first
    step_values                  one row per step, with all formulas of `storage/values` as columns
                                 `<name>` and `<name>_<column>`

Table macros: one for each formula, `FROM rpe(threshold := 0.5)`;
`trace_scores(source := 'monte_carlo')`, which aggregates the values of a trace's steps; and
`continuations` and `siblings` with the verdicts of a method, `FROM siblings(source := 'judge')`.

A table without parts is read from an empty view with its schema, so all views exist with their
column types as soon as the dataset exists. A column that an earlier version of Stepmark did not
write is NULL in the rows of its parts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import duckdb

from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import SINGLE_TABLES, TRACES, annotations, critiques, rollouts
from storage.queries.alignment import NO_ALIGNMENT, Alignment
from storage.queries.listing import TableParts
from storage.queries.siblings import CONTINUATIONS, SIBLINGS, SOLUTIONS
from storage.queries.sources import (
    EMPTY,
    WITHOUT_METHOD,
    literal,
    methods_with,
    readable,
    table_source,
    traces_select,
)
from storage.queries.steps_view import steps_select
from storage.queries.verdicts_view import verdicts_select
from storage.values.base import StepValues, call, macro_statement, macros

__all__ = ["create_steps_view", "kinds_read", "reads_steps", "view_statements"]

CLASSES = """
CREATE OR REPLACE VIEW classes AS SELECT trace_id, problem_id, outcome, first_error, kept, reason,
  CASE WHEN first_error IS NULL THEN 'undecided' WHEN first_error < 0 THEN 'positive'
       WHEN outcome = 'correct' THEN 'flawed positive' ELSE 'negative' END AS class
FROM labels JOIN traces USING (trace_id)
"""
ESTIMATES = """
SELECT trace_id, problem_id, method, step_index, verdict, value, successes, trials, unknowns,
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
CREATE OR REPLACE MACRO trace_scores(source := 'monte_carlo') AS TABLE
SELECT trace_id, min(value) AS least, product(value) AS product,
  last(value ORDER BY step_index) AS last, avg(value) AS mean,
  count(*) - count(value) AS unknown_steps
FROM estimates WHERE method = source GROUP BY trace_id
"""
SELECTS_FOR_MACROS = {"estimates": ESTIMATES, "solutions": SOLUTIONS}
# With the default values of its parameters, each of these macros is also a view.
MACROS_WITH_VIEWS = {"continuations": CONTINUATIONS, "siblings": SIBLINGS}
VIEWS_ON_ALL_TABLES = frozenset(
    {"step_values", "trace_scores", *SELECTS_FOR_MACROS, *MACROS_WITH_VIEWS}
)
# The functions of DuckDB that take a query, or the name of a table, as a text that is computed.
FUNCTIONS_OF_TEXT = ("query", "query_table", "json_execute_serialized_sql")
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
        f"FROM {EMPTY}.traces UNION ALL BY NAME FROM ({WITHOUT_METHOD} FROM {EMPTY}.discovered)"
    )
    for kind in ("rollouts", "critiques"):
        empty_selects[kind] = f"FROM {EMPTY}.{kind}"
    for kind, select in empty_selects.items():
        yield f"CREATE OR REPLACE VIEW {kind} AS {select}"

    # Tables in place of the views: they need not be resolved again for each of the macros below.
    for name, select in SELECTS_FOR_MACROS.items():
        yield f"CREATE OR REPLACE TABLE {EMPTY}.{name} AS {select}"
        yield f"CREATE OR REPLACE VIEW {name} AS FROM {EMPTY}.{name}"
    yield CLASSES
    yield TRACE_SCORES
    for name, macro in MACROS_WITH_VIEWS.items():
        yield macro
        yield f"CREATE OR REPLACE VIEW {name} AS FROM {name}()"
    formulas = macros()
    for name, formula in formulas.items():
        yield macro_statement(name, formula)
    yield _step_values_view(formulas)
    for name, select in SELECTS_FOR_MACROS.items():
        yield f"CREATE OR REPLACE VIEW {name} AS {select}"
        yield f"DROP TABLE {EMPTY}.{name}"

    selects = _selects(parts)
    selects["completions"] = _completions_select(completions)
    for kind, select in selects.items():
        yield f"CREATE OR REPLACE VIEW {kind} AS {select or empty_selects[kind]}"
    yield create_steps_view(parts, NO_ALIGNMENT)
    yield f"CREATE OR REPLACE VIEW verdicts AS {verdicts_select(parts)}"


def create_steps_view(parts: TableParts, alignment: Alignment) -> str:
    """Return the statement that creates the view `steps`, or replaces it."""
    return f"CREATE OR REPLACE VIEW steps AS {steps_select(parts, alignment)}"


def reads_steps(sql: str) -> bool:
    """Return whether a query can read the view `steps`, and not only a column of that name.

    Comparing the traces for the view takes seconds where a dataset has thousands of parts.
    """
    if "steps" not in _words(sql):
        return False
    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            row = connection.execute("SELECT lower(json_serialize_sql(?))", [sql]).fetchone()
    except (duckdb.Error, UnicodeEncodeError):
        # The query itself reports the error.
        return True
    syntax_tree = str(row)
    # DuckDB serializes no statements such as DESCRIBE. Quotes in a text are escaped in the tree.
    return '"error":true' in syntax_tree or '"table_name":"steps"' in syntax_tree


def kinds_read(sql: str) -> frozenset[str]:
    """Return the kinds of tables that a query can read: those whose names occur in it.

    All kinds if the name of a formula or of a view on estimates or solutions occurs, or a function
    that takes the name of a table as text.
    """
    words = _words(sql)
    if words & {*VIEWS_ON_ALL_TABLES, *FUNCTIONS_OF_TEXT, *macros()}:
        return frozenset(SCHEMAS)
    kinds = words & SCHEMAS.keys()
    if "classes" in words:
        kinds |= {"traces", "labels"}
    if words & {"steps", "verdicts"}:
        kinds |= {"traces", "labels", "annotations"}
    if TRACES.kind in kinds:
        kinds.add("discovered")
    return frozenset(kinds)


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql.lower()))


def _selects(parts: TableParts) -> dict[str, str]:
    """Return the SELECT over the parts of each kind of table; "" if there are none."""
    selects = {table.kind: f"FROM {table_source(parts, table)}" for table in SINGLE_TABLES}
    selects[TRACES.kind] = traces_select(parts)
    for kind, table_of in (("rollouts", rollouts), ("critiques", critiques)):
        method_selects = []
        for method in methods_with(parts, kind):
            source = table_source(parts, table_of(method))
            # The folder names the method in parts of versions that did not store the column.
            replaced = f"REPLACE (coalesce(nullif(method, ''), '{method}') AS method)"
            method_selects.append(f"SELECT * {replaced} FROM {source}")
        selects[kind] = " UNION ALL BY NAME ".join(method_selects)
    annotation_selects = []
    for method in methods_with(parts, "annotations"):
        annotation_selects.append(f"FROM {table_source(parts, annotations(method))}")
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
        "CREATE OR REPLACE VIEW step_values AS"
        f" SELECT trace_id, problem_id, step_index, text{columns}"
        f" FROM ({steps}){joins}"
    )


def _completions_select(file_locations: Sequence[str]) -> str:
    # `read_parquet` requires at least one file.
    if not file_locations:
        return ""
    return COMPLETIONS.format(files=literal(map(readable, file_locations)), empty=EMPTY)
