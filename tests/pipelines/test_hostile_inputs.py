"""Malformed and hostile run files, overrides and locations are rejected in one line."""

from pathlib import Path

import pytest

from pipelines.run import plan as planning
from pipelines.run.config import MAX_FILE_BYTES, load, parse
from stepmark.errors import ConfigError, DatasetError, UserError
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.translated import Translated
from tests.pipelines import hostile_datasets
from tests.pipelines.hostile_inputs import cases, fault_of, prepared_only

CASES_PER_SEED = 250
DAMAGED_DATASETS = 15


@pytest.mark.parametrize("seed", range(4))
def test_generated_inputs_end_in_one_line(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.pipelines.hostile_inputs` tries more of them."""
    monkeypatch.chdir(tmp_path)
    faults = list[tuple[object, str]]()
    with prepared_only():
        for case in cases(seed, CASES_PER_SEED):
            fault = fault_of(case, tmp_path)
            if fault:
                faults.append((case, fault))
    assert faults == []


def test_damaged_datasets_end_in_one_line(tmp_path: Path) -> None:
    """Each damage is named or repaired; `python -m tests.pipelines.hostile_inputs` tries more."""
    original = tmp_path / "original"
    hostile_datasets.make_dataset(original)
    faults = list[tuple[object, str]]()
    for number, case in enumerate(hostile_datasets.cases(original, 1, DAMAGED_DATASETS)):
        fault = hostile_datasets.fault_of(case, original, tmp_path / str(number))
        if fault:
            faults.append((case, fault))
    assert faults == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rollouts", True),
        ("rollouts", "4"),
        ("rollouts", 4.0),
        ("stop_early", 1),
        ("stop_early", "true"),
    ],
)
def test_plugins_do_not_convert_types(key: str, value: object) -> None:
    table = {"use": "monte_carlo", key: value}
    engine = {"use": "scripted"}
    run_file = parse({"dataset": "d", "engine": engine, "annotators": [table]}, "run.toml")
    with pytest.raises(UserError, match=f"^mine.toml: annotators.monte_carlo: {key}: "):
        planning.build(run_file, "mine.toml")


@pytest.mark.parametrize(
    ("table", "key"), [("generate", "max_tokens"), ("generate", "temperature"), ("", "seed")]
)
@pytest.mark.parametrize("value", [True, "4"])
def test_run_files_do_not_convert_types(table: str, key: str, value: object) -> None:
    content = {table: {key: value}} if table else {key: value}
    with pytest.raises(ConfigError, match=f"{key}: Input should be a valid"):
        parse({"dataset": "d", **content}, "run.toml")


def test_endless_run_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is no run file"):
        load(Path("/dev/zero"))
    path = tmp_path / "run.toml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="it is no run file"):
        load(path)


@pytest.mark.parametrize("uri", ["file://", "file:///", "/", "memory://", "s3://", " ", ""])
def test_location_needs_a_name(uri: str) -> None:
    with pytest.raises(ConfigError, match="it has no name"):
        Folder(uri)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\udcff", "a\x00b"])
def test_location_has_printable_name(name: str) -> None:
    with pytest.raises(ConfigError, match="characters that cannot be printed") as caught:
        Folder(name)
    assert str(caught.value).isascii()


@pytest.mark.parametrize("uri", ["s3://key:s3cret@bucket/x", "http://host/x?sig=s3cret"])
def test_location_has_no_secret(uri: str) -> None:
    with pytest.raises(ConfigError, match="belongs in the environment") as caught:
        Folder(uri)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", [".", "./", "file://."])
def test_current_folder_is_no_dataset(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is the current folder"):
        Dataset(uri).check_writable()
    assert list(tmp_path.iterdir()) == []
    # One that exists can be used from inside.
    Dataset(str(tmp_path)).write_run_file("")
    Dataset(uri).check_writable()


class FailingFileSystem:
    """A client that raises another type of error than `OSError`."""

    protocol = "failing"

    def open(self, path: str, mode: str) -> "FailingFileSystem":
        return self

    def read(self) -> bytes:
        raise LookupError("the hub\nis not reached")

    def isfile(self, path: str) -> bool:
        raise LookupError("the hub\nis not reached")

    def invalidate_cache(self) -> None:
        """Have no cache."""

    def unstrip_protocol(self, path: str) -> str:
        return f"failing://{path}"

    def __enter__(self) -> "FailingFileSystem":
        return self

    def __exit__(self, *error: object) -> None:
        """Close nothing."""


def test_errors_of_clients_are_translated() -> None:
    folder = Folder("memory://errors-of-clients")
    folder.fs = Translated(FailingFileSystem())
    with pytest.raises(DatasetError, match=r"cannot find failing://.*run.toml: the hub$"):
        folder.has("run.toml")
    with (
        pytest.raises(DatasetError, match=r"cannot read failing://.*run.toml: the hub$"),
        folder.reading("run.toml") as file,
    ):
        file.read()
    # The caller's own errors pass.
    with pytest.raises(LookupError), folder.reading("run.toml"):
        raise LookupError
