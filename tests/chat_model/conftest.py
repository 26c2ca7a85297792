"""A vLLM server with SmolLM2-135M-Instruct, and the tokenizer of the model."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.model_server import serve_model
from tests.chat_model.conversion import model_folder

MODEL_NAME = "smollm2"


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A running server."""

    folder: Path
    url: str
    log: Path
    """What the server has written to its output."""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedModel]:
    folder = model_folder()
    log = tmp_path_factory.mktemp("server") / "log"
    with serve_model(folder, MODEL_NAME, log) as url:
        yield ServedModel(folder=folder, url=url, log=log)


@pytest.fixture(scope="package")
def tokenizer(server: ServedModel) -> Any:
    with warnings.catch_warnings():
        # The libraries that transformers imports use deprecated names of others.
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(server.folder)
