"""Replies as servers send them: what is read, what is an error of the request, what is unknown."""

from typing import Any

import pytest

from engines.base import Prompt, Scored
from engines.openai import OpenAI
from engines.runtime.faults import Action
from engines.runtime.openai_replies import UnreadableReply, parse_reply, read_reply, read_usage
from stepmark.errors import ConfigError, EngineError, EngineWarning
from stepmark.records import Sampling
from tests.columns import column
from tests.engines.fake_server import USAGE, Answer, FakeServer, completion

NUMBERS: list[Any] = [float("nan"), float("inf"), -float("inf"), -1, 1.5, "7", True, [], 2**70]


def chat_reply(message: Any, finish_reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": USAGE, **fields}


def read_chat(message: Any, finish_reason: Any = "stop", **fields: Any) -> Any:
    return read_reply(chat_reply(message, finish_reason, **fields), n=1, is_chat=True)


def texts_of(message: Any) -> tuple[str, str | None]:
    (read,) = read_chat(message).completions
    return read.text, read.reasoning


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("COMPLETE", "stop"),
        ({"type": "stop", "matched": 2}, "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ({"type": "length", "length": 16}, "length"),
        ("abort", "abort"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("SAFETY", "safety"),
        ("repetition", "repetition"),
    ],
)
def test_known_finish_reasons(reason: Any, expected: str) -> None:
    reply = read_chat({"content": "x"}, reason)
    assert reply.completions[0].finish_reason == expected
    assert reply.unknown_reasons == ()


@pytest.mark.parametrize(
    ("reason", "expected", "name"),
    [
        ("ran_dry", "ran_dry", "ran_dry"),
        ("Error: x", "error  x", "Error: x"),
        ("", "unknown", ""),
        (None, "length", "null"),
        ("\x1b" * 1000, "\x1b" * 200, "\x1b" * 200),
    ],
)
async def test_unknown_finish_reason_is_named_once(
    reason: str | None, expected: str, name: str
) -> None:
    answer = Answer(body=chat_reply({"content": "x"}, reason))
    async with FakeServer.answering(answer) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), retries=0)
        with pytest.warns(EngineWarning, match="outcome and verdicts are unknown") as warned:
            (read,) = await engine.complete(Prompt(user="Q"), Sampling())
        # A second warning would be an error.
        await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()
    assert read.finish_reason == expected
    (message,) = [str(warning.message) for warning in warned]
    assert repr(name) in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "x"}, "x", None),
        ({"content": ""}, "", None),
        ({"content": None}, "", None),
        ({}, "", None),
        ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, "xy", None),
        ({"content": [{"text": "x"}, "y"]}, "xy", None),
        ({"content": [{"type": "output_text", "text": "x", "annotations": []}]}, "x", None),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "x"},
                ]
            },
            "x",
            "hm",
        ),
        ({"content": [{"type": "reasoning", "text": "hm"}]}, "", "hm"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "", None),
        ({"content": "x", "reasoning_content": "hm"}, "x", "hm"),
        ({"content": "x", "reasoning": "hm"}, "x", "hm"),
        ({"content": None, "reasoning": "hm", "reasoning_details": [{}]}, "", "hm"),
        ({"content": "x", "reasoning_content": None, "reasoning": "hm"}, "x", "hm"),
        ({"content": "x", "reasoning": {"effort": 1}}, "x", None),
    ],
)
def test_texts_and_reasoning_are_kept_apart(message: Any, text: str, reasoning: str | None) -> None:
    assert texts_of(message) == (text, reasoning)


def test_lone_surrogates_are_replaced() -> None:
    """A later request contains the text, and cannot contain half of a character."""
    for content in ("a \ud800", ["a \ud800"], [{"type": "text", "text": "a \ud800"}]):
        message = {"content": content, "reasoning": "\udfff b"}
        assert texts_of(message) == ("a \ufffd", "\ufffd b")


def test_refusal_is_not_an_answer() -> None:
    (read,) = read_chat({"content": None, "refusal": "I cannot"}).completions
    assert (read.text, read.finish_reason) == ("", "refusal")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (0, 0, 0)),
        ({}, (0, 0, 0)),
        ({"prompt_tokens": 7}, (7, 0, 0)),
        ({"completion_tokens": 3}, (0, 0, 3)),
        ({"prompt_tokens": 7, "total_tokens": 9}, (7, 0, 2)),
        ({"prompt_tokens": None, "completion_tokens": None}, (0, 0, 0)),
        ({"prompt_tokens": 7.0, "completion_tokens": 3}, (7, 0, 3)),
        ({"prompt_tokens": 7, "prompt_tokens_details": None}, (7, 0, 0)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": None}}, (7, 0, 0)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}, (7, 5, 0)),
    ],
)
def test_partial_usage_is_read(usage: Any, expected: tuple[int, int, int]) -> None:
    read = read_usage({"usage": usage})
    assert (read.prompt_tokens, read.cached_tokens, read.generated_tokens) == expected


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_impossible_counts_are_errors(name: str, number: Any) -> None:
    with pytest.raises(UnreadableReply, match=name) as error:
        read_chat({"content": "x"}, usage={**USAGE, name: number})
    assert error.value.kind.action is Action.CONFIRM


async def test_missing_usage_is_warned_about() -> None:
    async with FakeServer.answering(completion("x", usage=None)) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), api="completions")
        with pytest.warns(EngineWarning, match="the server counts no tokens"):
            (read,) = await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()
    assert (read.text, read.generated_tokens) == ("x", 0)


