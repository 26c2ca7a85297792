"""Compatibility with a stored dataset: code of today finds every part of it complete."""

import gc
import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.__main__ import main
from stepmark import plugins

# Prefect's threads keep their connections beyond the event loop of a flow.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning",
    "ignore:unclosed transport:ResourceWarning",
)

FIXTURE = Path(__file__).with_name("data") / "dataset_26a14a6"
PARTS = 36
"""Parquet files of the fixture: fewer would mean that the copy is incomplete."""


def _digests(dataset: Path) -> Mapping[str, str]:
    """Return the digest of every file of a dataset, except the lock, by its relative path."""
    digests = dict[str, str]()
    for file in sorted(dataset.rglob("*")):
        if file.is_file() and file.name != ".lock":
            name = file.relative_to(dataset).as_posix()
            digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The requests that reach the pocket engine, each of which it rejects."""
    received = list[object]()

    async def reject(self: object, prompt: object, details: object) -> None:
        received.append((prompt, details))
        raise AssertionError(f"a complete dataset needs no request: {prompt}")

    engine = type(plugins.build("engines", {"use": "pocket"}))
    monkeypatch.setattr(engine, "complete", reject)
    monkeypatch.setattr(engine, "score", reject)
    return received


def test_stored_dataset_is_complete(
    tmp_path: Path,
    requests: list[object],
    prefect_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run the fixture's run file again: no request, no changed file, and no file added."""
    folder = tmp_path / "copy"
    shutil.copytree(FIXTURE, folder)
    before = _digests(folder / "dataset")
    assert sum(name.endswith(".parquet") for name in before) == PARTS

    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stepmark", "run", "run.toml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    assert requests == []
    assert _digests(folder / "dataset") == before
