"""Rows out of JSONL, Parquet, CSV and JSON files, one at a time: a row that cannot be read is `Rejected`, the next one is read.

Memory is bounded by the longest row (and, for Parquet, by a row group's pages); a .json file is one list and is read whole.
A file that cannot be read at all is an `InputError`. Rows are counted from 1: lines in JSONL, records without the header in CSV.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stepmark.errors import InputError
from stepmark.records import Rejected

__all__ = ["Row", "expand", "read"]

MAX_LINE_BYTES = 16_000_000
MAX_JSON_BYTES = 256_000_000
PARQUET_BATCH = 256


class Row(NamedTuple):
    """A row as it stands in its file."""

    file: str
    number: int
    value: Mapping[str, Any]


def expand(patterns: Sequence[str]) -> tuple[Path, ...]:
    """The files that paths and globs name, each once, a glob's in the order of their names."""
    if not patterns:
        raise InputError("no file given: name at least one .jsonl, .parquet, .csv or .json file")
    return tuple(dict.fromkeys(path for pattern in patterns for path in _matches(pattern)))


def read(path: Path) -> Iterator[Row | Rejected]:
    """The rows of a file, told by its ending."""
    try:
        yield from _READERS[path.suffix.lower()](path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {_one_line(error)}") from error


def _matches(pattern: str) -> Sequence[Path]:
    exact = Path(pattern)
    found = [exact] if exact.exists() or not has_magic(pattern) else _glob(exact)
    if not found:
        raise InputError(f"no file matches {pattern}")
    for path in found:
        _check(path)
    return found


def _glob(pattern: Path) -> Sequence[Path]:
    try:
        return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError as error:
        raise InputError(f"{pattern} is no pattern for files: {error}") from error


def _check(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name its files, such as {path / '*.jsonl'}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix.lower() not in _READERS:
        raise InputError(
            f"{path} has an ending that is not known; known are: {', '.join(_READERS)}"
        )


def _read_jsonl(path: Path) -> Iterator[Row | Rejected]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                yield Rejected(
                    file=str(path),
                    row=number,
                    field="",
                    reason=f"a line of more than {MAX_LINE_BYTES:,} bytes",
                )
            elif line.strip():
                yield _json_row(
                    path, number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                )


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None stands for one that is too long."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        too_long = len(line) > MAX_LINE_BYTES
        yield None if too_long else line
        while too_long and line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)


def _json_row(path: Path, number: int, line: bytes) -> Row | Rejected:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start + 1}"
    except RecursionError:
        reason = "not JSON that can be read: nested too deeply"
    except ValueError as error:
        reason = f"not JSON: {_one_line(error)}"
    else:
        return _object_row(path, number, value)
    return Rejected(file=str(path), row=number, field="", reason=reason)


def _object_row(path: Path, number: int, value: object) -> Row | Rejected:
    if isinstance(value, dict):
        return Row(str(path), number, value)
    return Rejected(
        file=str(path),
        row=number,
        field="",
        reason=f"a JSON {_KINDS.get(type(value), 'number')}, not an object",
    )


def _read_json(path: Path) -> Iterator[Row | Rejected]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(
            f"{path} is read whole and has more than {MAX_JSON_BYTES:,} bytes: turn it into .jsonl"
        )
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON: {_one_line(error)} (one object per line is called .jsonl)"
        ) from error
    for number, value in enumerate(values if isinstance(values, list) else [values], start=1):
        yield _object_row(path, number, value)


def _read_csv(path: Path) -> Iterator[Row | Rejected]:
    # The limit is the csv module's own, for the whole process: it is only ever raised, and a longer field is still refused.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    # Bytes that are not UTF-8 come through as surrogates, so that only the rows that hold them are refused, later.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        records = _records(csv.reader(_bounded(file)))
        header = next(records, [])
        if isinstance(header, str):
            raise InputError(f"{path} has no usable header: {header}")
        if twice := [name for name, count in Counter(header).items() if count > 1]:
            raise InputError(f"{path} has two columns called {twice[0]!r}")
        for number, record in enumerate(records, start=1):
            yield _csv_row(path, number, header, record)


def _bounded(file: TextIO) -> Iterator[str]:
    """The lines of a file, the end of an endless one cut off: what is left of it is still longer than any text we take."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        too_long = len(line) > MAX_LINE_BYTES
        yield line
        while too_long and line and not line.endswith(("\n", "\r")):
            line = file.readline(MAX_LINE_BYTES)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """A CSV file's records without empty lines; what is wrong with one stands in its place."""
    while True:
        try:
            if record := next(reader):
                yield record
        except csv.Error as error:
            yield f"not CSV: {error}"
        except StopIteration:
            return


def _csv_row(
    path: Path, number: int, header: Sequence[str], record: Sequence[str] | str
) -> Row | Rejected:
    if isinstance(record, str):
        reason = record
    elif len(record) != len(header):
        reason = f"{len(record)} fields where the header names {len(header)}"
    else:
        # An empty field is an absent one: CSV cannot tell them apart.
        return Row(
            str(path),
            number,
            {name: value or None for name, value in zip(header, record, strict=True)},
        )
    return Rejected(file=str(path), row=number, field="", reason=reason)


def _read_parquet(path: Path) -> Iterator[Row | Rejected]:
    with pq.ParquetFile(path) as file:
        values = (
            value
            for batch in file.iter_batches(batch_size=PARQUET_BATCH)
            for value in _batch_values(batch)
        )
        for number, value in enumerate(values, start=1):
            if isinstance(value, str):
                yield Rejected(file=str(path), row=number, field="", reason=value)
            else:
                yield Row(str(path), number, value)


def _batch_values(batch: Any) -> Sequence[Mapping[str, Any] | str]:
    """The rows of a record batch; when one of them has no value in Python (strings that are not UTF-8), it is replaced by the reason."""
    try:
        values: Sequence[Mapping[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [f"not readable: {_one_line(error)}"]
        return [
            value
            for index in range(batch.num_rows)
            for value in _batch_values(batch.slice(index, 1))
        ]
    return values


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_KINDS: Mapping[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null"}
_READERS: Mapping[str, Callable[[Path], Iterator[Row | Rejected]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".json": _read_json,
}
