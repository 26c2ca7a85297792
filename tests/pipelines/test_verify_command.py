"""`stepmark verify`: findings on standard output, and exit status 1 if there are any."""

import sys
from pathlib import Path

import pytest

from pipelines.__main__ import main
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES
from tests.storage.samples import PROBLEM, TRACE


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    written = Dataset(str(tmp_path / "d"))
    written.write_part(PROBLEMS, 0, [PROBLEM], "f")
    written.write_part(TRACES, 0, [TRACE], "f")
    written.write_run_file("")
    return written


def run_verify(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stepmark", "verify", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_intact_dataset_exits_with_zero(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verify(monkeypatch, "--dataset", dataset.uri) == 0
    assert capsys.readouterr().out == f"{dataset.uri}: no fault found\n"


def test_damaged_part_is_deleted(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(dataset.uri, "traces/part-00000.parquet")
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    fault = (
        "traces/part-00000.parquet: damaged; delete it, and `stepmark run` makes it again from"
        " stored completions\n"
    )
    assert run_verify(monkeypatch, "--dataset", dataset.uri) == 1
    assert capsys.readouterr().out == fault
    assert path.exists()
    assert run_verify(monkeypatch, "--dataset", dataset.uri, "--delete-damaged") == 1
    assert capsys.readouterr().out == fault + "traces/part-00000.parquet: deleted\n"
    assert not path.exists()
    assert run_verify(monkeypatch, "--dataset", dataset.uri) == 0


def test_missing_dataset_is_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--delete-damaged"]):
        assert run_verify(monkeypatch, "--dataset", str(tmp_path / "none"), *options) == 2
        assert "no dataset at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
