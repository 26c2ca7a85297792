"""Requests to servers with faults: every answer is that of a server without faults."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from stepmark.records import Sampling
from tests.engines.fake_server import FakeServer
from tests.engines.faulty_server import FAULTS, FaultyModel, serving_faulty, texts_of

# As many requests as the torture tests of a run of 12 problems sent.
REQUESTS = 156


def requests() -> list[tuple[Prompt, Sampling]]:
    made: list[tuple[Prompt, Sampling]] = []
    for index in range(REQUESTS):
        prompt = Prompt(user=f"Q{index // 6}", prefix="\n" * (index % 6))
        made.append((prompt, Sampling(n=1 + index % 4, seed=1024 * index, max_tokens=64)))
    return made


def expected_texts() -> list[Sequence[str]]:
    texts: list[Sequence[str]] = []
    for prompt, sampling in requests():
        texts.append(texts_of({"prompt": prompt.text, "n": sampling.n, "seed": sampling.seed}))
    return texts


async def complete_all(servers: Sequence[FakeServer], **fields: Any) -> list[Sequence[str]]:
    engine = OpenAI(
        model="m",
        base_urls=tuple(server.url for server in servers),
        api="completions",
        trust_continuation=True,
        timeout=1.0,
        **fields,
    )
    answers = await asyncio.gather(
        *(engine.complete(prompt, sampling) for prompt, sampling in requests())
    )
    await engine.close()
    return [[completion.text for completion in answer] for answer in answers]


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("kind", FAULTS)
async def test_each_fault_changes_no_answer(kind: str) -> None:
    model = FaultyModel(share=0.05, kinds=[kind])
    async with serving_faulty(model) as servers:
        assert await complete_all(servers) == expected_texts()
    assert model.faults[kind] > 0
    assert max(model.answered.values()) == 1, "an answered request was sent again"


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("seed", range(3))
async def test_mixed_faults_change_no_answer(seed: int) -> None:
    model = FaultyModel(share=0.2, seed=seed)
    async with serving_faulty(model) as servers:
        assert await complete_all(servers) == expected_texts()
    assert len(model.faults) > 10
    assert max(model.answered.values()) == 1, "an answered request was sent again"
