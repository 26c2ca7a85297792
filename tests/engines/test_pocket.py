"""Test that the pocket model agrees with Hugging Face and is reproducible."""

import asyncio
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.base import Prompt
from engines.pocket import SHIPPED, Pocket
from stepmark.errors import ConfigError, EngineError
from stepmark.identity import SEED_SPACING
from stepmark.records import Sampling
from tests.engines.shipped import CONTEXT, HOT, PROBLEMS, plain

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = plain(PROBLEMS[0])
FREE = replace(HOT, n=8)


def reference() -> tuple[Any, Any]:
    """Return the tokenizer and the model of Hugging Face, for comparison."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype="float32")
    return tokenizer, model


async def test_greedy_text_matches_hugging_face(pocket: Pocket) -> None:
    import torch

    tokenizer, model = reference()
    for question in PROBLEMS:
        prompt = plain(question)
        tokens = tokenizer(prompt.text, return_tensors="pt").input_ids
        with torch.no_grad():
            grown = model.generate(tokens, max_new_tokens=30, do_sample=False)[0, tokens.shape[1] :]
        (ours,) = await pocket.complete(prompt, Sampling(max_tokens=30, temperature=0.0))
        assert ours.text == tokenizer.decode(grown, skip_special_tokens=True)
        assert (ours.prompt_tokens, ours.generated_tokens) == (tokens.shape[1], len(grown))


async def test_samples_follow_the_models_probabilities(pocket: Pocket) -> None:
    import torch

    tokenizer, model = reference()
    with torch.no_grad():
        logits = model(tokenizer(PROMPT.text, return_tensors="pt").input_ids).logits[0, -1]
    chances = torch.softmax(logits / 4.0, dim=-1)
    samples = await pocket.complete(PROMPT, Sampling(n=1000, max_tokens=1, temperature=4.0))
    seen = Counter(completion.text for completion in samples)
    for token in chances.topk(5).indices.tolist():
        expected = chances[token].item()
        assert seen[tokenizer.decode([token])] / 1000 == pytest.approx(
            expected, abs=4 * (expected / 1000) ** 0.5
        )


async def test_top_p_keeps_likeliest_tokens(pocket: Pocket) -> None:
    samples = await pocket.complete(PROMPT, replace(FREE, top_p=1e-6, max_tokens=8))
    (greedy,) = await pocket.complete(PROMPT, Sampling(max_tokens=8, temperature=0.0))
    assert {completion.text for completion in samples} == {greedy.text}


async def test_samples_are_not_ordered_by_likelihood(pocket: Pocket) -> None:
    """Rows are exchangeable; CTranslate2 would return the likeliest first."""
    calls = []
    for call in range(24):
        sampling = replace(FREE, max_tokens=100, seed=call * SEED_SPACING)
        calls.append(pocket.complete(PROMPT, sampling))
    first_is_not_shortest = 0
    first_is_not_longest = 0
    for answer in await asyncio.gather(*calls):
        lengths = [completion.generated_tokens for completion in answer]
        first_is_not_shortest += lengths[0] > min(lengths)
        first_is_not_longest += lengths[0] < max(lengths)
    assert first_is_not_shortest
    assert first_is_not_longest


async def test_threads_do_not_change_samples(pocket: Pocket) -> None:
    single = replace(pocket, workers=1)
    sampling = replace(FREE, n=40)
    assert await single.complete(PROMPT, sampling) == await pocket.complete(PROMPT, sampling)
    await single.close()


async def test_several_stop_strings_end_rows_independently(pocket: Pocket) -> None:
    free = await pocket.complete(PROMPT, FREE)
    stops = ("\n", " ".join(free[0].text.split(" ")[3:5]))
    for completion in await pocket.complete(PROMPT, replace(FREE, stop=stops)):
        assert not any(stop in completion.text for stop in stops)
        expected = "stop"
        if completion.generated_tokens == FREE.max_tokens:
            expected = "length"
        assert completion.finish_reason == expected


async def test_context_limit_ends_completion(pocket: Pocket) -> None:
    long = Prompt(user=" many" * (CONTEXT - 11))
    (cut,) = await pocket.complete(long, Sampling(max_tokens=500, temperature=0.0))
    assert (cut.finish_reason, cut.generated_tokens) == ("length", 10)
    with pytest.raises(EngineError, match="context"):
        await pocket.complete(replace(long, prefix=" many" * 10), Sampling())


async def test_cancelled_calls_stop_and_leave_queue(pocket: Pocket) -> None:
    calls = [
        asyncio.create_task(pocket.complete(PROMPT, replace(FREE, n=64, max_tokens=200)))
        for _ in range(50)
    ]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    start = time.process_time()
    await pocket.complete(PROMPT, Sampling(max_tokens=1))
    # The cancelled calls would need minutes of processor time.
    assert time.process_time() - start < 10.0


async def test_event_loop_runs_while_model_samples(pocket: Pocket) -> None:
    call = asyncio.create_task(pocket.complete(PROMPT, replace(FREE, n=32, max_tokens=150)))
    turns = 0
    while not call.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 5


async def test_identity_depends_on_weights_not_path(tmp_path: Path) -> None:
    moved = shutil.copytree(SHIPPED, tmp_path / "moved")
    here = Pocket(model=str(SHIPPED))
    there = Pocket(model=str(moved))
    assert here.identity == there.identity
    assert replace(here, compute_type="int8").identity != here.identity
    with (moved / "ctranslate2" / "model.bin").open("ab") as weights:
        weights.write(b"x")
    assert Pocket(model=str(moved)).identity != here.identity


async def test_missing_model_is_user_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        await Pocket(model=str(tmp_path)).complete(PROMPT, FREE)
    with pytest.raises(ConfigError):
        _ = Pocket(model=str(tmp_path)).identity


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "ctranslate2/config.json", "ctranslate2/model.bin"]
)
async def test_damaged_model_is_user_error(name: str, tmp_path: Path) -> None:
    damaged = shutil.copytree(SHIPPED, tmp_path / "damaged")
    (damaged / name).write_bytes(b"{}")
    with pytest.raises(ConfigError, match="cannot be loaded: ") as error:
        await Pocket(model=str(damaged)).complete(PROMPT, FREE)
    assert "\n" not in str(error.value)
