"""One Parquet part: written in row groups of bounded size and read in small batches.

The footer of a part contains its part key, which is a digest of everything that could change its
content, a digest of the content itself, and a seal: checksums of all bytes of the file. The pages
have checksums too, which every Parquet reader can verify.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from storage.dataset import columns
from storage.dataset.migrations import FORMAT, readable_columns
from storage.dataset.rows import replace_surrogates

__all__ = [
    "COMPRESSION",
    "Footer",
    "TraceIndex",
    "has_intact_data",
    "read",
    "read_arrow_columns",
    "read_columns",
    "read_footer",
    "read_matching",
    "read_trace_index",
    "record_batches",
    "row_bytes",
    "row_groups",
    "stepmark_version",
    "write",
]

COMPRESSION = "zstd"
# Bounds the memory of a writer.
ROW_GROUP_BYTES = 64 << 20
# Arrow stores at most 2 GiB of text in one array: with 256 rows, each can have 8 MiB of text.
# The content digest is computed by batch, so another number changes it.
BATCH_ROWS = 256
# Columns that differ between two runs with the same results: not part of the content.
TIMING_COLUMNS = frozenset({"seconds", "waited_seconds"})
# Keys in the metadata of the footer. Existing datasets contain them.
_PART_KEY = b"stepmark.fingerprint"
_VERSION = b"stepmark.version"
_CONTENT = b"stepmark.content"
_FORMAT = b"stepmark.format"
_TABLES = b"stepmark.tables"
_FAILED = b"stepmark.failed"
_SEAL = b"stepmark.seal"
_ARROW_SCHEMA = b"ARROW:schema"
# Parts of format 1 have no seal. The footer of another part without a seal is damaged.
_FORMAT_1_KEYS = frozenset({_PART_KEY, _VERSION, _ARROW_SCHEMA})
_MAGIC = b"PAR1"
# 8 hexadecimal digits of the CRC-32 of the data, then 32 of the SHA-256 of the footer. CRC-32 finds
# every error of up to 32 adjacent bits and takes a third of the time of SHA-256.
_DATA_DIGITS = 8
_SEAL_DIGITS = _DATA_DIGITS + 32
# The bytes before the seal in the footer. In Thrift's compact protocol a text has one byte for its
# type (0x18) and one for its length. Later formats must keep the seal where it is, so that older
# versions can tell a newer part from a damaged one.
_SEAL_PREFIX = _SEAL + bytes([0x18, _SEAL_DIGITS])
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The metadata in the footer of a part."""

    part_key: str
    """The digest of everything that could change the content of the part."""
    rows: int
    """The number of rows."""
    version: str
    """The version of Stepmark that wrote the part; "" if the footer has none."""
    content: str
    """The digest of the rows without timing columns; the part key if the part is of format 1."""
    format: int = FORMAT
    """The format of the part; see `migrations`."""
    tables: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """The rows and the content of the parts that were written with this one, by kind."""
    failed: int = 0
    """The number of rows that failed for a reason that can pass."""
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]), compare=False, repr=False)
    """The schema of the part, which can be an earlier one."""
    data_checksum: str = field(default="", compare=False, repr=False)
    """The checksum of all bytes before the footer; "" if the part is of format 1."""
    id_chunks: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    """The position and size in bytes of the column `trace_id` in each row group, if `read_footer`
    read the footer of a part that has the columns `trace_id` and `steps`."""
    steps: int = field(default=0, compare=False, repr=False)
    """The steps of all rows of such a part; a row without steps counts as one."""


class TraceIndex(NamedTuple):
    """Which traces the rows of a part are about, and how many steps they have together."""

    encoded_ids: bytes
    """The column `trace_id` as it is stored: equal bytes are equal ids, and fast to compare."""
    steps: int


def write(
    file: BinaryIO,
    schema: pa.Schema,
    rows: Iterable[Sequence[Any]],
    part_key: str,
    *,
    tables: Mapping[str, Footer] = MappingProxyType({}),
    failed: int | Callable[[], int] = 0,
) -> Footer:
    """Write a complete part and return its footer; memory holds one row group at a time.

    Args:
        file: A file that can be read and written.
        schema: The schema of the rows.
        rows: The rows with one value per column, which can be computed while they are written.
        part_key: The part key.
        tables: The footers of the parts that belong to this part, by kind.
        failed: The number of failed rows, or a function that is called after the last row.
    """
    siblings = {kind: (footer.rows, footer.content) for kind, footer in tables.items()}
    content = _content_hash(schema)
    count = 0
    with pq.ParquetWriter(
        file, schema, compression=COMPRESSION, write_page_checksum=True
    ) as writer:
        for group in row_groups(schema, rows, content):
            writer.write_table(group)
            count += group.num_rows
        footer = Footer(
            part_key=part_key,
            rows=count,
            version=stepmark_version(),
            content=content.hexdigest()[:32],
            tables=siblings,
            failed=failed if isinstance(failed, int) else failed(),
            schema=schema,
        )
        writer.add_key_value_metadata(_to_metadata(footer))
    _write_seal(file)
    return footer


