"""Engines that are dear to start, started once: the tiny model, vLLM in this process, a vLLM server."""

import contextlib
import gc
import importlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from engines.base import Engine, Prompt
from engines.openai import OpenAI
from engines.pocket import Pocket
from engines.scripted import Scripted
from engines.vllm import VLLM
from stepmark.records import Sampling
from tests.engines import tiny_model

E = TypeVar("E", bound=Engine)

SERVER_START_SECONDS = 300
SERVER_OPTIONS = ["--dtype", "float32", "--block-size", "32", "--no-enable-chunked-prefill", "--enforce-eager"]


def babble(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """Words that depend on the question, the seed and their place, so that a reply goes on where its prefix ends."""
    key = sampling.seed + index if sampling.temperature else 0
    start = len(prompt.prefix.split())
    words = (random.Random(f"{prompt.user}/{key}/{place}").choice(tiny_model.WORDS) for place in range(start, start + 50))
    return "".join(f" {word}" for word in words)


@contextlib.asynccontextmanager
async def closing(engine: E) -> AsyncIterator[E]:
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def scripted() -> AsyncIterator[Scripted]:
    async with closing(Scripted(respond=babble, context=tiny_model.CONTEXT, delay=0.01)) as engine:
        yield engine


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pocket(tiny_folder: Path) -> AsyncIterator[Pocket]:
    async with closing(Pocket(model=str(tiny_folder))) as engine:
        yield engine


@pytest.fixture(scope="session")
def vllm_imported() -> None:
    """Torch and vLLM warn of each other's deprecations while they are imported; fails where vLLM is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("vllm.v1.engine.async_llm")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def in_process(tiny_folder: Path, vllm_imported: None) -> AsyncIterator[VLLM]:
    async with closing(VLLM(model=str(tiny_folder), dtype="float32")) as engine:
        yield engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # vLLM leaves a ZeroMQ context to the garbage collector
        gc.collect()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def completions(vllm_server: str) -> AsyncIterator[OpenAI]:
    async with closing(OpenAI(model="tiny", base_urls=(vllm_server,), api="completions")) as engine:
        yield engine


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chat(vllm_server: str) -> AsyncIterator[OpenAI]:
    async with closing(OpenAI(model="tiny", base_urls=(vllm_server,), api="chat")) as engine:
        yield engine


@pytest.fixture(scope="package")
def vllm_server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a vLLM server with the tiny model."""
    port = _free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_folder), "--served-model-name", "tiny"]
    options = [*SERVER_OPTIONS, "--port", str(port), "--host", "127.0.0.1", "--enable-prompt-tokens-details"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *options], stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the vLLM server ended: {log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"no vLLM server after {SERVER_START_SECONDS} s: {log.read_text()[-3000:]}")
