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
from jinja2 import TemplateError

from engines.base import Completion, Prompt
from engines.pocket import SHIPPED
from engines.runtime import async_llm
from engines.vllm import VLLM
from stepmark.errors import ConfigError, EngineError, InstallError
from stepmark.records import Sampling
from tests.engines.shipped import PROBLEMS

uses_session_loop = pytest.mark.asyncio(loop_scope="session")
# vLLM leaves a ZeroMQ context to the garbage collector.
leaves_a_context = pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")

PROMPT = Prompt(user=" ".join(PROBLEMS[:2]))
GREEDY = Sampling(max_tokens=8, temperature=0.0)


async def test_missing_vllm_message_names_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InstallError, match=r"pip install 'stepmark\[vllm\]'"):
        await VLLM(model=str(SHIPPED)).complete(PROMPT, GREEDY)


async def test_missing_folder_is_user_error(tmp_path: Path) -> None:
    engine = VLLM(model=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="there is no folder"):
        await engine.complete(PROMPT, GREEDY)
    await engine.close()


@pytest.mark.vllm
async def test_folder_without_model_is_user_error(tmp_path: Path, vllm_imported: None) -> None:
    engine = VLLM(model=str(tmp_path))
    with pytest.raises(ConfigError, match="vLLM cannot start") as error:
        await engine.complete(PROMPT, GREEDY)
    assert "\n" not in str(error.value)
    await engine.close()


@pytest.mark.parametrize(
    "error", [TemplateError("no system\nrole"), ValueError("no final\nmessage")]
)
def test_rejecting_template_is_engine_error(error: Exception) -> None:
    class Tokenizer:
        def apply_chat_template(self, messages: object, **options: object) -> list[int]:
            raise error

    class Model:
        def get_tokenizer(self) -> Tokenizer:
            return Tokenizer()

    running = async_llm.Running(llm=Model(), chat=True, watchdog=None)  # type: ignore[arg-type]
    with pytest.raises(
        EngineError, match=r"template rejects the prompt: no [a-z]+ [a-z]+$"
    ) as raised:
        running.tokenize(PROMPT)
    assert not raised.value.retryable


def test_identity_depends_on_contents_not_path(tmp_path: Path) -> None:
    here = tmp_path / "here" / "model"
    there = tmp_path / "there" / "model"
    for folder in (here, there):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"one")
    before = VLLM(model=str(here)).identity
    assert VLLM(model=str(there)).identity == before
    assert VLLM(model=str(here), resources={"max_num_seqs": 8}).identity == before
    assert VLLM(model=str(here), options={"max_model_len": 8}).identity != before
    for name in ("README.md", "LICENSE", "NOTICE.txt", ".gitattributes", "figure.png"):
        (here / name).write_text("about the model")
    assert VLLM(model=str(here)).identity == before
    (there / "merges.txt").write_text("a b")
    assert VLLM(model=str(there)).identity != before
    (here / "model.safetensors").write_bytes(b"two")
    assert VLLM(model=str(here)).identity != before


async def test_replicas_are_data_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[Mapping[str, Any]]()

    async def start(arguments: Mapping[str, Any], chat: bool | None) -> async_llm.Running:
        started.append(arguments)
        raise ConfigError("no GPU")

    monkeypatch.setattr(async_llm, "start", start)
    one = VLLM(model="org/name", resources={"tensor_parallel_size": 2})
    several = replace(one, replicas=4)
    for engine in (one, several):
        with pytest.raises(ConfigError, match="no GPU"):
            await engine.complete(PROMPT, GREEDY)
    assert "data_parallel_size" not in started[0]
    assert (started[1]["data_parallel_size"], started[1]["tensor_parallel_size"]) == (4, 2)
    assert several.identity == one.identity
    with pytest.raises(ConfigError, match="from 1 on"):
        replace(one, replicas=0)


def test_model_name_contains_revision(tmp_path: Path) -> None:
    assert VLLM(model="org/name", revision="abc").model_name == "org/name@abc"
    assert VLLM(model=str(tmp_path)).model_name == tmp_path.name


@pytest.mark.vllm
@uses_session_loop
async def test_second_request_uses_cached_prompt(in_process: VLLM) -> None:
    await in_process.complete(PROMPT, GREEDY)
    (again,) = await in_process.complete(replace(PROMPT, prefix="Step 1:"), GREEDY)
    assert again.cached_tokens >= 64


@pytest.mark.vllm
@uses_session_loop
@leaves_a_context
async def test_dead_engine_is_retryable_and_removed(in_process: VLLM) -> None:
    """Runs last for this engine; the contract tests cover a restart."""
    await in_process.complete(PROMPT, GREEDY)
    calls: list[asyncio.Task[Sequence[Completion]]] = []
    for call in range(50):
        sampling = Sampling(n=8, max_tokens=150, seed=1024 * call)
        calls.append(asyncio.create_task(in_process.complete(PROMPT, sampling)))
    await asyncio.sleep(0.1)
    engines = _engines()
    for process in engines:
        process.kill()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures
    for failure in failures:
        assert isinstance(failure, EngineError)
        assert failure.retryable
    (start,) = in_process._starts
    running = start.result()
    assert running.dead
    await in_process.close()
    assert engines
    assert not _engines()
    gc.collect()


async def test_next_call_restarts_dead_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeRunning] = []

    async def start(arguments: Mapping[str, Any], chat: bool | None) -> FakeRunning:
        started.append(FakeRunning(str(len(started))))
        return started[-1]

    monkeypatch.setattr(async_llm, "start", start)
    engine = VLLM(model=str(SHIPPED))

    async def text() -> str:
        (completion,) = await engine.complete(PROMPT, GREEDY)
        return completion.text

    assert (await text(), await text()) == ("0", "0")
    started[0].dead = True
    # Two calls at the same time share the restart.
    assert list(await asyncio.gather(text(), text())) == ["1", "1"]
    dead, restarted = started
    assert (dead.stopped, restarted.stopped) == (True, False)


class FakeRunning:
    """A substitute for a running vLLM that answers with its name until it is dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped = False

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
