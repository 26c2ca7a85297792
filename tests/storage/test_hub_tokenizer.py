"""Tokenizers by name: from the cache of the Hub's client, or an error in one line."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from stepmark.errors import ConfigError
from storage.publishing import hub_tokenizer
from storage.publishing.hub_tokenizer import tokenizer_folder
from tests.storage.hub_client import Connection, connected
from tests.storage.hub_server import REPOSITORY, REVISION, Handler, Route

COMMIT = "0" * 40
FILES: Mapping[str, Mapping[str, bytes]] = {
    "org/model": {
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"x",
        "modeling.py": b"raise SystemExit",
    },
    "org/old": {"tokenizer.model": b"x"},
}


class ModelHandler(Handler):
    """The files of two model repositories."""

    routes: ClassVar[list[Route]] = [
        (
            {"GET", "HEAD"},
            f"/{REPOSITORY}/resolve/{REVISION}/(.+)",
            lambda handler, *parts: handler.send_file(*parts),
        )
    ]

    def send_file(self, name: str, revision: str, path: str) -> None:
        if name not in FILES:
            return self._missing("RepoNotFound")
        if path not in FILES[name]:
            return self._missing("EntryNotFound")
        content = FILES[name][path]
        digest = hashlib.sha256(content).hexdigest()
        return self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    yield from connected(monkeypatch, tmp_path / "hub", ModelHandler)


def test_only_tokenizer_is_downloaded(connection: Connection) -> None:
    folder = tokenizer_folder("org/model")
    assert sorted(path.name for path in folder.iterdir()) == [
        "chat_template.jinja",
        "tokenizer.json",
    ]
    assert not connection.hub.count(".*modeling.py")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/old", "its repository on the Hub has no tokenizer.json: name a folder that has one"),
        ("org/none", "no folder org/none, and no such repository on the Hub that HF_TOKEN may"),
    ],
)
def test_unfit_repositories_are_explained(name: str, reason: str, connection: Connection) -> None:
    with pytest.raises(ConfigError, match=reason):
        tokenizer_folder(name)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of a client that has no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


def test_folder_is_itself(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    assert tokenizer_folder(str(folder)) == folder
    assert not cache.exists()


def test_cached_tokenizer_needs_no_network(cache: Path) -> None:
    repository = cache / "models--org--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert tokenizer_folder("org/model") == snapshot


def test_repetitions_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level

    def download(*_: object, **__: object) -> str:
        assert not logger.isEnabledFor(logging.WARNING)
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hub_tokenizer, "hf_hub_download", download)
    with pytest.raises(ConfigError, match="the Hub cannot be reached"):
        tokenizer_folder("org/model")
    assert logger.level == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/model", "no folder org/model, and the Hub cannot be reached .*: name a folder"),
        ("../model", "there is no folder ../model with a tokenizer"),
        ("~no-such-user/model", "there is no folder ~no-such-user/model with a tokenizer"),
        ("a" * 5000, "there is no folder a+ with a tokenizer"),
        ("a/b/c", "there is no folder a/b/c with a tokenizer"),
        ("hf://org/model", "there is no folder hf://org/model with a tokenizer"),
        ("a--b/c..d", "cannot download the tokenizer a--b/c..d: "),
    ],
)
def test_missing_tokenizer_is_explained(name: str, reason: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        tokenizer_folder(name)
