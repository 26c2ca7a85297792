"""Records survive the conversion to rows and back."""

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.errors import DatasetError
from stepmark.records import Annotation, Cost, Problem, Rejected
from storage.dataset.dataset import Dataset
from storage.dataset.rows import replace_surrogates, to_record, to_row
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    REJECTED,
    STALE_LABELS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from tests.storage.samples import (
    ANNOTATION,
    CRITIQUE,
    DISCOVERED,
    LABEL,
    PROBLEM,
    REJECTED_ROW,
    ROLLOUT,
    STALE_LABEL,
    TRACE,
)

SAMPLES = [
    (PROBLEMS, PROBLEM),
    (REJECTED, REJECTED_ROW),
    (TRACES, TRACE),
    (rollouts("judge"), ROLLOUT),
    (discovered("judge"), DISCOVERED),
    (critiques("judge"), CRITIQUE),
    (annotations("judge"), ANNOTATION),
    (LABELS, LABEL),
    (STALE_LABELS, STALE_LABEL),
]
BARE = [
    (critiques("judge"), replace(CRITIQUE, step=4, text="", verdicts=(), first_error=None)),
    # The values of columns that older versions did not write.
    (critiques("judge"), replace(CRITIQUE, method="", system=None, request=None)),
    (rollouts("judge"), replace(ROLLOUT, method="", steps=None, outcome_parts=())),
    (PROBLEMS, replace(PROBLEM, answer=None, metadata={})),
    (TRACES, replace(TRACE, steps=(), final_answer=None, sampling=None, metadata={})),
    (annotations("judge"), Annotation(trace_id="t", method="judge", first_error=-1, steps=())),
    (LABELS, replace(LABEL, first_error=None, steps=(), confidence=None, kept=False, sources=())),
]


@pytest.mark.parametrize(("table", "record"), SAMPLES + BARE)
def test_records_survive_the_round_trip(
    dataset: Dataset, table: Table[Any], record: object
) -> None:
    dataset.write_part(table, 0, [record], "f")
    assert list(dataset.read_part(table, 0)) == [record]


@pytest.mark.parametrize(("table", "record"), SAMPLES)
def test_schema_fields_match_record_fields(table: Table[Any], record: Any) -> None:
    fields = [f.name for f in dataclasses.fields(record)]
    if isinstance(record, Annotation):
        # The fields of the cost are columns of the row.
        index = fields.index("cost")
        fields[index : index + 1] = [f.name for f in dataclasses.fields(Cost)]
    assert SCHEMAS[table.kind].names == fields
    assert len(to_row(record)) == len(fields)


def named_row(table: Table[Any], record: object) -> dict[str, Any]:
    return dict(zip(table.schema.names, to_row(record), strict=True))


@given(st.text())
def test_valid_text_is_unchanged(text: str) -> None:
    assert replace_surrogates(text) == text


@given(st.text(st.characters(categories=["Cs", "L", "So"])))
def test_replaced_text_can_be_encoded(text: str) -> None:
    replace_surrogates(text).encode("utf-8")


def test_only_lone_surrogates_are_replaced(dataset: Dataset) -> None:
    hostile = replace(
        TRACE,
        steps=("nul \0 half \ud800 end\r\n", "\ufeff\u2028\n"),
        metadata={"\udfff": "\ud83d\ude00"},
    )
    dataset.write_part(TRACES, 0, [TRACE, hostile], "f")
    clean = replace(
        hostile,
        steps=("nul \0 half \ufffd end\r\n", "\ufeff\u2028\n"),
        metadata={"\ufffd": "\U0001f600"},
    )
    assert list(dataset.read_part(TRACES, 0)) == [TRACE, clean]


def test_large_steps_are_stored(dataset: Dataset) -> None:
    long = replace(TRACE, steps=("é" * 500_000, "\n" * 1_000_000))
    dataset.write_part(TRACES, 0, [long] * 70, "f")
    for trace in dataset.read_part(TRACES, 0):
        assert trace == long
    assert dataset.count(TRACES) == 70


def test_missing_column_is_named() -> None:
    row = named_row(PROBLEMS, PROBLEM)
    del row["question"]
    with pytest.raises(DatasetError, match="a row is not a valid Problem: question: "):
        to_record(Problem, row)


def test_unknown_column_is_ignored() -> None:
    row = named_row(REJECTED, REJECTED_ROW)
    assert to_record(Rejected, row | {"later": 1}) == REJECTED_ROW
