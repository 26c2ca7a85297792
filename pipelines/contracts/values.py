"""The contract of step values, on a small dataset."""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotators.estimates import monte_carlo_estimate
from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import PROBLEM, label_of, traces
from stepmark.records import NO_ERROR, Annotation, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations
from storage.queries.sql import connect
from storage.values.base import StepValues, call, missing_macro

__all__ = ["CHECKS"]

METHODS = ("monte_carlo", "judge", "prover")
# The outcomes of the rollouts after each step, repeated: all right, some, none, undecided.
OUTCOMES: Sequence[Sequence[Verdict]] = (
    (Verdict.CORRECT, Verdict.CORRECT),
    (Verdict.CORRECT, Verdict.INCORRECT),
    (Verdict.INCORRECT, Verdict.INCORRECT),
    (Verdict.UNKNOWN,),
)
# It ends a quoted text of SQL that is not escaped.
HOSTILE_NAME = "x') UNION SELECT 'trace', 0, 1 --"


def _annotation(trace: Trace, method: str) -> Annotation:
    steps = [
        monte_carlo_estimate(OUTCOMES[index % len(OUTCOMES)]) for index in range(len(trace.steps))
    ]
    return Annotation(trace_id=trace.trace_id, method=method, first_error=None, steps=tuple(steps))


@contextmanager
def _connection(samples: Sequence[Trace], formula: StepValues) -> Iterator[Any]:
    """Connect to a new dataset with these traces and with the macro of the formula."""
    with tempfile.TemporaryDirectory(prefix="stepmark-") as folder:
        dataset = Dataset(str(Path(folder, "dataset")))
        dataset.write_run_file("")
        dataset.write_part(PROBLEMS, 0, [PROBLEM], "sample")
        dataset.write_part(TRACES, 0, samples, "sample")
        labels = [replace(label_of(trace, NO_ERROR), sources=METHODS) for trace in samples]
        dataset.write_part(LABELS, 0, labels, "sample")
        for method in METHODS:
            rows = [_annotation(trace, method) for trace in samples]
            dataset.write_part(annotations(method), 0, rows, "sample")
        with connect(dataset) as connection:
            macro = missing_macro(formula)
            if macro:
                connection.execute(macro)
            yield connection


def _columns_are_declared(subject: Subject) -> None:
    formula = subject.build()
    with _connection(traces(), formula) as connection:
        relation = connection.sql(f"FROM {call(formula)}")
        expected = {"trace_id", "step_index", "value", *formula.columns}
        columns = dict(zip(relation.columns, map(str, relation.types), strict=True))
        require(columns.keys() == expected, f"its columns are {sorted(columns)}")
        for name, column_type in (("step_index", "INTEGER"), ("value", "DOUBLE")):
            require(columns[name] == column_type, f"{name} is {columns[name]}, not {column_type}")


def _has_one_row_per_step(subject: Subject) -> None:
    formula = subject.build()
    samples = traces()
    counts = {trace.trace_id: len(trace.steps) for trace in samples}
    with _connection(samples, formula) as connection:
        keys = connection.sql(f"SELECT trace_id, step_index FROM {call(formula)}").fetchall()
        require(len(set(keys)) == len(keys), "a step has several values")
        for trace_id, step in keys:
            exists = trace_id in counts and 0 <= step < counts[trace_id]
            require(exists, f"a value for step {step} of {trace_id!r}, which does not exist")
    with _connection([], formula) as connection:
        rows = connection.sql(f"FROM {call(formula)}").fetchall()
        require(rows == [], "an empty dataset has values")


def _is_deterministic(subject: Subject) -> None:
    formula = subject.build()
    query = f"FROM {call(formula)} ORDER BY ALL"
    with _connection(traces(), formula) as connection:
        same = str(connection.sql(query).fetchall()) == str(connection.sql(query).fetchall())
        require(same, "two queries differ")


def _hostile_names_find_nothing(subject: Subject) -> None:
    formula = subject.build()
    texts = [
        field.name
        for field in dataclasses.fields(formula)
        if isinstance(getattr(formula, field.name), str)
    ]
    hostile = replace(formula, **dict.fromkeys(texts, HOSTILE_NAME))
    with _connection(traces(), formula) as connection:
        rows = connection.sql(f"FROM {call(hostile)}").fetchall()
        require(not any(row[0] == "trace" for row in rows), "a text is read as SQL")


CHECKS: Sequence[Check] = (
    Check(what="has the declared columns", run=_columns_are_declared),
    Check(what="has one value per step", run=_has_one_row_per_step),
    Check(what="is deterministic", run=_is_deterministic),
    Check(what="reads texts as texts", run=_hostile_names_find_nothing),
)
