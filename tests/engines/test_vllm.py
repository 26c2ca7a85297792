"""vLLM in this process: what can go wrong with it, and what must not stay behind."""

import asyncio
import gc
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engines.base import Prompt
from engines.pocket import SHIPPED
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
async def test_a_folder_without_a_model_is_a_user_error(tmp_path: Path, vllm_imported: None) -> None:
    engine = VLLM(model=str(tmp_path))
    with pytest.raises(ConfigError, match="vLLM cannot start") as refusal:
        await engine.complete(PROMPT, GREEDY)
    assert "\n" not in str(refusal.value)
    await engine.close()


def test_the_identity_is_what_the_files_hold(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = VLLM(model=str(tmp_path)).identity
    assert VLLM(model=str(tmp_path), resources={"max_num_seqs": 8}).identity == before
    assert VLLM(model=str(tmp_path), options={"max_model_len": 8}).identity != before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert VLLM(model=str(tmp_path)).identity != before


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
async def test_an_engine_that_dies_is_retryable_and_starts_anew(in_process: VLLM) -> None:
    (before,) = await in_process.complete(PROMPT, GREEDY)
    calls = [asyncio.create_task(in_process.complete(PROMPT, Sampling(n=8, max_tokens=150, seed=1024 * k))) for k in range(50)]
    await asyncio.sleep(0.1)
    for process in multiprocessing.active_children():
        if process.name.startswith("EngineCore"):
            process.kill()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures
    assert all(isinstance(failure, EngineError) and failure.retryable for failure in failures)
    (after,) = await in_process.complete(PROMPT, GREEDY)
    assert after.text == before.text
    gc.collect()
