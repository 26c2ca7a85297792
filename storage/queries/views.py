"""The DuckDB views over a dataset, as SQL text.

    problems, rejected, labels             the tables as they are
    traces                                 the run's own, and those that methods discovered: found_by names the method (NULL for the run's
                                           own), parent_trace_id and parent_steps what the trace continues, rollout_id with which rollout
    rollouts, critiques                    all methods' tables, with a column `method` in front
    annotations                            all methods' tables; `method` is a column of theirs
    classes                                what each label makes of its trace, in a column `class`: positive, negative, undecided, or
                                           flawed positive (a right answer with a wrong step); dropped traces have theirs, too
    steps                                  one row per step: trace_id, problem_id, step_index, text, label, value, and for each method
                                           that annotated anything `<method>_verdict` and `<method>_value`
    estimates                              one row per step and method, 'the labels' being one: its verdict, value, trials, unknowns,
                                           the value `before` the step, and `pass_rate`, the share of the problem's traces that are right
    step_values                            one row per step, and every formula of `storage/values` side by side: `<name>`, `<name>_<column>`

And table macros: one for each formula, `FROM rpe(threshold := 0.5)`, and `trace_scores(source := 'monte_carlo')`, which makes one
number of the values of a trace's steps.

A table without parts reads from an empty view with its schema, so every view exists, typed, from the first moment.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    TRACES,
    WHOLE,
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
  SELECT trace_id, method, unnest(range(len(steps)))::INTEGER AS step_index, unnest(steps, recursive := true) FROM annotations
  UNION ALL BY NAME
  SELECT trace_id, 'the labels' AS method, unnest(range(len(steps)))::INTEGER AS step_index,
    unnest([{'verdict': step.label, 'value': step.value} FOR step IN steps], recursive := true)
  FROM labels
) JOIN traces USING (trace_id) JOIN (
  SELECT problem_id, avg((outcome = 'correct')::INTEGER) FILTER (outcome <> 'unknown') AS pass_rate FROM traces GROUP BY problem_id
) USING (problem_id)
"""
# Of a step's values the least says what the trace is worth, to PURE (Cheng et al. 2025, arXiv 2504.15275); the others are older custom.
TRACE_SCORES = """
CREATE MACRO trace_scores(source := 'monte_carlo') AS TABLE
SELECT trace_id, min(value) AS least, product(value) AS product, last(value ORDER BY step_index) AS last, avg(value) AS mean,
  count(*) - count(value) AS unknown_steps
FROM estimates WHERE method = source GROUP BY trace_id
"""
EMPTY = "empty"
"""The DuckDB schema in which the empty views lie."""


def tables(dataset: Dataset) -> Iterator[Table[Any]]:
    """Every table that a dataset can have, and those that its methods gave it."""
    yield from WHOLE
    yield from map(rollouts, dataset.methods("rollouts"))
    yield from map(critiques, dataset.methods("critiques"))
    yield from map(discovered, dataset.methods("discovered"))
    yield from map(annotations, dataset.methods("annotations"))


def view_statements(dataset: Dataset) -> Iterator[str]:
    """The statements that make the views, in order.

    DuckDB resolves a view when it is made and again whenever it is asked. What builds on the tables is made over empty ones, which then
    give way to the real ones: else every connection would open every part many times.
    """
    nothing = {table.kind: f"FROM {EMPTY}.{table.kind}" for table in WHOLE} | {
        "annotations": f"FROM {EMPTY}.annotations"
    }
    nothing |= {TRACES.kind: f"FROM {EMPTY}.traces UNION ALL BY NAME FROM {EMPTY}.discovered"}
    nothing |= {
        kind: f"SELECT NULL::VARCHAR AS method, * FROM {EMPTY}.{kind}"
        for kind in ("rollouts", "critiques")
    }
    for kind, select in nothing.items():
        yield f"CREATE VIEW {kind} AS {select}"
    yield f"CREATE TABLE {EMPTY}.estimates AS {ESTIMATES}"
    yield f"CREATE VIEW estimates AS FROM {EMPTY}.estimates"
    yield from (CLASSES, TRACE_SCORES)
    formulas = macros()
    for name, formula in formulas.items():
        yield f"CREATE MACRO {name}({arguments(formula())}) AS TABLE {formula.sql}"
    yield _step_values(formulas)
    yield f"CREATE OR REPLACE VIEW estimates AS {ESTIMATES}"
    yield f"DROP TABLE {EMPTY}.estimates"
    for kind, select in _selects(dataset).items():
        yield f"CREATE OR REPLACE VIEW {kind} AS {select or nothing[kind]}"
    yield _steps(dataset, dataset.methods("annotations"))


