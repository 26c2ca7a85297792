"""vLLM in this process: what can go wrong with it, and what must not stay behind."""

import asyncio
import gc
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from engines.base import Completion, Prompt
from engines.pocket import SHIPPED
from engines.runtime import async_llm as _async_llm
from engines.vllm import VLLM
from stepmark.errors import ConfigError, EngineError, InstallError
from stepmark.records import Sampling
from tests.engines.shipped import PROBLEMS

on_the_engines_loop = pytest.mark.asyncio(loop_scope="session")
# vLLM leaves a ZeroMQ context to the garbage collector.
leaves_a_context = pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")

PROMPT = Prompt(user=" ".join(PROBLEMS[:2]))
GREEDY = Sampling(max_tokens=8, temperature=0.0)


async def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InstallError, match=r"pip install 'stepmark\[vllm\]'"):
        await VLLM(model=str(SHIPPED)).complete(PROMPT, GREEDY)


async def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    engine = VLLM(model=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="there is no folder"):
        await engine.complete(PROMPT, GREEDY)
    await engine.close()


@pytest.mark.vllm
async def test_a_folder_without_a_model_is_a_user_error(
    tmp_path: Path, vllm_imported: None
) -> None:
    engine = VLLM(model=str(tmp_path))
    with pytest.raises(ConfigError, match="vLLM cannot start") as refusal:
        await engine.complete(PROMPT, GREEDY)
    assert "\n" not in str(refusal.value)
    await engine.close()


def test_the_identity_is_what_the_files_hold_wherever_they_lie(tmp_path: Path) -> None:
    here, there = (tmp_path / parent / "model" for parent in ("here", "there"))
    for folder in (here, there):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"one")
    before = VLLM(model=str(here)).identity
    assert VLLM(model=str(there)).identity == before
    assert VLLM(model=str(here), resources={"max_num_seqs": 8}).identity == before
    assert VLLM(model=str(here), options={"max_model_len": 8}).identity != before
    (here / "model.safetensors").write_bytes(b"two")
    assert VLLM(model=str(here)).identity != before


def test_the_name_says_which_revision(tmp_path: Path) -> None:
    assert VLLM(model="org/name", revision="abc").model_name == "org/name@abc"
    assert VLLM(model=str(tmp_path)).model_name == tmp_path.name


@pytest.mark.vllm
@on_the_engines_loop
async def test_a_second_request_finds_its_prompt_cached(in_process: VLLM) -> None:
    await in_process.complete(PROMPT, GREEDY)
    (again,) = await in_process.complete(replace(PROMPT, prefix="Step 1:"), GREEDY)
    assert again.cached_tokens >= 64


@pytest.mark.vllm
@on_the_engines_loop
@leaves_a_context
async def test_an_engine_that_dies_is_retryable_and_leaves_nothing(in_process: VLLM) -> None:
    """The last test of this engine: that a new one starts when there has been one is a test of the contract."""
    await in_process.complete(PROMPT, GREEDY)
    calls = [
        asyncio.create_task(
            in_process.complete(PROMPT, Sampling(n=8, max_tokens=150, seed=1024 * k))
        )
        for k in range(50)
    ]
    await asyncio.sleep(0.1)
    engines = _engines()
    for process in engines:
        process.kill()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures
    assert all(isinstance(failure, EngineError) and failure.retryable for failure in failures)
    (running,) = [start.result() for start in in_process._starts]
    assert running.dead
    await in_process.close()
    assert engines
    assert not _engines()
    gc.collect()


async def test_the_next_call_starts_a_dead_engine_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Answering] = []

    async def start(arguments: Mapping[str, Any], chat: bool | None) -> Answering:
        started.append(Answering(str(len(started))))
        return started[-1]

    monkeypatch.setattr(_async_llm, "start", start)
    engine = VLLM(model=str(SHIPPED))
    first, again = [(await engine.complete(PROMPT, GREEDY))[0].text for _ in range(2)]
    started[0].dead = True
    third, fourth = [
        answer[0].text
        for answer in await asyncio.gather(*(engine.complete(PROMPT, GREEDY) for _ in range(2)))
    ]
    assert (first, again, third, fourth) == ("0", "0", "1", "1")
    assert [one.stopped for one in started] == [True, False]


class Answering:
    """In the place of a running vLLM: answers with its name until it is dead."""

    def __init__(self, name: str) -> None:
        self.name, self.dead, self.stopped = name, False, False

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        assert not self.dead
        return [
            Completion(
                text=self.name,
                finish_reason="stop",
                prompt_tokens=1,
                cached_tokens=0,
                generated_tokens=1,
            )
        ]

    async def stop(self) -> None:
        self.stopped = True


def _engines() -> Sequence[BaseProcess]:
    return [
        process
        for process in multiprocessing.active_children()
        if process.name.startswith("EngineCore")
    ]
