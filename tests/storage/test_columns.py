"""Rows that are read by column equal the rows of Arrow's own conversion."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.dataset.columns import rows
from storage.dataset.schemas import SCHEMAS

TEXTS = st.text(st.characters(codec="utf-8"), max_size=3)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Generate values of an Arrow type."""
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: cells(field) for field in kind})
    if pa.types.is_map(kind):
        return st.dictionaries(TEXTS, TEXTS, max_size=2)
    if pa.types.is_list(kind):
        return st.lists(cells(kind.value_field), max_size=3)
    if pa.types.is_string(kind):
        return TEXTS
    return {pa.bool_(): st.booleans(), pa.float64(): st.floats(allow_nan=False)}.get(
        kind, st.integers(0, 2**31 - 1)
    )


def cells(field: pa.Field) -> st.SearchStrategy[Any]:
    return st.none() | values(field.type) if field.nullable else values(field.type)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rows_equal_those_of_arrow(data: st.DataObject) -> None:
    schema = SCHEMAS[data.draw(st.sampled_from(sorted(SCHEMAS)))]
    row = st.fixed_dictionaries({field.name: cells(field) for field in schema})
    expected = data.draw(st.lists(row, max_size=5))
    batch = pa.RecordBatch.from_pylist(expected, schema=schema)
    start = data.draw(st.integers(0, len(expected)))
    for part in (batch, batch.slice(start), batch.slice(0, start)):
        assert rows(part) == part.to_pylist(maps_as_pydicts="lossy")


def test_last_of_equal_keys_counts() -> None:
    twice = pa.array([[("a", "1"), ("a", "2")], None, []], pa.map_(pa.string(), pa.string()))
    assert rows(pa.RecordBatch.from_arrays([twice], ["m"])) == [
        {"m": {"a": "2"}},
        {"m": None},
        {"m": {}},
    ]
