"""The embedded model says what Hugging Face's would say, and says it again."""

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
    """Hugging Face's tokenizer and model: the ones to agree with."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(SHIPPED), AutoModelForCausalLM.from_pretrained(
        SHIPPED, dtype="float32"
    )


async def test_greedy_is_what_hugging_face_says(pocket: Pocket) -> None:
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
    drawn = await pocket.complete(PROMPT, Sampling(n=1000, max_tokens=1, temperature=4.0))
    seen = Counter(completion.text for completion in drawn)
    for place in chances.topk(5).indices.tolist():
        expected = chances[place].item()
        assert seen[tokenizer.decode([place])] / 1000 == pytest.approx(
            expected, abs=4 * (expected / 1000) ** 0.5
        )


async def test_top_p_keeps_the_likeliest(pocket: Pocket) -> None:
    drawn = await pocket.complete(PROMPT, replace(FREE, top_p=1e-6, max_tokens=8))
    (greedy,) = await pocket.complete(PROMPT, Sampling(max_tokens=8, temperature=0.0))
    assert {completion.text for completion in drawn} == {greedy.text}


async def test_the_order_of_samples_says_nothing_of_their_likelihood(pocket: Pocket) -> None:
    """Rows are exchangeable: the first is not the shortest nor the best, as CTranslate2 would have it."""
    answers = await asyncio.gather(
        *(
            pocket.complete(PROMPT, replace(FREE, max_tokens=100, seed=k * SEED_SPACING))
            for k in range(24)
        )
    )
    lengths = [[completion.generated_tokens for completion in answer] for answer in answers]
    assert any(row[0] > min(row) for row in lengths)
    assert any(row[0] < max(row) for row in lengths)


async def test_threads_do_not_change_a_sample(pocket: Pocket) -> None:
    alone = replace(pocket, workers=1)
    sampling = replace(FREE, n=40)
    assert await alone.complete(PROMPT, sampling) == await pocket.complete(PROMPT, sampling)
    await alone.close()


async def test_several_stop_strings_end_rows_by_themselves(pocket: Pocket) -> None:
    free = await pocket.complete(PROMPT, FREE)
    stops = ("\n", " ".join(free[0].text.split(" ")[3:5]))
    for completion in await pocket.complete(PROMPT, replace(FREE, stop=stops)):
        assert not any(stop in completion.text for stop in stops)
        assert completion.finish_reason == (
            "length" if completion.generated_tokens == FREE.max_tokens else "stop"
        )


async def test_the_context_ends_a_completion(pocket: Pocket) -> None:
    long = Prompt(user=" many" * (CONTEXT - 11))
    (cut,) = await pocket.complete(long, Sampling(max_tokens=500, temperature=0.0))
    assert (cut.finish_reason, cut.generated_tokens) == ("length", 10)
    with pytest.raises(EngineError, match="context"):
        await pocket.complete(replace(long, prefix=" many" * 10), Sampling())


async def test_cancelled_calls_stop_running_and_leave_the_queue(pocket: Pocket) -> None:
    calls = [
        asyncio.create_task(pocket.complete(PROMPT, replace(FREE, n=64, max_tokens=200)))
        for _ in range(50)
    ]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    worked = time.process_time()
    await pocket.complete(PROMPT, Sampling(max_tokens=1))
    assert (
        time.process_time() - worked < 10.0
    )  # what was cancelled would work for minutes, whatever else the machine does


async def test_the_loop_is_free_while_the_model_works(pocket: Pocket) -> None:
    call = asyncio.create_task(pocket.complete(PROMPT, replace(FREE, n=32, max_tokens=150)))
    turns = 0
    while not call.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 5


async def test_the_identity_is_the_weights_not_their_place(tmp_path: Path) -> None:
    moved = shutil.copytree(SHIPPED, tmp_path / "moved")
    here, there = Pocket(model=str(SHIPPED)), Pocket(model=str(moved))
    assert here.identity == there.identity
    assert replace(here, compute_type="int8").identity != here.identity
    with (moved / "ctranslate2" / "model.bin").open("ab") as weights:
        weights.write(b"x")
    assert Pocket(model=str(moved)).identity != here.identity


async def test_a_missing_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        await Pocket(model=str(tmp_path)).complete(PROMPT, FREE)
    with pytest.raises(ConfigError):
        _ = Pocket(model=str(tmp_path)).identity


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "ctranslate2/config.json", "ctranslate2/model.bin"]
)
async def test_a_damaged_model_is_a_user_error(name: str, tmp_path: Path) -> None:
    damaged = shutil.copytree(SHIPPED, tmp_path / "damaged")
    (damaged / name).write_bytes(b"{}")
    with pytest.raises(ConfigError, match="cannot be loaded: ") as refusal:
        await Pocket(model=str(damaged)).complete(PROMPT, FREE)
    assert "\n" not in str(refusal.value)
