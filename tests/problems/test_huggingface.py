"""Test folders with the layout of a Hub dataset, and one-line error messages."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from problems.sources import huggingface
from problems.sources.huggingface import HuggingFace
from stepmark.errors import InputError
from stepmark.records import Problem, Rejected
from tests.json_lines import write_json_lines

ROWS = [
    {"question": "a", "answer": "x #### 1"},
    {"question": "", "answer": "x #### 2"},
    {"question": "c", "answer": "x #### 3"},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a dataset with a JSONL training split and a Parquet test split."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    write_json_lines(tmp_path / "set" / "train.jsonl", *ROWS)
    return tmp_path / "set"


def test_folder_of_json_lines_is_read(folder: Path) -> None:
    first, second, third = HuggingFace(name=str(folder), shape="gsm8k").problems()
    assert isinstance(first, Problem)
    assert (first.question, first.answer, first.source) == ("a", "1", str(folder))
    assert second == Rejected(file=str(folder), row=2, field="question", reason="empty")
    assert isinstance(third, Problem)


def test_folder_of_parquet_is_read(folder: Path) -> None:
    (folder / "train.jsonl").unlink()
    pq.write_table(
        pa.Table.from_pylist([{"q": {"text": "a"}, "n": 1}, {"q": {"text": "b"}, "n": None}]),
        folder / "test.parquet",
    )
    source = HuggingFace(
        name=str(folder),
        split="test",
        fields={"question": "q.text", "answer": "n"},
        limit=1,
        license="MIT",
    )
    (problem,) = source.problems()
    assert isinstance(problem, Problem)
    assert (problem.answer, problem.license) == ("1", "MIT")


def test_missing_dataset_message_is_one_line(folder: Path) -> None:
    name = str(folder)
    bad_split = (
        f"the dataset {name}, split tset, cannot be read:"
        " Bad split: tset. Available splits: ['train']"
    )
    for source, message in (
        (HuggingFace(name=name, split="tset"), bad_split),
        (
            HuggingFace(name=name, config="main"),
            f"the dataset {name} (main), split train, cannot be read:"
            " BuilderConfig 'main' not found",
        ),
        (
            HuggingFace(name=f"{name}/no"),
            f"the dataset {name}/no, split train, cannot be read:"
            f" Couldn't find any data file at {name}/no",
        ),
        (
            HuggingFace(name=name, fields={"question": "prompt"}),
            f"{name} has no field 'prompt'; it has: question, answer",
        ),
    ):
        with pytest.raises(InputError) as caught:
            source.problems()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_truncated_file_message_is_one_line(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"question": "a"}\n{bad\n')
    with pytest.raises(InputError, match="cannot be read: JSON parse error"):
        HuggingFace(name=str(folder)).problems()


def test_unreachable_hub_message_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> object:
        assert "trust_remote_code" not in options
        raise ConnectionError("Couldn't reach 'org/set' on the Hub\n(details)")

    monkeypatch.setattr(huggingface, "load_dataset", unreachable)
    with pytest.raises(InputError) as caught:
        HuggingFace(name="org/set", revision="abc").problems()
    assert (
        str(caught.value)
        == "the dataset org/set, split train, cannot be read: Couldn't reach 'org/set' on the Hub"
    )
