"""`stepmark export --audit-tokenizer`: the table, refusals, and what they leave in place."""

import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import stepmark
from pipelines.__main__ import main
from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from tests.storage.samples import fill

POCKET = Path(__file__).parents[2] / "engines" / "pocket_model"
Export = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Export:
    """Return a function that exports the sample to `out`; it returns the status and the output."""
    fill(Dataset(str(tmp_path / "data")))
    (tmp_path / "model").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(POCKET / name, tmp_path / "model")
    monkeypatch.chdir(tmp_path)

    def run(format_name: str, *options: str) -> tuple[int, str, str]:
        arguments = ["stepmark", "export", format_name, "--dataset", "data", "--to", "out"]
        monkeypatch.setattr(sys, "argv", [*arguments, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def count(name: str, output: str) -> int:
    match = re.search(rf"{name} *│ *(\d+)", output)
    assert match is not None, output
    return int(match[1])


def test_audit_prints_a_table(export: Export) -> None:
    status, output, errors = export("trl", "--audit-tokenizer", "model")
    assert (status, errors) == (0, "")
    assert "audit with the tokenizer model" in output
    # The traces of the sample have three correct steps, and an error in the second one.
    assert (count("rows", output), count("labels", output)) == (2, 5)
    assert count("labels misplaced", output) == 0
    assert "labels cut" not in output


def contents(folder: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.parquet")}


def test_cut_labels_are_refused(export: Export, tmp_path: Path) -> None:
    assert export("trl")[0] == 0
    before = contents(tmp_path / "out")
    status, output, errors = export("trl", "--audit-tokenizer", "model", "--max-length", "25")
    longest = count("tokens of the longest row", output)
    lost = count("labels cut", output)
    assert (status, lost > 0) == (2, True)
    assert errors.count("\n") == 1
    assert f"rows would be cut at 25 tokens, with {lost} of 5 labels" in errors
    # The earlier export is still there, and nothing else.
    after = contents(tmp_path / "out")
    assert (before, len(list(tmp_path.glob(".out-*")))) == (after, 0)
    enough = ("--max-length", str(longest))
    assert export("trl", "--audit-tokenizer", "model", *enough)[0] == 0
    allowed = export("trl", "--audit-tokenizer", "model", "--max-length", "25", "--allow-cut")
    assert (allowed[0], count("labels cut", allowed[1])) == (0, lost)


def test_misplaced_labels_are_refused(export: Export, tmp_path: Path) -> None:
    # The pocket model does not know the marker: both of its characters are the same token.
    status, output, errors = export("math_shepherd", "--audit-tokenizer", "model", "--allow-cut")
    assert (status, errors.count("\n")) == (2, 1)
    assert count("rows with too many markers", output) == 2
    assert count("markers of several tokens", output) == 5
    misplaced = count("labels misplaced", output)
    assert f"with this tokenizer {misplaced} of 5 labels would not be at the ends" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format_name", "options", "reason"),
    [
        ("trl", ["--max-length", "9"], "are for --audit-tokenizer: add it"),
        ("trl", ["--allow-cut"], "are for --audit-tokenizer: add it"),
        ("trl", ["--audit-tokenizer", "data"], "data has no tokenizer.json: write it with"),
        ("potato", ["--audit-tokenizer", "model"], "does not declare which texts a trainer tok"),
        ("chat_steps", ["--audit-tokenizer", "model"], "has no chat template"),
    ],
)
def test_audit_without_means_is_refused(
    format_name: str, options: list[str], reason: str, export: Export, tmp_path: Path
) -> None:
    status, _, errors = export(format_name, *options)
    assert (status, errors.count("\n"), reason in errors) == (2, 1, True)
    assert not (tmp_path / "out").exists()


def test_python_export_is_audited(tmp_path: Path) -> None:
    dataset = str(tmp_path / "data")
    fill(Dataset(dataset))
    target = tmp_path / "out"
    result = stepmark.export(dataset, "trl", target, audit_tokenizer=POCKET, max_length=200)
    assert result.audit is not None
    assert (result.audit.rows, result.audit.labels, result.audit.rows_cut) == (2, 5, 0)
    before = sorted(path.read_bytes() for path in target.rglob("*.parquet"))
    with pytest.raises(DatasetError, match="1 of 2 rows would be cut at 25 tokens"):
        stepmark.export(dataset, "trl", target, audit_tokenizer=POCKET, max_length=25)
    assert sorted(path.read_bytes() for path in target.rglob("*.parquet")) == before
    cut = stepmark.export(
        dataset, "trl", target, audit_tokenizer=POCKET, max_length=25, allow_cut=True
    )
    assert cut.audit is not None
    assert cut.audit.labels_cut > 0
    assert stepmark.export(dataset, "trl", target).audit is None
