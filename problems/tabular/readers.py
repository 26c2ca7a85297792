"""Rows of JSONL, Parquet, CSV and JSON files, one at a time.

A row that cannot be read is yielded as `Rejected`, and reading continues with the next one. Memory
is bounded by the longest row (for Parquet, by the pages of a row group); a .json file is read into
memory completely, unless it has one object per line. It is a list of rows, or an object of columns:
lists of equal length, or pandas' objects with the values by row number. A file that cannot be read
at all raises `InputError`. Rows are counted from 1: lines in JSONL, records without the header in
CSV.
"""

import csv
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stepmark.errors import InputError
from stepmark.records import Rejected

__all__ = ["Row", "expand", "read"]

# The limits bound the memory that a broken file can take.
MAX_LINE_BYTES = 16_000_000
MAX_JSON_BYTES = 256_000_000
PARQUET_BATCH = 256
# Characters of the names and lengths of columns in an error message.
MAX_LISTING = 200
# Python converts at most 4,300 digits to an integer, and raises an error for all of the text.
MAX_DIGITS = 4300
# Malformed records in CSV are read again from their second line on. In files that people and
# programs write, that is about as much as the file; a file can be made of records that are all open
# to its end, which would take quadratic time.
MAX_REPEATED_READING = 8
# The lines of a .json file that are searched for one that is an object by itself.
LINES_SEARCHED = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A row with its file and its number (1-based)."""

    file: str
    number: int
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _RepeatedKey:
    """Stands for a JSON object in which a key occurs twice, so that it may have two values."""

    key: str


def expand(patterns: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that paths and globs match, without repetition.

    The files of a glob are sorted by name.

    Raises:
        InputError: There is no pattern, a pattern matches nothing, or a file cannot be read.
    """
    if not patterns:
        raise InputError("no file given: name at least one .jsonl, .parquet, .csv or .json file")
    paths: dict[Path, None] = {}
    for pattern in patterns:
        paths.update(dict.fromkeys(_matches(pattern)))
    return tuple(paths)


def read(path: Path) -> Iterator[Row | Rejected]:
    """Yield the rows of a file; its suffix determines the format.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        yield from _READERS[path.suffix.lower()](path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {_one_line(error)}") from error


def _matches(pattern: str) -> Sequence[Path]:
    path = Path(pattern)
    try:
        # A file whose own name contains the characters of a glob is found by its name.
        if path.exists() or not has_magic(pattern):
            paths: Sequence[Path] = [path]
        else:
            paths = _glob(path)
        for match in paths:
            _check_readable(match)
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{pattern[:MAX_LISTING]} cannot be read: {error.strerror}") from error
    if not paths:
        raise InputError(f"no file matches {pattern}")
    return paths


def _glob(pattern: Path) -> Sequence[Path]:
    try:
        return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError as error:
        raise InputError(f"{pattern} is not a pattern for files: {error}") from error


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name its files, such as {path / '*.jsonl'}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix.lower() not in _READERS:
        raise InputError(f"{path} has an unknown suffix; the known ones are: {', '.join(_READERS)}")


def _read_jsonl(path: Path) -> Iterator[Row | Rejected]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                yield _rejected(path, number, f"a line of more than {MAX_LINE_BYTES:,} bytes")
                continue
            if not line.strip():
                continue
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            yield _json_row(path, number, line)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a file, None for a line that is too long."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        yield None
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)


def _json_row(path: Path, number: int, line: bytes) -> Row | Rejected:
    try:
        # With its line end, a text that is not closed would be called a control character.
        value = _loads(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start + 1}"
    except RecursionError:
        reason = "not readable JSON: nested too deeply"
    except ValueError as error:
        reason = f"not JSON: {_one_line(error)}"
    else:
        return _object_row(path, number, value)
    return _rejected(path, number, reason)


def _loads(text: str) -> Any:
    """Return the value of a JSON text; an unusable part does not affect the others."""
    return _DECODER.decode(text)


def _object_of(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any] | _RepeatedKey:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    (key, _) = Counter(key for key, _ in pairs).most_common(1)[0]
    return _RepeatedKey(key)


def _integer(digits: str) -> int | float:
    """Return an integer; infinity, which no field accepts, for one of too many digits."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


# `json.loads` with these arguments would build a decoder for each row of a file.
_DECODER = json.JSONDecoder(object_pairs_hook=_object_of, parse_int=_integer)


def _object_row(path: Path, number: int, value: object) -> Row | Rejected:
    if isinstance(value, dict):
        return Row(str(path), number, value)
    if isinstance(value, _RepeatedKey):
        return _rejected(path, number, f"the key {value.key[:MAX_LISTING]!r} occurs twice")
    kind = _JSON_KINDS.get(type(value), "number")
    return _rejected(path, number, f"a JSON {kind}, not an object")


def _rejected(path: Path, number: int, reason: str) -> Rejected:
    return Rejected(file=str(path), row=number, field="", reason=reason)


def _read_json(path: Path) -> Iterator[Row | Rejected]:
    if _has_object_per_line(path):
        yield from _read_jsonl(path)
        return
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(
            f"{path} is read into memory and has more than {MAX_JSON_BYTES:,} bytes:"
            " convert it to .jsonl"
        )
    try:
        values = _loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON: {_one_line(error)} (one object per line is called .jsonl)"
        ) from error
    if isinstance(values, dict):
        values = _rows_of_object(path, values)
    elif not isinstance(values, list):
        values = [values]
    for number, value in enumerate(values, start=1):
        yield _object_row(path, number, value)