def test_choices_are_ordered_by_index() -> None:
    body = completion("a", "b", "c").body
    body["choices"].reverse()
    read = read_reply(body, n=3, is_chat=False)
    assert column(read.completions, "text") == ["a", "b", "c"]
    for choice in body["choices"]:
        del choice["index"]
    read = read_reply(body, n=3, is_chat=False)
    assert column(read.completions, "text") == ["c", "b", "a"]


ERRORS: list[tuple[Any, bool]] = [
    (b"<html>busy</html>", True),
    (b"", True),
    (b'{"choices": [', True),
    (b"[]", True),
    (b"[" * 100_000, True),
    ({"error": {"message": "overloaded", "code": 502}}, True),
    ({"error": {"message": "slow down", "code": 429}}, True),
    ({"error": "the engine restarts"}, True),
    ({"error": {"message": "prompt too long", "code": 400}}, False),
    ({"error": {"message": "prompt too long", "code": "400"}}, False),
    ({"error": {"message": "prompt too long", "type": "invalid_request_error"}}, False),
    ({"error": {"message": "too long", "code": "context_length_exceeded"}}, False),
    ({"error": {"message": "slow down", "code": "429", "type": "rate_limit_exceeded"}}, True),
    ({"object": "error", "message": "prompt too long", "code": 400}, False),
    ({"detail": "busy"}, True),
    (b'data: {"choices": []}\n\ndata: [DONE]\n', True),
    ({"choices": None, "usage": USAGE}, True),
    ({"choices": [None], "usage": USAGE}, True),
    ({"choices": [{"index": 0, "finish_reason": "stop"}]}, True),
    ({"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}, True),
    ({"choices": [{"message": {"content": [7]}, "finish_reason": "stop"}]}, True),
    ({"choices": [{"message": {"content": "x"}, "finish_reason": 7}]}, True),
    ({"choices": [{"error": {"message": "died", "code": 502}, "message": {"content": "x"}}]}, True),
    ({**chat_reply({"content": "x"}), "usage": "none"}, True),
    ({**chat_reply({"content": "x"}), "usage": {"prompt_tokens": float("nan")}}, False),
]


@pytest.mark.parametrize(("body", "retryable"), ERRORS, ids=lambda value: repr(value)[:60])
async def test_error_with_status_200(body: Any, retryable: bool) -> None:
    """The request is repeated; after that it fails, and not the run if it would fail again."""
    async with FakeServer.answering(Answer(body=body)) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), retries=1)
        with pytest.raises(EngineError, match="not understood") as error:
            await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()
    assert error.value.retryable is retryable
    assert "\n" not in str(error.value)
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [401, "402", 404])
async def test_user_error_with_status_200(code: Any) -> None:
    body = {"error": {"message": "no\nkey", "code": code}}
    async with FakeServer.answering(Answer(body=body)) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), retries=1)
        with pytest.raises(ConfigError, match="reports an error: no key; check base_urls"):
            await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()
    assert len(server.requests) == 2


async def test_unreadable_reply_is_quoted() -> None:
    async with FakeServer.answering(Answer(body=b"<html>\nsign in</html>")) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), retries=0)
        with pytest.raises(EngineError, match=r"characters is not JSON: '<html>\\nsign in</html>'"):
            await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()


async def test_unreadable_reply_is_retried() -> None:
    async with (
        FakeServer.answering(Answer(body=b"<html>"), completion("x")) as single,
        FakeServer.answering(Answer(body=b"<html>")) as sick,
        FakeServer.answering(completion("y")) as healthy,
    ):
        engine = OpenAI(model="m", base_urls=(single.url,), api="completions", retries=1)
        assert (await engine.complete(Prompt(user="Q"), Sampling()))[0].text == "x"
        await engine.close()
        urls = (sick.url, healthy.url)
        engine = OpenAI(model="m", base_urls=urls, api="completions", retries=0)
        assert (await engine.complete(Prompt(user="Q"), Sampling()))[0].text == "y"
        await engine.close()


@pytest.mark.parametrize(
    "logprob", ["NaN", "Infinity", "-Infinity", "1e999", "0.5", "3", "9" * 400, f"-{'9' * 400}"]
)
@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_impossible_logprob_is_an_error(api: Any, logprob: str) -> None:
    if api == "chat":
        entries = f'[null, {{"7": {{"logprob": {logprob}, "decoded_token": " 42"}}}}]'
        body = f'{{"choices": [], "prompt_logprobs": {entries}}}'
    else:
        values = f'{{"tokens": ["Q", " 42"], "token_logprobs": [null, {logprob}]}}'
        body = f'{{"choices": [{{"text": "Q 42", "logprobs": {values}}}]}}'
    async with FakeServer.answering(Answer(body=body.encode())) as server:
        engine = OpenAI(model="m", base_urls=(server.url,), api=api, retries=0)
        with pytest.raises(EngineError, match="is not a log-probability") as error:
            await engine.score(Prompt(user="Q"), " 42")
        await engine.close()
    assert not error.value.retryable


@pytest.mark.parametrize("logprob", [float("nan"), float("inf"), -float("inf"), 0.01])
def test_no_engine_returns_impossible_logprobs(logprob: float) -> None:
    with pytest.raises(EngineError, match="not a log-probability"):
        Scored(logprobs=(-1.0, logprob), prompt_tokens=2, cached_tokens=0)
    # Rounding explains a value slightly above 0.
    Scored(logprobs=(0.0, 1e-6), prompt_tokens=2, cached_tokens=0)


def test_hostile_reply_is_read_in_time() -> None:
    parse_reply('{"choices": "' + "x" * 1_000_000 + '"}')
    read_chat({"content": "x" * 1_000_000}, "y" * 1_000_000)
