"""Completions as rows of Arrow tables, which take less memory than records.

The column `revision` orders the rows of one key: it is 0 for the first completion, and each
completion that replaces another has the next number. The row with the highest revision counts, in
whichever file it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from stepmark.records import StoredCompletion
from storage.completions.files import MEMORY_SCHEMA
from storage.dataset.rows import replace_surrogates

__all__ = ["NO_REVISION", "IndexedRows", "Revised", "encodable", "to_table"]

NO_REVISION = -1
_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1
_NUMBERS = ("seed", "prompt_tokens", "cached_tokens", "generated_tokens")
_TEXTS = ("model", "text", "finish_reason")


class Revised(NamedTuple):
    """A completion and its revision."""

    completion: StoredCompletion
    revision: int


class _Columns:
    """The columns of a table, with access to single values."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.revision: Sequence[int] = table["revision"].to_numpy()
        # NumPy's views of numbers need no memory, and return values ten times as fast as Arrow.
        self._numbers = [table[name].to_numpy() for name in _NUMBERS]
        self._texts = [_single_chunk(table[name]) for name in _TEXTS]
        self._logprobs = _optional_column(table, "logprobs")
        self._reasoning = _optional_column(table, "reasoning")

    def completion(self, key: bytes, row: int) -> StoredCompletion:
        """Return the completion in a row with this key."""
        seed, prompt_tokens, cached_tokens, generated_tokens = [
            int(numbers[row]) for numbers in self._numbers
        ]
        model, text, finish_reason = [texts[row].as_py() for texts in self._texts]
        logprobs = None
        if self._logprobs is not None:
            logprobs = self._logprobs[row].as_py()
        if logprobs is not None:
            logprobs = tuple(logprobs)
        reasoning = None
        if self._reasoning is not None:
            reasoning = self._reasoning[row].as_py()
        return StoredCompletion(
            key=key,
            model=model,
            seed=seed,
            text=text,
            finish_reason=finish_reason,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            generated_tokens=generated_tokens,
            logprobs=logprobs,
            reasoning=reasoning,
        )


def _optional_column(table: pa.Table, name: str) -> Any:
    """Return a column; None if all of its values are null, as they are in most tables."""
    if table[name].null_count == table.num_rows:
        return None
    return _single_chunk(table[name])


def _single_chunk(column: pa.ChunkedArray) -> Any:
    # An array returns values twice as fast as a column of chunks. Nearly all have one.
    if column.num_chunks == 1:
        return column.chunk(0)
    return column


class IndexedRows:
    """Tables of completions with the newest row of each key."""

    def __init__(self, tables: Sequence[pa.Table] = ()) -> None:
        self._tables: list[_Columns] = []
        self._indexed_tables = 0
        # The number of the table and the row in it, as one integer, which takes less memory.
        self._position_of: dict[bytes, int] = {}
        for table in tables:
            self.add(table)

    def add(self, table: pa.Table) -> None:
        """Add a table; its rows are newer than others with the same revision."""
        self._tables.append(_Columns(table))

    def revision(self, key: bytes) -> int:
        """Return the newest revision of a key, or -1 if there is none."""
        if self._indexed_tables < len(self._tables):
            self.index()
        position = self._position_of.get(key)
        if position is None:
            return NO_REVISION
        return self._revision(position)

    def completion(self, key: bytes) -> StoredCompletion:
        """Return the newest completion of a key, which must exist."""
        position = self.index()[key]
        return self._tables[position >> _ROW_BITS].completion(key, position & _ROW_MASK)

    def newest_rows(self) -> pa.Table:
        """Return the newest row of each key, in order of the seeds."""
        tables = [columns.table for columns in self._tables]
        rows = pa.concat_tables(tables)
        if len(self.index()) < rows.num_rows:
            rows = rows.take(pa.array(self._newest_positions(), pa.int64()))
        # Samples of one request become neighbours, so that their seeds and texts compress better.
        return rows.sort_by("seed")

    def _newest_positions(self) -> Sequence[int]:
        """Return the position of the newest row of each key among the rows of all tables."""
        starts = [0]
        for columns in self._tables:
            starts.append(starts[-1] + columns.table.num_rows)
        positions = []
        for position in self.index().values():
            positions.append(starts[position >> _ROW_BITS] + (position & _ROW_MASK))
        return positions

    def index(self) -> Mapping[bytes, int]:
        """Return the position of the newest row of each key.

        Tables are indexed at the first call, because a shard that ends needs no index of its part.
        """
        while self._indexed_tables < len(self._tables):
            self._index_table(self._indexed_tables)
            self._indexed_tables += 1
        return self._position_of

    def _index_table(self, number: int) -> None:
        columns = self._tables[number]
        first = number << _ROW_BITS
        keys = columns.table["key"].to_pylist()
        position_of = dict(zip(keys, range(first, first + len(keys)), strict=True))
        if len(position_of) == len(keys) and self._position_of.keys().isdisjoint(position_of):
            # Nearly all tables have new keys only, and need no comparison of revisions.
            self._position_of.update(position_of)
            return
        for position, (key, revision) in enumerate(zip(keys, columns.revision, strict=True), first):
            other = self._position_of.get(key)
            if other is None or revision >= self._revision(other):
                self._position_of[key] = position

    def _revision(self, position: int) -> int:
        return int(self._tables[position >> _ROW_BITS].revision[position & _ROW_MASK])


def to_table(completions: Iterable[Revised]) -> pa.Table:
    """Return completions as a table with `MEMORY_SCHEMA`."""
    records, revisions = zip(*completions, strict=True)
    # The fields of the record are the first columns, in the same order.
    columns = [*zip(*records, strict=True), revisions]
    arrays = []
    for field, values in zip(MEMORY_SCHEMA, columns, strict=True):
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=MEMORY_SCHEMA)


def encodable(completion: StoredCompletion) -> StoredCompletion:
    """Return the completion with lone surrogates replaced, as `storage.dataset.rows` does.

    It is then equal before and after it is written.
    """
    texts = (
        completion.text,
        completion.finish_reason,
        completion.model,
        completion.reasoning or "",
    )
    # Python knows of each text whether it is ASCII, and most are.
    if all(map(str.isascii, texts)):
        return completion
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        text, finish_reason, model, reasoning = replace_surrogates(texts)
        return completion._replace(
            text=text, finish_reason=finish_reason, model=model, reasoning=reasoning or None
        )
    return completion
