"""The files of the store of completions: names, encodings and footers.

    DATASET/completions/part-00000.parquet              the completions of a finished shard
                        segment-00000-<random>.parquet  completions that were appended since

A file contains complete rows or does not exist, because `Folder.writing` renames it or uploads it
in one request. The footer lists the problems of the shard for which the file was written, so that
completions are found again after problems were distributed over other shards.

Two digests in the footer cover every byte of a file: one the rows, the other the footer itself.
Checksums of Parquet cover neither the footer nor the headers of pages, where one flipped bit can
turn rows into others.
"""

import hashlib
import io
import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from stepmark.errors import DatasetError
from storage.dataset.folder import Folder
from storage.dataset.parts import COMPRESSION, stepmark_version
from storage.dataset.schemas import SCHEMAS

__all__ = [
    "FOLDER",
    "MEMORY_SCHEMA",
    "Damaged",
    "Header",
    "StoreFile",
    "list_files",
    "part_file",
    "read_header",
    "read_headers",
    "read_table",
    "readable_files",
    "segment_file",
    "write_table",
]

FOLDER = "completions"
SCHEMA = SCHEMAS["completions"]
# A file with a higher format was written by a newer version. Increase it when columns change.
FORMAT = 2
_METADATA_KEY = b"stepmark.completions"
_MAGIC = b"PAR1"
# A Parquet file ends with its footer, the length of the footer in 4 bytes, and the magic bytes.
_END_BYTES = 8
_DIGEST_BYTES = 16
# The digests are written as hexadecimal digits over these.
_PLACEHOLDER = "0" * (2 * _DIGEST_BYTES)
# Most footers are smaller: one request of a bucket then returns the whole footer.
_TAIL_BYTES = 1 << 16
# Requests to a bucket take tens of milliseconds each and wait for the network.
_FOOTER_THREADS = 16
# Five digits, or more without a leading zero, as in the names of parts.
_NAME = re.compile(r"(part|segment)-(\d{5}|[1-9]\d{5,})(-[0-9a-f]{16})?\.parquet", re.ASCII)
# Columns with few different values. Keys and texts differ, so a dictionary only makes them larger.
_DICTIONARIES = [
    "model",
    "finish_reason",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "revision",
]
# The samples of one request have consecutive seeds. Split into streams of equal bytes, the high
# bytes of a request compress to nothing: 0.7 bytes per row for requests of 8 samples, where plain
# values take 1.5 and DELTA_BINARY_PACKED 0.9.
_ENCODINGS = {
    "key": "PLAIN",
    "seed": "BYTE_STREAM_SPLIT",
    "text": "PLAIN",
    "reasoning": "PLAIN",
    "logprobs.list.element": "PLAIN",
}
# Level 9 makes the texts 10 % smaller and takes three times as long: the driver of a run would need
# 5 microseconds more per completion.
_PART_LEVEL = 3
_PART_ENCODING: Mapping[str, Any] = {
    "compression": COMPRESSION,
    "compression_level": _PART_LEVEL,
    "use_dictionary": _DICTIONARIES,
    "column_encoding": _ENCODINGS,
}
# A segment is written every few seconds for each shard and soon removed: half of the processor time
# counts more than twice the size.
_SEGMENT_ENCODING: Mapping[str, Any] = {
    "compression": {"text": COMPRESSION, "reasoning": COMPRESSION},
    "use_dictionary": False,
}


def _schema_of_format_1() -> pa.Schema:
    # The column `reasoning` was added in format 2.
    return SCHEMA.remove(SCHEMA.get_field_index("reasoning"))


def _memory_schema() -> pa.Schema:
    # Arrow arrays of `string` are limited to 2 GiB, which the texts of one shard can exceed.
    schema = SCHEMA
    for name in ("text", "reasoning"):
        index = schema.get_field_index(name)
        schema = schema.set(index, schema.field(index).with_type(pa.large_string()))
    return schema


