"""Write the result of a query to a file: Parquet, CSV, JSON or JSON lines, by its suffix.

The file appears when it is complete. It is a local file or any URI that a dataset can have.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa

from stepmark.errors import ConfigError
from storage.dataset.folder import Folder
from storage.dataset.parts import COMPRESSION
from storage.queries import render

__all__ = ["check_result_file", "write_result"]


def check_result_file(uri: str) -> None:
    """Check the name of a file, before a query takes time.

    Raises:
        ConfigError: The suffix is none of those that can be written, or the URI names no file in a
            bucket.
    """
    _, separator, path = uri.partition("://")
    if separator and "/" not in path:
        raise ConfigError(f"{uri[:200]!a} is a bucket: name a file in it")
    if _suffix(uri) not in WRITERS:
        raise ConfigError(f"{uri[:200]!a}: write a file with one of: {', '.join(WRITERS)}")


def write_result(table: pa.Table, uri: str) -> None:
    """Write the result of a query, and replace an earlier file of that name.

    Raises:
        ConfigError: As for `check_result_file`, or a value cannot be written as text.
        DatasetError: The file cannot be written.
    """
    check_result_file(uri)
    parent, _, name = uri.rpartition("/")
    # An absolute path of one name is in the folder "/".
    folder = Folder(parent or ("/" if uri.startswith("/") else "."))
    with folder.writing(name) as file:
        WRITERS[_suffix(uri)](table, file)


def _suffix(uri: str) -> str:
    return PurePosixPath(uri.rpartition("/")[2]).suffix.lower()


def _write_parquet(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    distinct = table.rename_columns(render.distinct_names(table.column_names))
    pq.write_table(distinct, file, compression=COMPRESSION)


def _text_writer(
    rows: Callable[[pa.Table], Iterator[str]],
) -> Callable[[pa.Table, BinaryIO], None]:
    def write(table: pa.Table, file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        text.writelines(rows(table))
        # Closing it would close the file, too.
        text.detach()

    return write


WRITERS: Mapping[str, Callable[[pa.Table, BinaryIO], None]] = {
    ".parquet": _write_parquet,
    ".csv": _text_writer(render.csv_rows),
    ".json": _text_writer(render.json_rows),
    ".jsonl": _text_writer(render.json_lines),
}
