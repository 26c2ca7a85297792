"""Journals: nothing that was saved is lost, whatever happens to the process or to the file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepmark.errors import DatasetError
from stepmark.identity import digest
from storage.labelling.events import Event, Kind, Mark
from storage.labelling.journal import Journal
from tests.storage.labelling import journal_writer

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 120


def event(event_id: str = "e", **values: object) -> Event:
    fields = {"time": "now", "trace_id": "t", "steps_id": "s", "kind": Kind.MARK}
    return Event(**{"event_id": event_id, **fields, **values})  # type: ignore[arg-type]


def ids(journal: Journal, trace_id: str = "t") -> list[str]:
    journal.read()
    return [entry.event_id for entry in journal.events(trace_id)]


def start_writer(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, journal_writer.__file__, str(path), name, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "labelling" / "human_ann.jsonl"
    entries = [
        event("1", step=0, mark=Mark.WRONG),
        event("2", kind=Kind.UNSURE, is_set=True, mode="verify"),
        event("3", kind=Kind.COMMENT, text="\u2028 \ud800 \x00 é\n"),
        event("4", kind=Kind.ADOPT, marks=(Mark.RIGHT, Mark.NONE), comments=("", "x")),
        event("5", kind=Kind.FINISH, step_texts=("a", "b"), shard=3, problem_id="p"),
    ]
    Journal(path).append(*entries)
    journal = Journal(path)
    journal.read()
    assert list(journal.events("t")) == entries
    assert list(journal.pending()) == ["t"]
    assert journal.faults() == []


def test_stored_labels_do_not_wait(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(event("1", kind=Kind.FINISH))
    journal.append(event("2", kind=Kind.FINISH))
    journal.append(event("3", kind=Kind.STORED, finish_id="1"))
    assert journal.pending()["t"].event_id == "2"
    journal.append(event("4", kind=Kind.STORED, finish_id="2"))
    assert not journal.pending()


@pytest.mark.parametrize("cut", [2, 20, 100])
def test_torn_line_is_ignored(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1"), event("2"))
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    journal = Journal(path)
    assert ids(journal) == ["1"]
    assert journal.faults() == ["the last line is incomplete: its entry was never confirmed"]
    journal.append(event("3"))
    assert ids(journal) == ids(Journal(path)) == ["1", "3"]
    assert journal.faults() == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b'{"event_id": "x", "kind": "mark", "checksum": 1}',
        b"[" * 100_000,
    ],
)
def test_damaged_lines_are_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1"))
    with path.open("ab") as file:
        file.write(line + b"\n")
    Journal(path).append(event("2"))
    journal = Journal(path)
    assert ids(journal) == ["1", "2"]
    assert journal.faults() == ["lines that are no entries: 1"]


@pytest.mark.parametrize(
    "values",
    [
        {"step": "1"},
        {"step": -1},
        {"step": 1.5},
        {"step": True},
        {"shard": None},
        {"shard": 10**12},
        {"is_set": "x"},
        {"text": 1},
        {"comments": [1]},
        {"comments": 1},
        {"marks": ["good"]},
        {"trace_id": None},
        # Half of a character.
        {"trace_id": "\ud800"},
        {"event_id": "\ud800"},
        {"replaces": "\ud800"},
        {"kind": "explode"},
        {"other": 1},
    ],
)
def test_forged_values_are_no_entries(tmp_path: Path, values: dict[str, object]) -> None:
    path = tmp_path / "j"
    content = json.loads(event("1", kind=Kind.FINISH).to_line())
    del content["checksum"]
    content.update(values)
    path.write_text(json.dumps({**content, "checksum": digest("journal", content)}) + "\n")
    journal = Journal(path)
    journal.read()
    assert not journal.pending()
    assert journal.faults() == ["lines that are no entries: 1"]


def test_changed_line_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1", step=1, mark=Mark.WRONG))
    path.write_bytes(path.read_bytes().replace(b'"step": 1', b'"step": 2'))
    assert ids(Journal(path)) == []


def test_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    path = tmp_path / "j"
    path.symlink_to(victim)
    with pytest.raises(DatasetError, match="cannot write the journal"):
        Journal(path).append(event())
    with pytest.raises(DatasetError, match="cannot read the journal"):
        Journal(path).read()
    assert victim.read_text() == "secret"
    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="its folder is a link"):
        Journal(folder / "k").append(event())


def test_copy_that_was_put_back(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(event("1", kind=Kind.FINISH))
    copy = path.read_bytes()
    journal.append(event("2"), event("3", kind=Kind.STORED, finish_id="1"))
    path.write_bytes(copy)
    assert ids(journal) == ["1"]
    assert list(journal.pending()) == ["t"]
    other = tmp_path / "other"
    Journal(other).append(event("4"), event("5"), event("6"))
    other.replace(path)
    journal.append(event("7"))
    assert ids(journal) == ids(Journal(path)) == ["4", "5", "6", "7"]


def test_last_line_without_newline_is_read(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1"), event("2", kind=Kind.FINISH))
    # As an editor stores it.
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    first = Journal(path)
    assert ids(first) == ["1", "2"]
    assert list(first.pending()) == ["t"]
    second = Journal(path)
    second.append(event("3"))
    first.append(event("4"))
    for journal in (first, second, Journal(path)):
        assert ids(journal) == ["1", "2", "3", "4"]
        assert journal.faults() == []


@pytest.mark.parametrize(
    ("encoding", "newline", "expected"),
    [
        ("utf-8-sig", "\n", ["1", "2", "3"]),
        ("ascii", "\r\n", ["1", "2", "3"]),
        ("ascii", "\r", ["3"]),
        # Its first line is a JSON text of its own.
        ("utf-16", "\n", ["1", "3"]),
    ],
)
def test_other_encodings_are_not_cut(
    tmp_path: Path, encoding: str, newline: str, expected: list[str]
) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1"), event("2"))
    content = path.read_text().replace("\n", newline).encode(encoding)
    path.write_bytes(content)
    journal = Journal(path)
    journal.append(event("3"))
    assert path.read_bytes().startswith(content)
    assert ids(journal) == ids(Journal(path)) == expected
    assert (journal.faults() == []) is ("2" in expected)


def test_edited_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(event("1"), event("2"))
    # An editor that writes into the same file, which does not become shorter.
    other = Journal(tmp_path / "other")
    other.append(event("3", text="long" * 100), event("4"))
    path.write_bytes(other.path.read_bytes())
    assert ids(journal) == ["3", "4"]
    journal.append(event("5"))
    assert ids(journal) == ids(Journal(path)) == ["3", "4", "5"]
    assert journal.faults() == []


def test_repeated_lines_count_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append(event("1"), event("2", kind=Kind.UNDO), event("3", kind=Kind.FINISH))
    Journal(path).append(event("4", kind=Kind.STORED, finish_id="3"))
    # Two copies of a journal that somebody has joined.
    path.write_bytes(path.read_bytes() * 2)
    journal = Journal(path)
    assert ids(journal) == ["1", "2", "3"]
    assert not journal.pending()


def test_pipe_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "j"
    os.mkfifo(path)
    with pytest.raises(DatasetError, match="no regular file"):
        Journal(path).read()
    with pytest.raises(DatasetError, match="no regular file"):
        Journal(path).append(event())


def test_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(event("1"))
    write = os.write

    def write_half(descriptor: int, content: bytes) -> int:
        if len(content) < 20:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(DatasetError, match="No space left"):
        journal.append(event("2"))
    monkeypatch.setattr(os, "write", write)
    journal.append(event("3"))
    assert ids(journal) == ids(Journal(path)) == ["1", "3"]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    writers = [start_writer(path, name, 40) for name in ("ann", "bob")]
    journal = Journal(path)
    for writer in writers:
        output, _ = writer.communicate(timeout=WAIT_SECONDS)
        assert writer.returncode == 0
        assert ids(journal, output.partition("-")[0]) == output.split()
    assert journal.faults() == []


@pytest.mark.parametrize("saved", [1, 5])
def test_killed_writer_loses_nothing(tmp_path: Path, saved: int) -> None:
    path = tmp_path / "j"
    writer = start_writer(path, "ann", 100_000)
    assert writer.stdout is not None
    printed = [writer.stdout.readline().strip() for _ in range(saved)]
    writer.kill()
    rest = writer.stdout.read()
    writer.stdout.close()
    writer.wait(WAIT_SECONDS)
    # The last line of the output can be cut too.
    printed += rest.split("\n")[:-1]
    journal = Journal(path)
    assert ids(journal, "ann")[: len(printed)] == printed
    journal.append(event("after"))
    assert ids(Journal(path)) == ["after"]