def _has_object_per_line(path: Path) -> bool:
    """Return whether a .json file has the format of .jsonl, in spite of its name.

    One of its first lines is then an object by itself, and it has others, which may be malformed.
    """
    has_object = False
    count = 0
    with path.open("rb") as file:
        while count < LINES_SEARCHED and (line := file.readline(MAX_LINE_BYTES)):
            if line.isspace():
                continue
            count += 1
            line = line.removeprefix(BYTE_ORDER_MARK)
            if count == 1 and not line.lstrip().startswith(b"{"):
                return False
            has_object = has_object or _is_object(line)
            # A single object is the same row in both formats, or an object of columns.
            if has_object and count > 1:
                return True
    return False


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _rows_of_object(path: Path, value: Mapping[str, Any]) -> Sequence[object]:
    """Return the rows of an object of columns; any other object is the only row of its file."""
    columns = list(value.values())
    if columns and all(isinstance(column, list) for column in columns):
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            listing = ", ".join(f"{name!r} {len(column)}" for name, column in value.items())
            raise InputError(f"{path} has columns of different lengths: {listing[:MAX_LISTING]}")
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if columns and all(_is_pandas_column(column) for column in columns):
        rows: dict[str, dict[str, Any]] = {}
        for name, column in value.items():
            for index, item in column.items():
                rows.setdefault(index, {})[name] = item
        return list(rows.values())
    return [value]


def _is_pandas_column(column: object) -> bool:
    """Return whether a column is `{"0": …, "1": …}`, the default of `DataFrame.to_json`."""
    return isinstance(column, dict) and bool(column) and all(map(str.isdecimal, column))


def _read_csv(path: Path) -> Iterator[Row | Rejected]:
    # The limit of the csv module applies to the whole process, so it is only ever raised. A longer
    # field is still rejected.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    # Bytes that are not UTF-8 become surrogates, so that only their own rows are rejected, later.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        records = _records(path, _truncated_lines(file))
        header = next(records, [])
        if isinstance(header, str):
            raise InputError(f"{path} has no usable header: {header}")
        _check_column_names(path, header)
        for number, record in enumerate(records, start=1):
            yield _csv_row(path, number, header, record)


def _check_column_names(path: Path, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"{path} has two columns called {name!r}")


def _truncated_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long is truncated.

    A truncated line is still longer than any accepted text, so its row is rejected.
    """
    while line := file.readline(MAX_LINE_BYTES + 1):
        is_truncated = len(line) > MAX_LINE_BYTES
        yield line
        while is_truncated and line and not line.endswith(("\n", "\r")):
            line = file.readline(MAX_LINE_BYTES)


def _records(path: Path, lines: Iterable[str]) -> Iterator[list[str] | str]:
    """Yield the records of a CSV file without empty lines; a malformed record as its reason.

    A quotation mark that is never closed would make one field of all that follows. Reading goes on
    behind the line in which a malformed record begins.

    Raises:
        InputError: It would be read again more than `MAX_REPEATED_READING` times.
    """
    source = _RecordLines(lines)
    # Without `strict`, the end of the file closes a quotation.
    reader = csv.reader(source, strict=True)
    while True:
        try:
            record = next(reader)
        except csv.Error as error:
            yield f"not CSV: {error}"
            source.go_back()
            if source.repeated_characters > MAX_REPEATED_READING * source.characters:
                raise InputError(
                    f"{path} has too many quotation marks that are never closed"
                ) from error
        except StopIteration:
            return
        else:
            source.lines_of_record.clear()
            if record:
                yield record


class _RecordLines:
    """The lines of a CSV file, of which those of a malformed record can be read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._repeated = deque[str]()
        self.lines_of_record: list[str] = []
        self.characters = 0
        """The characters of the lines that were read."""
        self.repeated_characters = 0
        """The sum of the characters of all repeated readings."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._repeated:
            line = self._repeated.popleft()
        else:
            line = next(self._lines)
            self.characters += len(line)
        self.lines_of_record.append(line)
        return line

    def go_back(self) -> None:
        """Go back to the second line of the record."""
        repeated = self.lines_of_record[1:]
        self._repeated.extendleft(reversed(repeated))
        self.repeated_characters += sum(map(len, repeated))
        self.lines_of_record.clear()


def _csv_row(
    path: Path, number: int, header: Sequence[str], record: Sequence[str] | str
) -> Row | Rejected:
    if isinstance(record, str):
        return _rejected(path, number, record)
    if len(record) != len(header):
        reason = f"{len(record)} fields, but the header has {len(header)}"
        return _rejected(path, number, reason)
    # An empty field is an absent one: CSV cannot distinguish them.
    value = {name: text or None for name, text in zip(header, record, strict=True)}
    return Row(str(path), number, value)


def _read_parquet(path: Path) -> Iterator[Row | Rejected]:
    number = 0
    with pq.ParquetFile(path) as file:
        _check_column_names(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=PARQUET_BATCH):
            for value in _batch_values(batch):
                number += 1
                if isinstance(value, str):
                    yield _rejected(path, number, value)
                else:
                    yield Row(str(path), number, value)


def _batch_values(batch: Any) -> Sequence[Mapping[str, Any] | str]:
    """Return the rows of a record batch.

    A row without a Python equivalent (such as a string that is not UTF-8) is replaced by the
    reason.
    """
    try:
        values: Sequence[Mapping[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [f"not readable: {_one_line(error)}"]
        # The exception does not name the row, so each row is converted separately.
        rows: list[Mapping[str, Any] | str] = []
        for index in range(batch.num_rows):
            rows.extend(_batch_values(batch.slice(index, 1)))
        return rows
    return values


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_JSON_KINDS: Mapping[type, str] = {
    list: "list",
    str: "string",
    bool: "boolean",
    type(None): "null",
}
_READERS: Mapping[str, Callable[[Path], Iterator[Row | Rejected]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".json": _read_json,
}
