"""Tokenizers by name: from the cache of the Hub's client, or an error in one line."""

from pathlib import Path

import huggingface_hub.constants
import pytest

from stepmark.errors import ConfigError
from storage.publishing.hub_tokenizer import tokenizer_folder

COMMIT = "0" * 40


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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/model", "no folder org/model, and the Hub cannot be reached .*: name a folder"),
        ("../model", "there is no folder ../model with a tokenizer"),
        ("a/b/c", "there is no folder a/b/c with a tokenizer"),
        ("hf://org/model", "there is no folder hf://org/model with a tokenizer"),
        ("a--b/c..d", "cannot download the tokenizer a--b/c..d: "),
    ],
)
def test_missing_tokenizer_is_explained(name: str, reason: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        tokenizer_folder(name)