def _selects(dataset: Dataset) -> Mapping[str, str]:
    """What the parts of each table are read by; nothing where there are none."""
    selects = {table.kind: f"FROM {_source(dataset, table)}" for table in WHOLE} | {
        TRACES.kind: _traces(dataset)
    }
    for kind, table_of in (("rollouts", rollouts), ("critiques", critiques)):
        called = (
            f"SELECT '{m}' AS method, * FROM {_source(dataset, table_of(m))}"
            for m in dataset.methods(kind)
        )
        selects[kind] = " UNION ALL ".join(called)
    said = (
        f"FROM {_source(dataset, annotations(method))}" for method in dataset.methods("annotations")
    )
    return selects | {"annotations": " UNION ALL ".join(said)}


def _step_values(formulas: Mapping[str, type[StepValues]]) -> str:
    columns = "".join(
        f", {name}.value AS {name}"
        + "".join(f", {name}.{column} AS {name}_{column}" for column in formula.columns)
        for name, formula in formulas.items()
    )
    joins = "".join(
        f" LEFT JOIN {call(formula())} AS {name} USING (trace_id, step_index)"
        for name, formula in formulas.items()
    )
    steps = "SELECT trace_id, problem_id, unnest(range(len(steps)))::INTEGER AS step_index, unnest(steps) AS text FROM traces"
    return f"CREATE VIEW step_values AS SELECT trace_id, problem_id, step_index, text{columns} FROM ({steps}){joins}"


def locations(dataset: Dataset, table: Table[Any]) -> list[str]:
    """Where DuckDB finds a table's parts: on the disk, or in the dataset's `Mount`."""
    folder = dataset.folder
    root = folder.root if folder.is_local else f"{PROTOCOL}:/"
    return [f"{root}/{path}" for path in dataset.paths(table)]


def readable(location: str) -> str:
    """A path as DuckDB reads it: literally, where it would take `*`, `?` and `[` for patterns."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in location)


def literal(texts: Iterable[str]) -> str:
    """A list of texts in SQL."""
    quoted = ("'" + text.replace("'", "''") + "'" for text in texts)
    return f"[{', '.join(quoted)}]"


def _source(dataset: Dataset, table: Table[Any]) -> str:
    found = locations(dataset, table)
    return f"read_parquet({literal(map(readable, found))})" if found else f"{EMPTY}.{table.kind}"


def _traces(dataset: Dataset) -> str:
    """By name: the columns that only a discovered trace has are NULL for the others."""
    found = [_source(dataset, discovered(method)) for method in dataset.methods("discovered")]
    return " UNION ALL BY NAME ".join(
        f"FROM {source}" for source in (_source(dataset, TRACES), f"{EMPTY}.discovered", *found)
    )


def _steps(dataset: Dataset, methods: Iterable[str]) -> str:
    # Lists unnested side by side in one SELECT are zipped; WITH ORDINALITY, which would number them too, is many times slower.
    said = {method: _source(dataset, annotations(method)) for method in methods}
    lists = "".join(f', unnest("by {m}".steps) AS "of {m}"' for m in said)
    joins = "".join(
        f' LEFT JOIN (FROM {source}) AS "by {m}" USING (trace_id)' for m, source in said.items()
    )
    columns = "".join(
        f', "of {m}".verdict AS {m}_verdict, "of {m}".value AS {m}_value' for m in said
    )
    return (
        f"CREATE VIEW steps AS SELECT trace_id, problem_id, step_index, text, of_label.label AS label, of_label.value AS value{columns}"
        " FROM (SELECT trace_id, problem_id, unnest(range(len(traces.steps)))::INTEGER AS step_index, unnest(traces.steps) AS text,"
        f" unnest(labels.steps) AS of_label{lists} FROM traces LEFT JOIN labels USING (trace_id){joins})"
    )
