"""Fixtures that start each slow engine once, with the pocket model."""

import contextlib
import gc
import importlib
import random
import warnings
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from benchmarks.common.model_server import serve_model
from engines.base import Engine, Prompt
from engines.openai import OpenAI
from engines.pocket import Pocket
from engines.scripted import Scripted
from engines.vllm import VLLM
from stepmark.records import Sampling
from tests.engines import shipped

E = TypeVar("E", bound=Engine)

WORDS = [f"w{first}{second}" for first, second in product("abcdefghijklm", "nopqrstuvwxyz")]


def babble(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """Return words that depend on the question, the seed and their position.

    A reply therefore continues where its prefix ends.
    """
    key = 0
    if sampling.temperature:
        key = sampling.seed + index
    start = len(prompt.prefix.split())
    words = (
        random.Random(f"{prompt.user}/{key}/{position}").choice(WORDS)
        for position in range(start, start + 50)
    )
    return "".join(f" {word}" for word in words)


@contextlib.asynccontextmanager
async def closing(engine: E) -> AsyncIterator[E]:
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def model_with_turns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a pocket model with a chat template."""
    return shipped.with_turns(tmp_path_factory.mktemp("models") / "pocket")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def scripted() -> AsyncIterator[Scripted]:
    async with closing(Scripted(respond=babble, context=shipped.CONTEXT, delay=0.01)) as engine:
        yield engine


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pocket() -> AsyncIterator[Pocket]:
    async with closing(Pocket()) as engine:
        yield engine


@pytest.fixture(scope="session")
def vllm_imported() -> None:
    """Import vLLM without its deprecation warnings; fail if it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("vllm.v1.engine.async_llm")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def in_process(model_with_turns: Path, vllm_imported: None) -> AsyncIterator[VLLM]:
    async with closing(VLLM(model=str(model_with_turns), dtype="float32")) as engine:
        yield engine
    with warnings.catch_warnings():
        # vLLM leaves a ZeroMQ context to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def completions(vllm_server: str) -> AsyncIterator[OpenAI]:
    async with closing(
        OpenAI(model="pocket", base_urls=(vllm_server,), api="completions")
    ) as engine:
        yield engine


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chat(vllm_server: str) -> AsyncIterator[OpenAI]:
    async with closing(OpenAI(model="pocket", base_urls=(vllm_server,), api="chat")) as engine:
        yield engine


@pytest.fixture(scope="package")
def vllm_server(model_with_turns: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a vLLM server with the pocket model, for plain text and turns."""
    with serve_model(model_with_turns, "pocket", tmp_path_factory.mktemp("server") / "log") as url:
        yield url