MEMORY_SCHEMA = _memory_schema()
"""The schema of the tables in memory; only the types of long texts differ from the files."""


_SCHEMA_OF = {1: _schema_of_format_1(), FORMAT: SCHEMA}


class Damaged(Exception):  # noqa: N818  # it is a finding, which does not end a run
    """A file that cannot be read as a file of the store; the message is the reason."""


@dataclass(frozen=True, slots=True)
class StoreFile:
    """The path of a file, relative to the dataset, and what its name says."""

    path: str
    shard: int
    is_part: bool


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata in the footer of a file."""

    shard: int
    problem_ids: tuple[str, ...]
    """The problems of the shard when the file was written."""


def part_file(shard: int) -> StoreFile:
    """Return the compacted file of a shard."""
    return StoreFile(f"{FOLDER}/part-{shard:05d}.parquet", shard, is_part=True)


def segment_file(shard: int) -> StoreFile:
    """Return a new segment of a shard.

    Its name is random: two processes that write the same shard by mistake replace nothing of each
    other.
    """
    name = f"segment-{shard:05d}-{secrets.token_hex(8)}.parquet"
    return StoreFile(f"{FOLDER}/{name}", shard, is_part=False)


def list_files(folder: Folder, shards: Collection[int] | None = None) -> Iterator[StoreFile]:
    """Yield the files of the store, or of some shards, in order of their names: parts first."""
    prefixes: tuple[str, ...] = ("",)
    if shards is not None:
        # Comparing prefixes is much faster than matching the names of thousands of other shards.
        parts = [f"part-{shard:05d}" for shard in shards]
        segments = [f"segment-{shard:05d}-" for shard in shards]
        prefixes = (*parts, *segments)
    for name in folder.files(FOLDER):
        if not name.startswith(prefixes):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        is_part = match[1] == "part"
        # A part has no suffix and a segment always has one.
        if is_part != (match[3] is None):
            continue
        shard = int(match[2])
        if shards is None or shard in shards:
            yield StoreFile(f"{FOLDER}/{name}", shard, is_part)


def write_table(file: BinaryIO, table: pa.Table, header: Header, *, is_part: bool) -> None:
    """Write a complete file."""
    metadata = {
        "format": FORMAT,
        "version": stepmark_version(),
        "shard": header.shard,
        "problems": header.problem_ids,
        "content": _PLACEHOLDER,
        "footer": _PLACEHOLDER,
    }
    encoding = _SEGMENT_ENCODING
    if is_part:
        encoding = _PART_ENCODING
    output = io.BytesIO()
    writer = pq.ParquetWriter(
        output,
        table.schema,
        **encoding,
        # The minimum and maximum of digests select no rows, and a small segment is mostly footer.
        write_statistics=False,
        # Without Arrow's copy of the schema, which takes as much space as the rest of the footer.
        store_schema=False,
        # For other readers.
        write_page_checksum=True,
    )
    with writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_METADATA_KEY: json.dumps(metadata)})
    file.write(_with_digests(output.getvalue()))


def readable_files(folder: Folder) -> Sequence[StoreFile]:
    """Return the files whose footers can be read; in a bucket all files, without reading them.

    Raises:
        DatasetError: A newer Stepmark wrote a file, or the file system failed.
    """
    files = list(list_files(folder))
    # A query opens all files of a bucket anyway, and each request takes tens of milliseconds.
    if not folder.is_local:
        return files
    readable = []
    for file, header in read_headers(folder, files):
        if isinstance(header, Header):
            readable.append(file)
    return readable


def read_headers(
    folder: Folder, files: Sequence[StoreFile]
) -> Iterator[tuple[StoreFile, "Header | Damaged | None"]]:
    """Yield each file with its header, the damage, or None if the file no longer exists.

    Raises:
        DatasetError: As `read_header`.
    """

    def read(file: StoreFile) -> Header | Damaged | None:
        try:
            return read_header(folder, file.path)
        except Damaged as damage:
            return damage
        except DatasetError:
            # A run that finishes a shard replaces its segments by a part.
            if folder.has(file.path):
                raise
            return None

    with ThreadPoolExecutor(_FOOTER_THREADS, "completions") as threads:
        yield from zip(files, threads.map(read, files), strict=True)


def read_header(folder: Folder, path: str) -> Header:
    """Return the header of a file; only its end is read.

    Raises:
        Damaged: The file is truncated or damaged, or is not a file of the store.
        DatasetError: A newer Stepmark wrote the file, or the file system failed.
    """
    with folder.reading(path) as file:
        tail = _tail(file)
    metadata = _parse_footer(folder, path, tail)
    return _header(metadata)


def read_table(folder: Folder, path: str) -> tuple[Header, pa.Table]:
    """Return the header and the rows of a file.

    Raises:
        Damaged: As `read_header`.
        DatasetError: As `read_header`.
    """
    # Read at once: errors after this are errors of the content, not of the file system.
    with folder.reading(path) as file:
        content = file.read()
    metadata = _parse_footer(folder, path, content)
    if _digest(content[: _footer_start(content)]) != metadata.get("content"):
        raise Damaged("its rows were changed")
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        table = _with_all_columns(table).replace_schema_metadata(None).cast(MEMORY_SCHEMA)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damaged(_first_line(error)) from error
    return _header(metadata), table


def _with_all_columns(table: pa.Table) -> pa.Table:
    """Return the table with the columns that its format lacks; their values are null."""
    for index, field in enumerate(SCHEMA):
        if field.name not in table.column_names:
            table = table.add_column(index, field, pa.nulls(table.num_rows, field.type))
    return table


def _with_digests(content: bytes) -> bytes:
    start = _footer_start(content)
    rows = content[:start]
    footer = content[start:]
    footer = footer.replace(_field("content", _PLACEHOLDER), _field("content", _digest(rows)))
    footer = footer.replace(_field("footer", _PLACEHOLDER), _field("footer", _digest(footer)))
    return rows + footer


def _field(name: str, digest: str) -> bytes:
    # As `json.dumps` writes it. It cannot be part of an id, where the quotes would be escaped.
    return f'"{name}": "{digest}"'.encode()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def _footer_start(content: bytes) -> int:
    return len(content) - _footer_length(content) - _END_BYTES


def _footer_length(content: bytes) -> int:
    return int.from_bytes(content[-_END_BYTES : -len(_MAGIC)], "little")


def _tail(file: BinaryIO) -> bytes:
    """Return the end of the file with the whole footer, as a small file that Arrow can open."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    needed = _footer_length(tail) + _END_BYTES
    if len(tail) < needed <= size:
        file.seek(size - needed)
        tail = file.read()
    return _MAGIC + tail


def _parse_footer(folder: Folder, path: str, content: bytes) -> dict[str, Any]:
    """Return the metadata in the footer, after checking the digest of the footer."""
    try:
        parquet_footer = pq.read_metadata(pa.BufferReader(content))
        metadata = json.loads((parquet_footer.metadata or {}).get(_METADATA_KEY, b"null"))
        schema = parquet_footer.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damaged(_first_line(error)) from error
    if not isinstance(metadata, dict):
        raise Damaged("it is not a file of completions")
    digest = str(metadata.get("footer"))
    footer = content[_footer_start(content) :]
    original = footer.replace(_field("footer", digest), _field("footer", _PLACEHOLDER))
    if _digest(original) != digest:
        raise Damaged("its footer was changed")
    if metadata["format"] > FORMAT:
        raise DatasetError(
            f"{folder.location(path)} was written by a newer Stepmark"
            f" (version {metadata['version']}): install it to read this dataset"
        )
    if not schema.equals(_SCHEMA_OF.get(metadata["format"], SCHEMA)):
        raise Damaged("its columns are not those of completions")
    return metadata


def _header(metadata: dict[str, Any]) -> Header:
    return Header(metadata["shard"], tuple(metadata["problems"]))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
