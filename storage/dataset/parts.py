"""One Parquet part: written in row groups of bounded size, recognised by its footer, read in small batches."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from storage.dataset import columns
from storage.dataset.rows import mended

__all__ = [
    "COMPRESSION",
    "Footer",
    "read",
    "read_footer",
    "row_groups",
    "stepmark_version",
    "write",
]

COMPRESSION = "zstd"
ROW_GROUP_BYTES = 64 << 20
# Arrow keeps at most 2 GiB of text in one array: 256 rows leave 8 MiB of text for each.
BATCH_ROWS = 256
_FINGERPRINT = b"stepmark.fingerprint"
_VERSION = b"stepmark.version"
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a part says of itself."""

    fingerprint: str
    rows: int
    version: str


def write(
    file: BinaryIO, schema: pa.Schema, rows: Iterable[dict[str, Any]], fingerprint: str
) -> int:
    """Write a whole part, holding one row group in memory at a time; returns the number of rows."""
    stamped = schema.with_metadata({_FINGERPRINT: fingerprint, _VERSION: stepmark_version()})
    count = 0
    with pq.ParquetWriter(file, stamped, compression=COMPRESSION) as writer:
        for group in row_groups(schema, rows):
            writer.write_table(group)
            count += group.num_rows
    return count


def row_groups(schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """The rows as Arrow tables of about `ROW_GROUP_BYTES` each, the last one smaller."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in _batches(schema, rows):
        held.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def read_footer(file: BinaryIO, schema: pa.Schema) -> Footer | None:
    """The part's footer; None when the file is torn, is no part of ours, or was written under another schema.

    Only the footer is fetched. What the file system itself refuses passes through as it is: a network that is down makes no part torn.
    """
    tail = _tail(file)
    if tail is None:
        return None
    try:
        found = pq.read_metadata(pa.BufferReader(tail))
        same = found.schema.to_arrow_schema().equals(schema)
    except (pa.ArrowException, OSError):
        return None
    stamp = found.metadata or {}
    if not same or _FINGERPRINT not in stamp:
        return None
    return Footer(
        fingerprint=stamp[_FINGERPRINT].decode(),
        rows=found.num_rows,
        version=stamp.get(_VERSION, b"").decode(),
    )


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows of a part, a few at a time; Arrow's own errors when it is damaged."""
    # Without threads: to share a few rows out among them takes longer than to decode them.
    for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        yield from columns.rows(batch)


@cache
def stepmark_version() -> str:
    """The installed version; "unknown" in a checkout that is not installed. Read once: every part bears it."""
    try:
        return version("stepmark")
    except PackageNotFoundError:
        return "unknown"


def _batches(schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    source = iter(rows)
    while batch := list(islice(source, BATCH_ROWS)):
        try:
            yield pa.RecordBatch.from_pylist(batch, schema=schema)
        except UnicodeEncodeError:
            yield pa.RecordBatch.from_pylist([mended(row) for row in batch], schema=schema)


def _tail(file: BinaryIO) -> bytes | None:
    # A Parquet file ends with its footer, the footer's length in 4 bytes, and the magic word.
    size = file.seek(0, io.SEEK_END)
    if size < 3 * len(_MAGIC):
        return None
    file.seek(size - 8)
    end = file.read(8)
    length = int.from_bytes(end[:4], "little") + 8
    if end[4:] != _MAGIC or length > size - len(_MAGIC):
        return None
    file.seek(size - length)
    return _MAGIC + file.read(length)