def row_groups(
    schema: pa.Schema, rows: Iterable[Sequence[Any]], content: Any = None
) -> Iterator[pa.Table]:
    """Yield the rows as Arrow tables of about `ROW_GROUP_BYTES`; the last one is smaller.

    Args:
        schema: The schema of the rows.
        rows: The rows with one value per column.
        content: A hash that is updated with every row; None if it is not needed.
    """
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in record_batches(schema, rows):
        if content is not None:
            _update_content(content, batch)
        batches.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(batches)
            batches = []
            size = 0
    if batches:
        yield pa.Table.from_batches(batches)


def read_footer(file: BinaryIO, kind: str) -> Footer | None:
    """Return the footer of a part, without reading the rest of the file.

    None if the file is truncated, the footer is damaged or was not written by Stepmark, or the
    columns are not those of the kind. The columns of a part of a later format are not checked. An
    error of the file system is raised unchanged: a network error must not be reported as a corrupt
    part.
    """
    footer_bytes = _footer_bytes(file)
    if footer_bytes is None:
        return None
    seal_start = footer_bytes.find(_SEAL_PREFIX) + len(_SEAL_PREFIX)
    has_seal = seal_start >= len(_SEAL_PREFIX)
    seal = footer_bytes[seal_start : seal_start + _SEAL_DIGITS] if has_seal else b""
    if has_seal and seal[_DATA_DIGITS:] != _footer_digest(footer_bytes, seal_start):
        return None
    try:
        parquet_file = pq.ParquetFile(pa.BufferReader(footer_bytes))
        metadata = parquet_file.metadata.metadata or {}
        if _PART_KEY not in metadata or not (has_seal or metadata.keys() <= _FORMAT_1_KEYS):
            return None
        footer = _from_metadata(parquet_file, seal[:_DATA_DIGITS].decode())
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return None
    if footer.format <= FORMAT and readable_columns(kind, footer.schema) is None:
        return None
    return footer


def has_intact_data(file: BinaryIO, footer: Footer) -> bool:
    """Check the bytes before the footer; True for a part of format 1, which has no checksum."""
    if not footer.data_checksum:
        return True
    return _data_checksum(file, _footer_start(file)) == footer.data_checksum


def read(file: BinaryIO, kind: str, footer: Footer) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part with current column names, in batches of `BATCH_ROWS`.

    A column that the part lacks is missing in the rows if it was added later.

    Raises:
        pyarrow.ArrowException: The part is damaged. Arrow also raises OSError for this.
        UnicodeDecodeError: A text is damaged.
    """
    names = readable_columns(kind, footer.schema)
    assert names is not None, "`read_footer` returns no footer of another table"
    parquet_file = pq.ParquetFile(file, page_checksum_verification=True)
    # Without threads: distributing a few rows among them takes longer than decoding the rows.
    batches = parquet_file.iter_batches(
        batch_size=BATCH_ROWS, use_threads=False, columns=list(names.values())
    )
    current_names = {name: current_name for current_name, name in names.items()}
    for batch in batches:
        batch_names = [current_names[name] for name in batch.schema.names]
        yield from columns.rows(batch.rename_columns(batch_names))


def read_matching(
    file: BinaryIO, kind: str, footer: Footer, column: str, values: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part that have one of some values in a text column, as `read` does.

    The other columns are decoded only in row groups that have one of the values.

    Raises:
        pyarrow.ArrowException: As for `read`, also OSError.
        UnicodeDecodeError: A text is damaged.
    """
    # Few commands need it, and it is not part of the start of `pyarrow`.
    import pyarrow.compute as pc

    names = readable_columns(kind, footer.schema)
    assert names is not None, "`read_footer` returns no footer of another table"
    if column not in names:
        return
    value_set = pa.array(values, pa.string())
    parquet_file = pq.ParquetFile(file, page_checksum_verification=True)
    current_names = {name: current_name for current_name, name in names.items()}
    for group in range(parquet_file.num_row_groups):
        key = parquet_file.read_row_group(group, [names[column]], use_threads=False)
        is_match = pc.is_in(key[names[column]], value_set).combine_chunks()
        remaining = is_match.true_count
        if not remaining:
            continue
        start = 0
        for batch in parquet_file.iter_batches(
            batch_size=BATCH_ROWS, row_groups=[group], use_threads=False, columns=[*names.values()]
        ):
            batch_match = is_match.slice(start, batch.num_rows)
            start += batch.num_rows
            if batch_match.true_count:
                batch_names = [current_names[name] for name in batch.schema.names]
                yield from columns.rows(batch.filter(batch_match).rename_columns(batch_names))
            remaining -= batch_match.true_count
            if not remaining:
                break


