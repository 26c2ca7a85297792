"""Texts that were cut by a limit or a fault of the server, and replies without a finish reason."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from engines.base import Completion, Prompt
from engines.openai import OpenAI
from engines.runtime import backoff
from engines.runtime.doubts import DoubtfulReply, Doubts, RequestDoubts
from engines.runtime.openai_replies import Reply
from stepmark.records import Sampling
from tests.engines.fake_server import Answer, FakeServer

CONTEXT_TOKENS = 60
# The limit is known after these, also if the server ignores seeds and each text is a new one.
FIRST_REQUESTS = 40
REQUESTS = 120


def reply_of(
    text: str = "so", *, finish_reason: str = "stop", generated_tokens: int = 0, count: int = 1
) -> Reply:
    """Return a reply whose texts are equal."""
    completion = Completion(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=5,
        cached_tokens=0,
        generated_tokens=generated_tokens,
    )
    return Reply(
        completions=[completion] * count,
        indices=range(count),
        unknown_reasons=(),
        without_reason=frozenset(),
        has_usage=True,
    )


def cut_reply(generated_tokens: int) -> Reply:
    """Return a reply with one text that was cut after some tokens."""
    return reply_of(finish_reason="length", generated_tokens=generated_tokens)


@pytest.mark.parametrize(
    ("generated_tokens", "expected"),
    [(3, {0: "text cut early"}), (99, {}), (100, {}), (0, {})],
)
def test_early_cut_is_doubted(generated_tokens: int, expected: dict[int, str]) -> None:
    assert Doubts().about(cut_reply(generated_tokens), 100) == expected


def test_shorter_than_others_is_certain() -> None:
    doubts = Doubts()
    doubts.learn(cut_reply(50))
    assert doubts.about(cut_reply(3), 100) == {0: "cut text"}
    assert doubts.about(cut_reply(60), 100) == {0: "text cut early"}


def test_early_cuts_become_usual() -> None:
    doubts = Doubts()
    doubts.confirmed["text cut early"] = 3
    doubts.learn(cut_reply(50))
    assert doubts.about(cut_reply(50), 100) == {}
    assert doubts.about(cut_reply(3), 100) == {0: "cut text"}


def test_second_cut_shows_the_limit() -> None:
    doubts = Doubts()
    request = RequestDoubts(doubts=doubts, max_tokens=100)
    with pytest.raises(DoubtfulReply):
        request.examine(cut_reply(50))
    # Cut at another place, as by a fault.
    with pytest.raises(DoubtfulReply):
        request.examine(cut_reply(40))
    assert request.examine(cut_reply(41)) == {}
    assert doubts.about(cut_reply(41), 100) == {}
    assert doubts.about(cut_reply(20), 100) == {0: "text cut early"}
    assert not doubts.refuted
    # A longer text: the limit is another one.
    doubts.learn(reply_of(generated_tokens=60))
    assert doubts.about(cut_reply(70), 100) == {0: "text cut early"}


def test_limit_is_no_shorter_than_texts() -> None:
    doubts = Doubts()
    doubts.learn(reply_of(generated_tokens=60))
    request = RequestDoubts(doubts=doubts, max_tokens=100)
    for _ in range(2):
        with pytest.raises(DoubtfulReply, match="cut text"):
            request.examine(cut_reply(40))


def test_late_repetitions_refute_nothing() -> None:
    """The kind becomes usual while many requests are being repeated."""
    doubts = Doubts()
    requests = [RequestDoubts(doubts=doubts, max_tokens=100) for _ in range(100)]
    for request in requests:
        with pytest.raises(DoubtfulReply):
            request.examine(reply_of(""))
    doubts.confirmed["empty text"] = 3
    for request in requests:
        assert request.examine(reply_of("")) == {}
    assert doubts.about(reply_of(""), 100) == {}


def test_other_reply_refutes_the_doubt() -> None:
    doubts = Doubts()
    request = RequestDoubts(doubts=doubts, max_tokens=100)
    for _ in range(2):
        with pytest.raises(DoubtfulReply):
            request.examine(reply_of(""))
    assert request.examine(reply_of("so")) == {}
    assert doubts.refuted == {"empty text": 1}


def test_first_reply_needs_a_reason() -> None:
    """The first reply of a run is a fault, and has several texts."""
    reply = replace(reply_of(count=4), without_reason=frozenset(range(4)))
    assert Doubts().about(reply, 100) == dict.fromkeys(range(4), "no finish reason")


@dataclass(kw_only=True)
class SmallContext:
    """A server that cuts texts at the end of its context, as llama.cpp does."""

    has_seeds: bool
    texts: int = 0
    """The texts that were generated."""

    def respond(self, request: Mapping[str, Any]) -> Answer:
        """Return texts of 10 to 80 words; the same ones for the same seed if there are seeds."""
        prompt_tokens = len(request["prompt"].split())
        choices: list[Mapping[str, Any]] = []
        generated = 0
        for index in range(request["n"]):
            self.texts += 1
            chance = random.Random(self.texts)
            if self.has_seeds:
                chance = random.Random(request["seed"] + index)
            length = chance.randrange(10, 80)
            limit = min(request["max_tokens"], CONTEXT_TOKENS - prompt_tokens)
            reason = "stop" if length <= limit else "length"
            length = min(length, limit)
            generated += length
            choices.append(
                {"index": index, "text": " ".join(["so"] * length), "finish_reason": reason}
            )
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": generated}
        return Answer(body={"choices": choices, "usage": usage})


@pytest.mark.parametrize("has_seeds", [True, False])
@pytest.mark.parametrize("n", [1, 4])
async def test_small_context_costs_no_repetitions(
    has_seeds: bool, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_WAIT_SECONDS", 0.001)
    model = SmallContext(has_seeds=has_seeds)
    async with FakeServer.answering() as server:
        server.respond = model.respond
        engine = OpenAI(model="m", base_urls=(server.url,), api="completions", concurrency=10)

        async def complete(index: int) -> None:
            prompt = Prompt(user="a " * (1 + index % 30))
            sampling = Sampling(n=n, seed=1024 * index, max_tokens=100)
            for completion in await engine.complete(prompt, sampling):
                generated = len(completion.text.split())
                is_cut = completion.finish_reason == "length"
                assert not is_cut or generated == CONTEXT_TOKENS - 1 - index % 30

        await asyncio.gather(*map(complete, range(FIRST_REQUESTS)))
        texts = model.texts
        await asyncio.gather(*map(complete, range(FIRST_REQUESTS, REQUESTS)))
        await engine.close()
    assert texts <= 3 * n * FIRST_REQUESTS
    # Most of the texts are cut, and none of them is requested again any more.
    assert model.texts - texts == n * (REQUESTS - FIRST_REQUESTS)
