"""The files of an export: a series of Parquet files, or of JSON lines, for each split."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from storage.dataset import parts
from storage.formats.base import Format, HasFileType, Row

__all__ = ["ExportFiles", "content_version", "file_type_of", "rows_of"]

PARQUET = "parquet"

# Arrow bytes after which the next file begins; zstd compresses them to about a quarter.
SHARD_BYTES = 512 << 20


def file_type_of(exporter: Format) -> str:
    """Return the ending of the files of a format."""
    return exporter.file_type if isinstance(exporter, HasFileType) else PARQUET


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a file of an export."""
    if path.suffix == f".{PARQUET}":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def content_version(folder: Path) -> str:
    """Return a version of the form that `datasets` needs, 0.0.NUMBER, of the files of an export.

    The number has 32 bits of a digest of their names and bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"0.0.{int.from_bytes(digest.digest()[:4])}"


@dataclass
class ExportFiles:
    """The files of an export in a folder; memory holds one row group for each split."""

    folder: Path
    schema: pa.Schema
    file_type: str = PARQUET
    """`PARQUET`, or "jsonl" for a tool without a reader of Parquet."""
    _files: dict[str, "_SplitFiles"] = field(default_factory=dict)

    def write(self, split: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Append rows to a split."""
        for batch in batches:
            if split not in self._files:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._files[split] = _SplitFiles(self.folder, split, self.schema, self.file_type)
            self._files[split].write(batch)

    def finish(self) -> Mapping[str, int]:
        """Write the remaining rows, give the files their names, and return the rows by split."""
        return {split: files.finish() for split, files in self._files.items()}

    def read(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of Parquet files of a split in order, after `finish`."""
        for path in sorted(self.folder.glob(f"{split}-*.parquet")):
            yield from pq.ParquetFile(path).iter_batches()


class _SplitFiles:
    """The files of one split, in drafts: the name of a file contains the number of files."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema, file_type: str) -> None:
        self._folder = folder
        self._split = split
        self._schema = schema
        self._file_type = file_type
        self._drafts: list[Path] = []
        self._writer: _Writer | None = None
        self._file_bytes = 0
        self._group: list[pa.RecordBatch] = []
        self._group_bytes = 0
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._group.append(batch)
        self._group_bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._group_bytes >= parts.ROW_GROUP_BYTES:
            self._write_group()

    def finish(self) -> int:
        self._write_group()
        self._close_file()
        for number, draft in enumerate(self._drafts):
            name = f"{self._split}-{number:05d}-of-{len(self._drafts):05d}.{self._file_type}"
            draft.rename(self._folder / name)
        return self._rows

    def _write_group(self) -> None:
        if not self._group:
            return
        if self._writer is None:
            draft = self._folder / f"{self._split}-{len(self._drafts)}.tmp"
            self._drafts.append(draft)
            self._writer = self._open(draft)
        self._writer.write_table(pa.Table.from_batches(self._group))
        self._file_bytes += self._group_bytes
        self._group = []
        self._group_bytes = 0
        if self._file_bytes >= SHARD_BYTES:
            self._close_file()

    def _open(self, draft: Path) -> "_Writer":
        if self._file_type != PARQUET:
            return _JsonLinesWriter(draft)
        writer: _Writer = pq.ParquetWriter(
            draft,
            self._schema,
            compression=parts.COMPRESSION,
            # Pages end at the same rows in the next export: the Hub stores only new pages.
            use_content_defined_chunking=True,
        )
        return writer

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._file_bytes = 0


class _Writer(Protocol):
    """A writer of one file."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _JsonLinesWriter:
    """A writer of one JSON object per row; columns that are null are written as null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")

    def write_table(self, table: pa.Table) -> None:
        for batch in table.to_batches():
            for row in batch.to_pylist():
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()