def read_arrow_columns(file: BinaryIO, kind: str, footer: Footer, names: Sequence[str]) -> pa.Table:
    """Return columns of a part with their current names, without those that the part lacks.

    Args:
        file: The part.
        kind: The kind of its table.
        footer: Its footer.
        names: The current names; `steps.trials` is one field of the structs in the list `steps`.

    Raises:
        pyarrow.ArrowException: As for `read_columns`, also OSError.
    """
    stored_names = readable_columns(kind, footer.schema)
    assert stored_names is not None, "`read_footer` returns no footer of another table"
    paths = []
    current_names = dict[str, str]()
    for name in names:
        column, _, element_field = name.partition(".")
        if column in stored_names:
            stored_name = stored_names[column]
            current_names[stored_name] = column
            nested = f".list.element.{element_field}" if element_field else ""
            paths.append(stored_name + nested)
    parquet_file = pq.ParquetFile(file, page_checksum_verification=True)
    table = parquet_file.read(paths, use_threads=False)
    return table.rename_columns([current_names[name] for name in table.column_names])


def read_columns(file: BinaryIO, names: Sequence[str]) -> Mapping[str, list[Any]]:
    """Return the values of some columns of a part, by name.

    Raises:
        pyarrow.ArrowException: The part is damaged. Arrow also raises OSError for this.
        UnicodeDecodeError: A text is damaged.
    """
    parquet_file = pq.ParquetFile(file, page_checksum_verification=True)
    columns = parquet_file.read(list(names), use_threads=False)
    return {name: columns[name].to_pylist() for name in names}


def read_trace_index(file: BinaryIO, footer: Footer) -> TraceIndex:
    """Return the index of a part that has the columns `trace_id` and `steps`.

    Args:
        file: The part.
        footer: Its footer, from `read_footer`.
    """
    encoded_ids = []
    for position, size in footer.id_chunks:
        file.seek(position)
        encoded_ids.append(file.read(size))
    return TraceIndex(b"".join(encoded_ids), footer.steps)


