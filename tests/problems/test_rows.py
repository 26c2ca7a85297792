"""Test that all file formats yield the same rows, and that a bad row is rejected alone."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from problems.tabular import readers
from problems.tabular.columns import UnusableError, text_of
from problems.tabular.readers import Row, expand, read
from stepmark.errors import InputError
from stepmark.records import Rejected

ROWS: list[dict[str, str | None]] = [
    {"question": "Wie viel?\n2 + 2", "answer": "4"},
    {"question": 'He says "ü, x"', "answer": None},
]


def rows_of(path: Path) -> list[Row | Rejected]:
    return list(read(path))


def values_or_reasons(path: Path) -> list[object]:
    results: list[object] = []
    for row in read(path):
        if isinstance(row, Row):
            results.append(row.value)
        else:
            results.append(row.reason)
    return results


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def as_jsonl(path: Path) -> Path:
    return write(
        path.with_suffix(".jsonl"),
        # A byte order mark.
        b"\xef\xbb\xbf" + "\n".join(json.dumps(row) for row in ROWS).encode(),
    )


def as_json(path: Path) -> Path:
    return write(path.with_suffix(".json"), json.dumps(ROWS).encode())


def as_csv(path: Path) -> Path:
    # A byte order mark, a line end in quotes, an empty line and doubled quotes.
    text = '\ufeffquestion,answer\r\n"Wie viel?\n2 + 2",4\r\n\r\n"He says ""ü, x""",\r\n'
    return write(path.with_suffix(".csv"), text.encode())


def as_parquet(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("written", [as_jsonl, as_json, as_csv, as_parquet])
def test_all_file_formats_agree(tmp_path: Path, written: Callable[[Path], Path]) -> None:
    path = written(tmp_path / "rows")
    assert rows_of(path) == [
        Row(str(path), number, row) for number, row in enumerate(ROWS, start=1)
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "not JSON: Expecting property name"),
        (b'{"a": "b', "not JSON: Unterminated string"),
        (b"[1]", "a JSON list, not an object"),
        (b"17", "a JSON number, not an object"),
        (b"null", "a JSON null, not an object"),
        (b'{"question": "\xff"}', "not UTF-8: invalid start byte at byte 15"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"label": 0, "a": 1, "label": -1}', "the key 'label' occurs twice"),
    ],
)
def test_bad_line_rejects_only_itself(tmp_path: Path, line: bytes, reason: str) -> None:
    first, bad, last = rows_of(
        write(tmp_path / "x.jsonl", b'{"a": 1}\n' + line + b'\n\n{"a": 2}\n')
    )
    assert isinstance(bad, Rejected)
    assert (bad.row, bad.field) == (2, "")
    assert reason in bad.reason
    assert [first, last] == [Row(bad.file, 1, {"a": 1}), Row(bad.file, 4, {"a": 2})]


def test_too_long_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 10)
    path = write(tmp_path / "x.jsonl", b'{"a": 1}\n' + b"x" * 35 + b'\n{"a": 2}\n' + b"y" * 11)
    assert values_or_reasons(path) == [
        {"a": 1},
        "a line of more than 10 bytes",
        {"a": 2},
        "a line of more than 10 bytes",
    ]


@pytest.fixture
def short_csv_fields(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set short limits; the limit of the csv module belongs to the process and is restored."""
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 50)
    before = csv.field_size_limit(50)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("short_csv_fields")
def test_bad_csv_record_rejects_only_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"a,b\n1,2\n3\n4,5,6\n" + b"x" * 51 + b",1\n7,8\n")
    assert values_or_reasons(path) == [
        {"a": "1", "b": "2"},
        "1 fields, but the header has 2",
        "3 fields, but the header has 2",
        "not CSV: field larger than field limit (50)",
        {"a": "7", "b": "8"},
    ]


@pytest.mark.usefixtures("short_csv_fields")
def test_malformed_csv_text_skips_onlyreaders(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b'a,b\n\xff,2\n"3,4\n' + b"5,6\n" * 20)
    first, broken, *rest = rows_of(path)
    assert first == Row(str(path), 1, {"a": "\udcff", "b": "2"})
    assert isinstance(broken, Rejected)
    # The quotation mark that is never closed loses no other row.
    assert [row.value for row in rest if isinstance(row, Row)] == [{"a": "5", "b": "6"}] * 20


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (b'"x,1\n2,"y\nz"\n', "',' expected after '\"'"),
        (b'2,"y\nz"\n"x" y,1\n', "',' expected after '\"'"),
        (b'2,"y\nz"\n3,"x\n', "unexpected end of data"),
    ],
)
def test_open_quotation_loses_no_record(tmp_path: Path, records: bytes, reason: str) -> None:
    items = values_or_reasons(write(tmp_path / "x.csv", b"a,b\n" + records))
    assert len(items) == 2
    assert {"a": "2", "b": "y\nz"} in items
    assert f"not CSV: {reason}" in items


def test_open_records_take_linear_time(tmp_path: Path) -> None:
    """Each of these records is open to the end of the file."""
    path = write(tmp_path / "x.csv", b"a,b\n" + b'x",",y\n' * 100_000)
    with pytest.raises(InputError, match=r"x\.csv has too many quotation marks that are never"):
        rows_of(path)


def test_blank_lines_are_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of a .json file is parsed again for each blank line that follows it."""
    parsed = list[bytes]()
    is_object = readers._is_object

    def count(line: bytes) -> bool:
        parsed.append(line)
        return is_object(line)

    monkeypatch.setattr(readers, "_is_object", count)
    path = write(tmp_path / "x.json", b'{"a": 1,\n"b": 2,\n' + b"\n" * 1000 + b'"c": 3}')
    assert values_or_reasons(path) == [{"a": 1, "b": 2, "c": 3}]
    assert len(parsed) == 3


def test_bad_json_value_rejects_itself(tmp_path: Path) -> None:
    """An integer of too many digits and a repeated key do not make the file unreadable."""
    big = b'{"a": -' + b"9" * 5000 + b"}"
    double = b'{"a": {"b": 1, "b": 2}}'
    for content in (b"[" + big + b"," + double + b"]", big + b"\n" + double):
        name = "x.json" if content.startswith(b"[") else "x.jsonl"
        first, second = rows_of(write(tmp_path / name, content))
        assert isinstance(first, Row)
        assert isinstance(second, Row)
        assert first.value == {"a": -math.inf}
        with pytest.raises(UnusableError, match="not text"):
            text_of(second.value["a"], "a")


def test_repeated_parquet_columns_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["a", "a"]), path)
    with pytest.raises(InputError, match="two columns called 'a'"):
        rows_of(path)


