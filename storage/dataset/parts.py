"""One Parquet part: written in row groups of bounded size and read in small batches.

The footer of a part contains its part key: a digest of everything that could change its content.
"""

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
from storage.dataset.rows import replace_surrogates

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
# Bounds the memory of a writer.
ROW_GROUP_BYTES = 64 << 20
# Arrow stores at most 2 GiB of text in one array: with 256 rows, each can have 8 MiB of text.
BATCH_ROWS = 256
# Keys in the metadata of the footer. Existing datasets contain them.
_PART_KEY = b"stepmark.fingerprint"
_VERSION = b"stepmark.version"
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The metadata in the footer of a part."""

    part_key: str
    """The digest of everything that could change the content of the part."""
    rows: int
    """The number of rows."""
    version: str
    """The version of Stepmark that wrote the part; "" if the footer has none."""


def write(file: BinaryIO, schema: pa.Schema, rows: Iterable[dict[str, Any]], part_key: str) -> int:
    """Write a complete part and return the number of rows; memory holds one row group at a time."""
    metadata = {_PART_KEY: part_key, _VERSION: stepmark_version()}
    count = 0
    with pq.ParquetWriter(file, schema.with_metadata(metadata), compression=COMPRESSION) as writer:
        for group in row_groups(schema, rows):
            writer.write_table(group)
            count += group.num_rows
    return count


def row_groups(schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """Yield the rows as Arrow tables of about `ROW_GROUP_BYTES`; the last one is smaller."""
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in _batches(schema, rows):
        batches.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(batches)
            batches = []
            size = 0
    if batches:
        yield pa.Table.from_batches(batches)


def read_footer(file: BinaryIO, schema: pa.Schema) -> Footer | None:
    """Return the footer of a part, without reading the rest of the file.

    None if the file is truncated, was not written by Stepmark, or has another schema. An error of
    the file system is raised unchanged: a network error must not be reported as a corrupt part.
    """
    footer_bytes = _footer_bytes(file)
    if footer_bytes is None:
        return None
    try:
        parquet_footer = pq.read_metadata(pa.BufferReader(footer_bytes))
        has_schema = parquet_footer.schema.to_arrow_schema().equals(schema)
    except (pa.ArrowException, OSError):
        return None
    metadata = parquet_footer.metadata or {}
    if not has_schema or _PART_KEY not in metadata:
        return None
    return Footer(
        part_key=metadata[_PART_KEY].decode(),
        rows=parquet_footer.num_rows,
        version=metadata.get(_VERSION, b"").decode(),
    )


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part, in batches of `BATCH_ROWS`.

    Raises:
        pyarrow.ArrowException: The part is damaged. Arrow also raises OSError for this.
    """
    # Without threads: distributing a few rows among them takes longer than decoding the rows.
    for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        yield from columns.rows(batch)


@cache
def stepmark_version() -> str:
    """Return the installed version, or "unknown" in a checkout that is not installed.

    Cached, because it is written to every part.
    """
    try:
        return version("stepmark")
    except PackageNotFoundError:
        return "unknown"


def _batches(schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH_ROWS)):
        try:
            yield pa.RecordBatch.from_pylist(batch, schema=schema)
        except UnicodeEncodeError:
            # Lone surrogates are rare, so rows are searched for them only after an error.
            encodable = [replace_surrogates(row) for row in batch]
            yield pa.RecordBatch.from_pylist(encodable, schema=schema)


def _footer_bytes(file: BinaryIO) -> bytes | None:
    """Return the end of the file as the smallest valid Parquet file; None if it is truncated."""
    # A Parquet file ends with its footer, the length of the footer in 4 bytes, and the magic bytes.
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
