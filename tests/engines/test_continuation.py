"""The proof that a chat server continues an answer, with servers that do and that do not."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime.continuation_probe import LIST_PROBE
from pipelines.run.meter import Meter
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from stepmark.errors import ConfigError, ContinuationError, EngineWarning
from stepmark.records import Sampling
from tests.engines.chat_server import LINES, ChatModel, serving
from tests.engines.fake_server import Answer

PROMPT = Prompt(user="Add 3 and 4, then double.", prefix=LINES[0])
SAMPLING = Sampling(max_tokens=60, seed=7)
OTHER_LINES = ("First add: 3 + 4 = 7.\n", "Then double it: 14.\n", "So \\boxed{14}.")


class StrongModel(ChatModel):
    """A model that goes on with an answer whose turn has ended, where it can."""

    def _text(self, user: str, prefix: str) -> str:
        if "Count from" in user and prefix:
            return "ur, five, six"
        return super()._text(user, prefix)


class WithinLines(ChatModel):
    """A model behind a server that continues an answer only within a line."""

    def _text(self, user: str, prefix: str) -> str:
        return super()._text(user, "" if prefix.endswith("\n") else prefix)


class EmptyThinking(ChatModel):
    """A model whose template begins every given answer with an empty thinking."""

    def respond(self, request: Mapping[str, Any]) -> Answer:
        """Return the reply to a request."""
        answer = super().respond(request)
        if request["messages"][-1]["role"] == "assistant":
            answer.body["usage"]["prompt_tokens"] += 4
        return answer


class PlainModel(ChatModel):
    """The model behind a server of plain text, which may put the text into a turn of a chat."""

    def respond(self, request: Mapping[str, Any]) -> Answer:
        """Return the reply to a request."""
        text = request["prompt"]
        user = next(user for user in (PROMPT.user, LIST_PROBE.user) if text.startswith(user))
        messages = [{"role": "user", "content": user}]
        if text != user:
            messages.append({"role": "assistant", "content": text.removeprefix(user)})
        answer = super().respond({**request, "messages": messages})
        for choice in answer.body["choices"]:
            choice["text"] = choice.pop("message")["content"]
        return answer


def no_usage(prompt: int, generated: int) -> Any:
    return None


def engine_at(url: str, **fields: Any) -> OpenAI:
    return OpenAI(model="m", base_urls=(url,), retries=0, **fields)


@pytest.mark.parametrize(
    ("model", "requests"),
    [
        # A list, an own answer in two requests, and its tokens.
        (ChatModel(), 4),
        (ChatModel(usage=no_usage), 3),
        # Without the list, the own answer is the proof; it is cut at the end of a line, too.
        (ChatModel(knows_numbers=False), 5),
        (ChatModel(knows_numbers=False, usage=no_usage), 4),
        (ChatModel(knows_numbers=False, solutions=(OTHER_LINES,)), 5),
    ],
)
@pytest.mark.filterwarnings("ignore:engines.openai. m. the server counts no tokens")
async def test_continuing_server_is_proven_once(model: ChatModel, requests: int) -> None:
    async with serving(model) as server:
        engine = engine_at(server.url)
        results = await asyncio.gather(*(engine.complete(PROMPT, SAMPLING) for _ in range(4)))
        await engine.close()
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    texts = {completion.text for (completion,) in results}
    assert texts == {"".join(model.solutions[0][1:])}
    assert len(server.requests) == requests + 5


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ChatModel(turn="ignored"), "it starts a new answer"),
        (ChatModel(turn="ignored", usage=no_usage), "it starts a new answer"),
        (ChatModel(turn="ignored", knows_numbers=False), "it starts a new answer"),
        (
            ChatModel(turn="ignored", knows_numbers=False, solutions=(LINES, OTHER_LINES)),
            "it starts a new answer",
        ),
        (ChatModel(turn="closed"), "it starts a new answer"),
        (
            StrongModel(turn="closed"),
            r"it adds \d tokens to an unfinished answer, as a server does that ends",
        ),
        (ChatModel(turn="repeated"), "it starts a new answer"),
        (WithinLines(), "it starts a new answer"),
        (WithinLines(knows_numbers=False), "it starts a new answer"),
        (WithinLines(knows_numbers=False, usage=no_usage), "it starts a new answer"),
        (ChatModel(turn="rejected"), "the last message must be of the user"),
        (ChatModel(turn="reasoning"), "without a reasoning parser"),
        (ChatModel(turn="closed", knows_numbers=False, usage=no_usage), "trust_continuation"),
    ],
)
@pytest.mark.filterwarnings("ignore:engines.openai. m. the server counts no tokens")
async def test_other_server_is_refused(model: ChatModel, reason: str) -> None:
    async with serving(model) as server:
        engine = engine_at(server.url)
        with pytest.raises(ConfigError, match=reason) as error:
            await engine.complete(PROMPT, SAMPLING)
        count = len(server.requests)
        with pytest.raises(ConfigError, match="rollouts would be other solutions; use api ="):
            await engine.complete(PROMPT, SAMPLING)
        # Requests without a prefix need no continuation.
        assert await engine.complete(Prompt(user="Q"), SAMPLING)
        await engine.close()
    assert len(server.requests) == count + 1
    assert "\n" not in str(error.value)


async def test_empty_thinking_is_no_turn() -> None:
    """The template of Qwen3 adds 4 tokens before an answer, but does not end its turn."""
    long_lines = ("Let me see what is asked. " * 10 + "\n", *LINES)
    async with serving(EmptyThinking(solutions=(long_lines,))) as server:
        engine = engine_at(server.url)
        assert await engine.complete(PROMPT, SAMPLING)
        await engine.close()


@pytest.mark.parametrize("knows_numbers", [True, False])
async def test_plain_text_can_become_a_turn(knows_numbers: bool) -> None:
    async with serving(PlainModel(turn="ignored", knows_numbers=knows_numbers)) as server:
        engine = engine_at(server.url, api="completions")
        with pytest.raises(ContinuationError, match="it reads plain text as a turn of a chat"):
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    async with serving(PlainModel(knows_numbers=knows_numbers)) as server:
        engine = engine_at(server.url, api="completions")
        (completion,) = await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert completion.text == "".join(LINES[1:])
    # Plain text is usually continued, so what shows nothing is not a fault.
    async with serving(PlainModel(knows_numbers=False, solutions=(LINES, OTHER_LINES))) as server:
        engine = engine_at(server.url, api="completions")
        assert await engine.complete(PROMPT, SAMPLING)
        await engine.close()


async def test_answers_are_cut_between_words() -> None:
    """White space at the end of a prefix can have other tokens than within a text."""

    class SensitiveModel(ChatModel):
        def _text(self, user: str, prefix: str) -> str:
            if prefix.endswith("\n"):
                return "1. Another line."
            return super()._text(user, prefix)

    async with serving(SensitiveModel(knows_numbers=False)) as server:
        engine = engine_at(server.url)
        completions = await engine.check_continuation(PROMPT)
        # A list, an own answer in two requests, the end of its line, and its tokens.
        assert len(completions) == 5
        assert completions[2].text.startswith(" ")
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()


async def test_growing_prompt_is_weak_proof() -> None:
    """The server may continue, but its model writes nothing that proves it."""
    model = ChatModel(knows_numbers=False, solutions=(("ha ha ha ha ha ha ha ha",),))
    async with serving(model) as server:
        engine = engine_at(server.url)
        with pytest.warns(EngineWarning, match="seems to continue answers, but only the growing"):
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    model = ChatModel(turn="ignored", knows_numbers=False, solutions=model.solutions)
    async with serving(model) as server:
        engine = engine_at(server.url)
        with pytest.raises(ConfigError, match="adds no tokens to the prompt"):
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()


async def test_reasoning_model_is_probed() -> None:
    """The answer of a model that reasons has no text within the tokens of the probe."""
    model = ChatModel(content=lambda text: None, fields={"reasoning": "Let me see"})
    async with serving(model) as server:
        engine = engine_at(server.url)
        with pytest.warns(EngineWarning, match="only the growing number of prompt tokens"):
            (completion,) = await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert (completion.text, completion.reasoning) == ("", "Let me see")


async def test_certain_continuation_is_not_probed() -> None:
    async with serving(ChatModel(turn="ignored")) as server:
        engine = engine_at(server.url, trust_continuation=True)
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()
        assert len(server.requests) == 1


async def test_tokens_of_proof_are_counted() -> None:
    meter = Meter()
    async with serving(ChatModel()) as server:
        engine = MeteredEngine(
            engine=engine_at(server.url),
            budget=TokenBudget(1000),
            meter=meter,
            first_request=asyncio.Event(),
        )
        (completion,) = await engine.complete(PROMPT, SAMPLING)
        with_proof = meter.generated_tokens
        await engine.complete(PROMPT, SAMPLING)
        await engine.engine.close()
    proof_tokens = with_proof - completion.generated_tokens
    # The model's answer has 13 words, and its continuations fewer.
    assert 12 < proof_tokens <= 12 + 13 + 12 + 1
    assert meter.generated_tokens == with_proof + completion.generated_tokens


async def test_tokens_of_failed_proof_are_counted() -> None:
    meter = Meter()
    async with serving(ChatModel(turn="closed")) as server:
        engine = MeteredEngine(
            engine=engine_at(server.url),
            budget=TokenBudget(1000),
            meter=meter,
            first_request=asyncio.Event(),
        )
        with pytest.raises(ContinuationError):
            await engine.complete(PROMPT, SAMPLING)
        await engine.engine.close()
    assert 0 < meter.generated_tokens <= 12