def test_invalid_parquet_text_rejects_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff", b"fine"], pa.binary())
    column = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"question": column}), tmp_path / "x.parquet")
    good, bad, fine = rows_of(tmp_path / "x.parquet")
    assert isinstance(bad, Rejected)
    assert bad.row == 2
    assert "utf-8" in bad.reason
    assert [good, fine] == [
        Row(bad.file, 1, {"question": "good"}),
        Row(bad.file, 3, {"question": "fine"}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", b"not parquet", "cannot be read: Parquet magic bytes not found"),
        ("x.parquet", b"", "cannot be read: "),
        ("x.json", b'{"a": 1} {"a": 2}', "is not JSON: Extra data"),
        ("x.json", b'[\n{"a": 1}\n', "is not JSON: Expecting"),
        ("x.json", b'{"a": [1, 2], "b": [1]}', "columns of different lengths: 'a' 2, 'b' 1"),
    ],
)
def test_unreadable_file_message_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(write(tmp_path / name, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"a": 2}\n',
        b'\xef\xbb\xbf{"a": 1}\n\n  {"a": 2}',
        b'\n{"a": 1}\r\n{"a": 2}\r\n',
        b'[{"a": 1}, {"a": 2}]',
        b'[\n{"a": 1},\n{"a": 2}\n]',
        b'{"a": [1, 2]}',
        b'{\n  "a": [\n    1,\n    2\n  ]\n}\n',
        b'{"a": {"0": 1, "1": 2}}',
        b'\xef\xbb\xbf{"a": [1,\n2]}',
    ],
)
def test_json_shapes_have_equal_rows(tmp_path: Path, content: bytes) -> None:
    assert values_or_reasons(write(tmp_path / "x.json", content)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b'{"a": 1}', [{"a": 1}]),
        (b'{"q": "x", "steps": ["a", "b"]}', [{"q": "x", "steps": ["a", "b"]}]),
        (
            b'{"q": ["x", "y"], "s": [["a"], ["b", "c"]]}',
            [{"q": "x", "s": ["a"]}, {"q": "y", "s": ["b", "c"]}],
        ),
        (b'{"q": {"0": "x", "2": "y"}, "n": {"0": 1}}', [{"q": "x", "n": 1}, {"q": "y"}]),
        (b'{"m": {"solution": "x"}}', [{"m": {"solution": "x"}}]),
        (b'[\n{"a": 1}\n]', [{"a": 1}]),
        (b"{}", [{}]),
        (b'{"a": []}', []),
    ],
)
def test_objects_of_columns(tmp_path: Path, content: bytes, values: list[object]) -> None:
    assert values_or_reasons(write(tmp_path / "x.json", content)) == values


def test_bad_json_line_rejects_itself(tmp_path: Path) -> None:
    for content in (b'{bad\n{"a": 1}\n', b'{"a": 1}\n{bad\n', b'{bad\n\n{bad\n{"a": 1}\n'):
        items = values_or_reasons(write(tmp_path / "x.json", content))
        assert {"a": 1} in items
        assert len(items) == len(content.replace(b": ", b":").split())


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_empty_file_has_noreaders(tmp_path: Path, name: str) -> None:
    assert rows_of(write(tmp_path / name, b"")) == []


def test_too_large_json_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_JSON_BYTES", 3)
    with pytest.raises(InputError, match=r"convert it to \.jsonl"):
        rows_of(write(tmp_path / "x.json", b"[{}]"))


def test_globs_are_sorted_and_unique(tmp_path: Path) -> None:
    files = [write(tmp_path / name, b"") for name in ("a.jsonl", "b.jsonl", "c[1].jsonl")]
    assert expand([str(files[1]), f"{tmp_path}/*.jsonl"]) == (files[1], files[0], files[2])
    assert expand([str(files[2])]) == (files[2],)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("none.jsonl", "none.jsonl does not exist"),
        ("*.csv", r"no file matches .*\*\.csv"),
        ("x.txt", "the known ones are: .jsonl, .ndjson, .parquet, .csv, .json"),
        ("x" * 300 + ".jsonl", "cannot be read: File name too long"),
        ("**x", "is not a pattern for files: Invalid pattern"),
        ("", r"is a folder: name its files, such as .*\*\.jsonl"),
    ],
)
def test_unusable_paths_are_rejected(tmp_path: Path, pattern: str, message: str) -> None:
    write(tmp_path / "x.txt", b"")
    with pytest.raises(InputError, match=message):
        expand([f"{tmp_path}/{pattern}"])


def test_missing_paths_are_rejected() -> None:
    with pytest.raises(InputError, match="name at least one"):
        expand([])