def _id_chunks_and_steps(
    metadata: pq.FileMetaData, schema: pa.Schema
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return `Footer.id_chunks` and `Footer.steps` of a part with this schema."""
    if not {"trace_id", "steps"} <= set(schema.names):
        return (), 0
    id_chunks = []
    steps = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        ids = _first_column(group, "trace_id")
        start = ids.data_page_offset
        if ids.dictionary_page_offset is not None:
            start = ids.dictionary_page_offset
        id_chunks.append((start, ids.total_compressed_size))
        # A row without steps counts as one value.
        steps += _first_column(group, "steps").num_values
    return tuple(id_chunks), steps


def _first_column(group: pq.RowGroupMetaData, name: str) -> pq.ColumnChunkMetaData:
    """Return the column of a name, or the first of those that a nested column is stored as.

    The paths come from the row group: `FileMetaData.schema` refers to its file and is kept by it,
    so that both stay in memory until a garbage collection, 50 KB for each part.

    Raises:
        ValueError: The row group lacks it.
    """
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema.partition(".")[0] == name:
            return chunk
    raise ValueError(f"a row group has no column {name}")


def row_bytes(file: BinaryIO) -> int:
    """Return the size of the rows of a Parquet file as they are compressed, without its footer."""
    metadata = pq.read_metadata(file)
    size = 0
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            size += metadata.row_group(group).column(column).total_compressed_size
    return size


@cache
def stepmark_version() -> str:
    """Return the installed version, or "unknown" in a checkout that is not installed.

    Cached, because it is written to every part.
    """
    try:
        return version("stepmark")
    except PackageNotFoundError:
        return "unknown"


def record_batches(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> Iterator[pa.RecordBatch]:
    """Yield the rows as batches of at most `BATCH_ROWS`; lone surrogates become U+FFFD."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH_ROWS)):
        try:
            yield columns.record_batch(batch, schema)
        except UnicodeEncodeError:
            # Lone surrogates are rare, so rows are searched for them only after an error.
            encodable = [replace_surrogates(row) for row in batch]
            yield columns.record_batch(encodable, schema)


def _content_hash(schema: pa.Schema) -> Any:
    """Return a hash of the names and types of the columns that `_update_content` adds."""
    content = hashlib.sha256()
    for column in schema:
        if column.name not in TIMING_COLUMNS:
            content.update(f"{column.name}: {column.type}\n".encode())
    return content


def _update_content(content: Any, batch: pa.RecordBatch) -> None:
    timing = [name for name in batch.schema.names if name in TIMING_COLUMNS]
    # Arrow's own format of the batch: it contains the number of rows, and zeros for NULL.
    content.update(batch.drop_columns(timing).serialize())


def _to_metadata(footer: Footer) -> Mapping[bytes, str]:
    return {
        _PART_KEY: footer.part_key,
        _VERSION: footer.version,
        _CONTENT: footer.content,
        _FORMAT: str(footer.format),
        _TABLES: json.dumps(footer.tables, sort_keys=True),
        _FAILED: str(footer.failed),
        # `_write_seal` replaces the zeros.
        _SEAL: "0" * _SEAL_DIGITS,
    }


def _from_metadata(parquet_file: pq.ParquetFile, data_checksum: str) -> Footer:
    """Return the footer.

    Raises:
        ValueError: An entry of the metadata is invalid.
        TypeError: The same.
    """
    metadata = parquet_file.metadata
    entries = {key: value.decode() for key, value in metadata.metadata.items()}
    part_format = int(entries.get(_FORMAT, "1"))
    tables = {}
    for kind, (rows, content) in json.loads(entries.get(_TABLES, "{}")).items():
        tables[str(kind)] = (int(rows), str(content))
    schema = pa.schema([])
    # A later format may have types that this version of Arrow does not know.
    if part_format <= FORMAT:
        schema = parquet_file.schema_arrow.remove_metadata()
    id_chunks, steps = _id_chunks_and_steps(metadata, schema)
    return Footer(
        part_key=entries[_PART_KEY],
        rows=metadata.num_rows,
        version=entries.get(_VERSION, ""),
        content=entries.get(_CONTENT, entries[_PART_KEY]),
        format=part_format,
        tables=tables,
        failed=int(entries.get(_FAILED, "0")),
        schema=schema,
        data_checksum=data_checksum,
        id_chunks=id_chunks,
        steps=steps,
    )


def _write_seal(file: BinaryIO) -> None:
    """Replace the zeros of the seal by the checksums of the file."""
    file.flush()
    footer_start = _footer_start(file)
    assert footer_start is not None, "the writer was closed"
    data_checksum = _data_checksum(file, footer_start).encode()
    file.seek(footer_start)
    footer_bytes = file.read()
    seal_start = footer_bytes.index(_SEAL_PREFIX) + len(_SEAL_PREFIX)
    # The checksum of the data is part of the footer, so the digest of the footer covers it.
    sealed = footer_bytes[:seal_start] + data_checksum + footer_bytes[seal_start + _DATA_DIGITS :]
    file.seek(footer_start + seal_start)
    file.write(data_checksum + _footer_digest(_MAGIC + sealed, len(_MAGIC) + seal_start))
    file.seek(0, io.SEEK_END)


def _footer_digest(footer_bytes: bytes, seal_start: int) -> bytes:
    """Return the digest of the footer without the digits of the digest itself."""
    digest = hashlib.sha256(footer_bytes[: seal_start + _DATA_DIGITS])
    digest.update(footer_bytes[seal_start + _SEAL_DIGITS :])
    return digest.hexdigest()[: _SEAL_DIGITS - _DATA_DIGITS].encode()


def _data_checksum(file: BinaryIO, end: int | None) -> str:
    """Return the CRC-32 of the first `end` bytes; "" if the file has no footer."""
    if end is None:
        return ""
    file.seek(0)
    checksum = 0
    remaining = end
    while remaining:
        chunk = file.read(min(remaining, _CHUNK_BYTES))
        if not chunk:
            return ""
        checksum = zlib.crc32(chunk, checksum)
        remaining -= len(chunk)
    return f"{checksum:0{_DATA_DIGITS}x}"


def _footer_bytes(file: BinaryIO) -> bytes | None:
    """Return the end of the file as the smallest valid Parquet file; None if it is truncated."""
    start = _footer_start(file)
    if start is None:
        return None
    file.seek(start)
    return _MAGIC + file.read()


def _footer_start(file: BinaryIO) -> int | None:
    """Return the position of the footer; None if the file is truncated."""
    # A Parquet file ends with its footer, the length of the footer in 4 bytes, and the magic bytes.
    size = file.seek(0, io.SEEK_END)
    if size < 3 * len(_MAGIC):
        return None
    file.seek(size - 8)
    end = file.read(8)
    length = int.from_bytes(end[:4], "little") + 8
    if end[4:] != _MAGIC or length > size - len(_MAGIC):
        return None
    return size - length
