"""Rows that are read by column equal the rows that were written."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.dataset.columns import record_batch, rows
from storage.dataset.schemas import ENTRIES, SCHEMAS

TEXTS = st.text(st.characters(codec="utf-8"), max_size=3)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Generate values of an Arrow type."""
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: cells(field) for field in kind})
    if kind == ENTRIES:
        return st.dictionaries(TEXTS, TEXTS, max_size=2)
    if pa.types.is_list(kind):
        return st.lists(cells(kind.value_field), max_size=3)
    if pa.types.is_string(kind):
        return TEXTS
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    return {pa.bool_(): st.booleans(), pa.float64(): st.floats(allow_nan=False)}.get(
        kind, st.integers(0, 2**31 - 1)
    )


def cells(field: pa.Field) -> st.SearchStrategy[Any]:
    return st.none() | values(field.type) if field.nullable else values(field.type)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rows_survive_the_conversion(data: st.DataObject) -> None:
    schema = SCHEMAS[data.draw(st.sampled_from(sorted(SCHEMAS)))]
    rows_of = st.fixed_dictionaries({field.name: cells(field) for field in schema})
    expected = data.draw(st.lists(rows_of, min_size=1, max_size=5))
    batch = record_batch([[row[name] for name in schema.names] for row in expected], schema)
    assert batch.schema == schema
    batch.validate(full=True)
    start = data.draw(st.integers(0, len(expected)))
    assert rows(batch) == expected
    assert rows(batch.slice(start)) == expected[start:]
    assert rows(batch.slice(0, start)) == expected[:start]


def test_last_of_equal_keys_counts() -> None:
    twice = pa.array([[("a", "1"), ("a", "2")], None, []], pa.map_(pa.string(), pa.string()))
    assert rows(pa.RecordBatch.from_arrays([twice], ["m"])) == [
        {"m": {"a": "2"}},
        {"m": None},
        {"m": {}},
    ]


def test_entries_become_dictionaries() -> None:
    twice = pa.array(
        [[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}], None, []],
        ENTRIES,
    )
    assert rows(pa.RecordBatch.from_arrays([twice], ["m"])) == [
        {"m": {"a": "2"}},
        {"m": None},
        {"m": {}},
    ]
