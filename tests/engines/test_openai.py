"""Test requests and replies of OpenAI-compatible servers with a fake server."""

import asyncio
import gc
import json
from dataclasses import replace

import httpx
import pytest

from engines.base import HasServers, Prompt, ServersHealth
from engines.openai import OpenAI
from engines.runtime.answered_samples import answered_samples
from stepmark import plugins
from stepmark.errors import ConfigError, EngineError, EngineWarning
from stepmark.records import Sampling
from tests.columns import column
from tests.engines import shipped
from tests.engines.fake_server import Answer, FakeServer, completion, refusing_url

PROMPT = Prompt(user="Q", prefix="A", system="S")
SAMPLING = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, seed=2048)
# The message has a line end, which messages for users must not contain.
ERROR_BODY = {"error": {"message": "not\nso", "type": "x", "code": None}}


def engine_at(*urls: str, **fields: object) -> OpenAI:
    # Without the requests of the proof of continuation.
    engine = OpenAI(
        model="m", base_urls=urls, api="completions", retries=0, trust_continuation=True
    )
    return replace(engine, **fields)  # type: ignore[arg-type]  # any field may be set


@pytest.mark.parametrize(
    ("status", "retryable"),
    # A rejected request fails again; timeouts, conflicts, rate limits and server errors may pass.
    [(400, False), (422, False), (408, True), (409, True), (429, True), (500, True), (503, True)],
)
async def test_status_determines_retryability(status: int, retryable: bool) -> None:
    async with FakeServer.answering(Answer(status, ERROR_BODY)) as server:
        engine = engine_at(server.url)
        with pytest.raises(EngineError) as error:
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert error.value.retryable is retryable
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
async def test_user_errors_become_config_errors(status: int) -> None:
    async with FakeServer.answering(Answer(status, ERROR_BODY)) as server:
        engine = engine_at(server.url)
        with pytest.raises(ConfigError, match="check base_urls, model and api_key_env"):
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-7", "unicode_escape", "hex"])
@pytest.mark.parametrize("status", [200, 500])
async def test_false_character_set_is_ignored(charset: str, status: int) -> None:
    falsely_named = replace(
        completion("é"),
        status=status,
        body=json.dumps(completion("é").body, ensure_ascii=False).encode(),
        headers={"content-type": f"application/json; charset={charset}"},
    )
    async with FakeServer.answering(falsely_named, completion("é")) as server:
        engine = engine_at(server.url, retries=1)
        (answer,) = await engine.complete(PROMPT, SAMPLING)
        faults = {} if status == 200 else {"server error": 1}
        assert (answer.text, engine.take_faults()) == ("é", faults)
        await engine.close()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
async def test_encodings_of_json_are_read(encoding: str) -> None:
    body = json.dumps(completion("é").body, ensure_ascii=False).encode(encoding)
    async with FakeServer.answering(replace(completion(), body=body)) as server:
        engine = engine_at(server.url)
        (answer,) = await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert answer.text == "é"


async def test_change_of_model_is_reported() -> None:
    answers: list[Answer] = []
    for name in ("small", "small", "large", "largest"):
        answers.append(replace(completion("x"), body={**completion("x").body, "model": name}))
    async with FakeServer.answering(*answers) as server:
        engine = engine_at(server.url)
        await engine.complete(PROMPT, SAMPLING)
        await engine.complete(PROMPT, SAMPLING)
        with pytest.warns(EngineWarning, match="of the model 'small' and others of 'large'"):
            await engine.complete(PROMPT, SAMPLING)
        # Once is enough.
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()


async def test_single_short_reply_is_forgotten() -> None:
    answers = [completion("x"), completion("y", "z"), completion("a", "b", "c")]
    async with FakeServer.answering(*answers) as server:
        engine = engine_at(server.url)
        for _ in range(2):
            await engine.complete(PROMPT, replace(SAMPLING, n=3))
        await engine.close()
    assert [body["n"] for body in server.requests] == [3, 2, 3]


async def test_unreachable_server_message_contains_url() -> None:
    url = await refusing_url()
    engine = engine_at(url)
    with pytest.raises(EngineError, match="Is the server running there") as error:
        await engine.complete(PROMPT, SAMPLING)
    await engine.close()
    assert error.value.retryable
    assert url in str(error.value)
    assert "\n" not in str(error.value)


async def test_timeout_is_retryable() -> None:
    # The delay is 50 times the timeout.
    async with FakeServer.answering(replace(completion("x"), delay=5.0)) as server:
        engine = engine_at(server.url, timeout=0.1)
        with pytest.raises(EngineError) as error:
            await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert error.value.retryable


async def test_busy_server_is_retried() -> None:
    async with FakeServer.answering(Answer(503, ERROR_BODY), completion("x")) as server:
        engine = engine_at(server.url, retries=1)
        assert column(await engine.complete(PROMPT, SAMPLING), "text") == ["x"]
        await engine.close()
    assert len(server.requests) == 2


async def test_dead_server_is_reported_once() -> None:
    async with (
        FakeServer.answering(completion("x")) as first,
        FakeServer.answering(completion("x")) as second,
    ):
        engine = engine_at(first.url, second.url, await refusing_url(), retries=1)

        async def complete_all() -> None:
            for number in range(20):
                prompt = Prompt(user=f"Q{number}")
                await asyncio.gather(*(engine.complete(prompt, SAMPLING) for _ in range(3)))

        with pytest.warns(EngineWarning, match="gets no requests until it answers") as warned:
            await complete_all()
        await engine.close()
    assert len(warned) == 1
    users = [{body["prompt"] for body in server.requests} for server in (first, second)]
    assert all(users)
    assert users[0].isdisjoint(users[1]), "requests with one beginning meet on one server"
    # Besides probes, which are requests for fewer tokens.
    sent = [body for body in first.requests + second.requests if body["max_tokens"] == 9]
    assert len(sent) == 60


async def test_plain_request_contains_all_parameters() -> None:
    async with FakeServer.answering(completion("x", "y")) as server:
        engine = engine_at(server.url, extra_body={"top_k": 5})
        await engine.complete(PROMPT, replace(SAMPLING, n=2, stop=("\n",)))
        await engine.close()
    assert server.requests == [
        {
            "model": "m",
            "prompt": "SQA",
            "n": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 2048,
            "max_tokens": 9,
            "stop": ["\n"],
            "top_k": 5,
        }
    ]


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_schema_is_sent_unless_omitted(api: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    prompt = Prompt(user="Q", schema=json.dumps(schema))
    async with FakeServer.answering(completion("x", chat=api == "chat")) as server:
        for omit in ((), ("response_format",)):
            engine = engine_at(server.url, api=api, omit=omit)
            await engine.complete(prompt, SAMPLING)
            await engine.close()
    formed, free = server.requests
    assert formed.pop("response_format") == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": schema},
    }
    assert formed == free


@pytest.mark.parametrize(
    ("continuation", "opening", "extra"),
    [
        (
            "vllm",
            {"role": "assistant", "content": "A"},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
        ("prefix", {"role": "assistant", "content": "A", "prefix": True}, {}),
    ],
)
async def test_chat_request_continues_the_prefix(
    continuation: str, opening: object, extra: dict[str, object]
) -> None:
    async with FakeServer.answering(completion("x", chat=True)) as server:
        engine = engine_at(
            server.url,
            api="chat",
            continuation=continuation,
            length_parameter="max_completion_tokens",
            omit=("seed", "top_p"),
        )
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, opening]
    assert server.requests == [
        {
            "model": "m",
            "messages": turns,
            "n": 1,
            "temperature": 0.5,
            "max_completion_tokens": 9,
            **extra,
        }
    ]


async def test_prefix_needs_continuation_support() -> None:
    # The domain `.invalid` is reserved, so a request could not succeed.
    engine = engine_at("http://nowhere.invalid", api="chat", continuation="none")
    with pytest.raises(ConfigError, match="use api = 'completions'"):
        await engine.complete(PROMPT, SAMPLING)


async def test_chat_without_prefix_is_one_turn() -> None:
    async with FakeServer.answering(completion("x", chat=True)) as server:
        engine = engine_at(server.url, api="chat", continuation="none")
        await engine.complete(Prompt(user="Q"), SAMPLING)
        await engine.close()
    assert server.requests[0]["messages"] == [{"role": "user", "content": "Q"}]


async def test_tokens_are_counted_from_the_usage() -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 11,
        "total_tokens": 41,
        "prompt_tokens_details": {"cached_tokens": 16},
    }
    async with FakeServer.answering(completion("x", "y", usage=usage)) as server:
        engine = engine_at(server.url)
        first, second = await engine.complete(PROMPT, replace(SAMPLING, n=2))
        await engine.close()
    # The 11 generated tokens are divided; prompt tokens count once per request.
    assert (first.prompt_tokens, first.cached_tokens, first.generated_tokens) == (30, 16, 6)
    assert (second.prompt_tokens, second.cached_tokens, second.generated_tokens) == (0, 0, 5)


async def test_large_request_parts_have_consecutive_seeds() -> None:
    async with FakeServer.answering(completion("x")) as server:
        # One sample per request, so three requests.
        engine = engine_at(server.url, max_n=1)
        assert len(await engine.complete(PROMPT, replace(SAMPLING, n=3))) == 3
        await engine.close()
    assert sorted((body["n"], body["seed"]) for body in server.requests) == [
        (1, 2048),
        (1, 2049),
        (1, 2050),
    ]


async def test_missing_choices_are_requested_again() -> None:
    async with FakeServer.answering(completion("x"), completion("y"), completion("z")) as server:
        engine = engine_at(server.url)
        with pytest.warns(EngineWarning, match="returned 1 of 2 choices.* set max_n = 1"):
            completions = await engine.complete(PROMPT, replace(SAMPLING, n=3))
        # The second short reply shows that it is not a fault: each request is for a single choice.
        await engine.complete(PROMPT, replace(SAMPLING, n=2))
        await engine.close()
    assert sorted(choice.text for choice in completions) == ["x", "y", "z"]
    requests = [(body["n"], body["seed"] - SAMPLING.seed) for body in server.requests]
    assert requests == [(3, 0), (2, 1), (1, 2), (1, 0), (1, 1)]


async def test_answers_before_wrong_key_are_kept() -> None:
    """The key expires in the middle of a request that was split."""
    async with FakeServer.answering(completion("a"), Answer(401, ERROR_BODY)) as server:
        engine = engine_at(server.url, max_n=1, concurrency=1)
        with pytest.raises(ConfigError) as caught:
            await engine.complete(PROMPT, replace(SAMPLING, n=3))
        await engine.close()
    (answer,) = answered_samples(caught.value).values()
    assert answer.text == "a"


@pytest.mark.parametrize("count", [0, 3])
async def test_wrong_number_of_choices_is_retried(count: int) -> None:
    async with FakeServer.answering(completion(*"xyz"[:count]), completion("a", "b")) as server:
        engine = engine_at(server.url)
        with pytest.raises(EngineError, match=f"has {count} instead of 2 choices") as error:
            await engine.complete(PROMPT, replace(SAMPLING, n=2))
        assert error.value.retryable
        await engine.close()
        engine = engine_at(server.url, retries=1)
        assert len(await engine.complete(PROMPT, replace(SAMPLING, n=2))) == 2
        await engine.close()


async def test_key_is_read_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeServer.answering(completion("x")) as server:
        engine = engine_at(server.url, api_key_env="TEST_KEY")
        with pytest.raises(ConfigError, match="TEST_KEY"):
            await engine.complete(PROMPT, SAMPLING)
        # A key with a non-ASCII letter and a line end.
        monkeypatch.setenv("TEST_KEY", "sécret\n")
        with pytest.raises(ConfigError, match="TEST_KEY contains no key"):
            await engine.complete(PROMPT, SAMPLING)
        monkeypatch.setenv("TEST_KEY", "secret")
        await engine.complete(PROMPT, SAMPLING)
        await engine.close()
    assert "Bearer secret" in server.headers[0]


async def test_concurrency_is_limited() -> None:
    # The delay keeps concurrent requests open at the same time.
    async with FakeServer.answering(replace(completion("x"), delay=0.2)) as server:
        engine = engine_at(server.url, concurrency=3)
        await asyncio.gather(*(engine.complete(PROMPT, SAMPLING) for _ in range(6)))
        assert (len(server.requests), server.most_concurrent) == (6, 3)
        await engine.close()


def test_addresses_do_not_change_the_identity() -> None:
    # Addresses and concurrency change the speed, not the replies.
    assert engine_at("http://a").identity == engine_at("http://b", concurrency=1).identity
    assert engine_at("http://a").identity != engine_at("http://a", extra_body={"top_k": 5}).identity


def test_run_file_builds_the_engine() -> None:
    table = {
        "use": "openai",
        "model": "m",
        "base_urls": ["http://a/v1", "http://b/v1"],
        "extra_body": {"top_k": 5},
    }
    assert plugins.build("engines", table) == OpenAI(
        model="m", base_urls=("http://a/v1", "http://b/v1"), extra_body={"top_k": 5}
    )
    with pytest.raises(ConfigError, match="base_urls is empty"):
        plugins.build("engines", {**table, "base_urls": []})


ECHO = {
    "tokens": ["Q", " is", " 4", "2"],
    "token_logprobs": [None, -1.0, -2.0, 0],
    # Where the tokens begin in "Q is 42".
    "text_offset": [0, 1, 4, 6],
    "top_logprobs": None,
}
USAGE = {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
PROMPT_LOGPROBS = [
    None,
    {"7": {"logprob": -1.0, "rank": 3, "decoded_token": " is"}},
    {
        "8": {"logprob": -2.0, "rank": 1, "decoded_token": " 4"},
        # This token is likelier, but it is not in the prompt.
        "9": {"logprob": -0.5, "rank": 1, "decoded_token": " 5"},
    },
    {"3": {"logprob": -3.5, "rank": 9, "decoded_token": "2"}},
]


def echo(logprobs: object) -> Answer:
    answer = completion("Q is 42", usage=USAGE)
    answer.body["choices"][0]["logprobs"] = logprobs
    return answer


def chat_reply_with(prompt_logprobs: object) -> Answer:
    answer = completion("x", chat=True, usage=USAGE)
    return replace(answer, body={**answer.body, "prompt_logprobs": prompt_logprobs})


async def test_plain_text_is_scored_by_echo() -> None:
    async with FakeServer.answering(echo(ECHO)) as server:
        engine = engine_at(server.url, extra_body={"priority": 1})
        scored = await engine.score(Prompt(user="Q", prefix=" is "), "42")
        await engine.close()
    # The first token of "42" includes the space before it.
    assert (scored.logprobs, scored.prompt_tokens, scored.cached_tokens) == ((-2.0, 0.0), 4, 0)
    assert server.requests == [
        {
            "model": "m",
            "prompt": "Q is 42",
            "echo": True,
            "logprobs": 0,
            "max_tokens": 0,
            "priority": 1,
        },
    ]


async def test_turns_are_scored_by_prompt_logprobs() -> None:
    async with FakeServer.answering(chat_reply_with(PROMPT_LOGPROBS)) as server:
        engine = engine_at(server.url, api="chat")
        scored = await engine.score(Prompt(user="Q", prefix="is"), " 42")
        await engine.close()
    assert (scored.logprobs, scored.prompt_tokens) == ((-2.0, -3.5), 4)
    (request,) = server.requests
    assert request["messages"] == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "is 42"},
    ]
    assert (
        request["prompt_logprobs"],
        request["max_tokens"],
        request["continue_final_message"],
    ) == (
        0,
        1,
        True,
    )


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        ("completions", echo(None)),
        ("completions", echo({"tokens": []})),
        ("chat", chat_reply_with(None)),
    ],
)
async def test_missing_prompt_logprobs_is_config_error(api: str, answer: Answer) -> None:
    async with FakeServer.answering(answer) as server:
        engine = engine_at(server.url, api=api)
        with pytest.raises(
            ConfigError, match="the server does not return prompt log-probabilities; vLLM does"
        ):
            await engine.score(PROMPT, " 42")
        await engine.close()


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        # Fewer log-probabilities than tokens, then one that is not a number.
        ("completions", echo(ECHO | {"token_logprobs": [None, -1.0]})),
        ("completions", echo(ECHO | {"token_logprobs": [None, -1.0, "low", -2.0]})),
        # Not a list, a token without text, and a log-probability that is a list.
        ("chat", chat_reply_with("yes")),
        ("chat", chat_reply_with([None, {"7": {"logprob": -1.0}}])),
        ("chat", chat_reply_with([None, {"7": {"logprob": [], "decoded_token": "x"}}])),
    ],
)
async def test_malformed_scores_are_retryable_errors(api: str, answer: Answer) -> None:
    async with FakeServer.answering(answer) as server:
        engine = engine_at(server.url, api=api)
        with pytest.raises(EngineError, match="not understood") as error:
            await engine.score(PROMPT, " 42")
        await engine.close()
    assert error.value.retryable


async def test_scoring_turns_needs_continuation_support() -> None:
    engine = engine_at(await refusing_url(), api="chat", continuation="none")
    with pytest.raises(ConfigError, match="cannot continue an answer"):
        await engine.score(Prompt(user="Q"), "42")


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed:ResourceWarning",
)
@pytest.mark.vllm
@pytest.mark.asyncio(loop_scope="session")
async def test_server_aborts_cancelled_calls(vllm_server: str) -> None:
    """vLLM stops when the connection closes, so that most requested tokens are never generated."""
    # Minutes of work, because the metrics may be read late on a busy machine.
    calls = 100
    prompt = Prompt(user=shipped.PROBLEMS[0])
    sampling = Sampling(n=8, max_tokens=800)
    async with httpx.AsyncClient(base_url=vllm_server.removesuffix("/v1"), timeout=60) as client:

        async def metric(name: str) -> float:
            lines = (await client.get("/metrics")).text.splitlines()
            return sum(
                float(line.rpartition(" ")[2])
                for line in lines
                if line.startswith(f"vllm:{name}{{")
            )

        engine = OpenAI(
            model="pocket",
            base_urls=(vllm_server,),
            api="completions",
            extra_body={"ignore_eos": True},
        )
        before = await metric("generation_tokens_total")
        tasks = [
            asyncio.create_task(engine.complete(prompt, replace(sampling, seed=1024 * call)))
            for call in range(calls)
        ]
        while await metric("generation_tokens_total") == before:
            await asyncio.sleep(0.05)
        for call in tasks:
            call.cancel()
        await asyncio.wait(tasks)
        while await metric("num_requests_running") + await metric("num_requests_waiting"):
            await asyncio.sleep(0.05)
        written = await metric("generation_tokens_total") - before
        await engine.close()
    gc.collect()  # httpx drops connections that are cancelled while they close
    assert 0 < written < calls * sampling.n * sampling.max_tokens / 2


async def test_health_of_servers_is_known() -> None:
    async with FakeServer.answering(completion("x")) as server:
        engine = engine_at(server.url)
        assert isinstance(engine, HasServers)
        # Asking does not open connections.
        assert engine.servers_health() is None
        await engine.complete(PROMPT, SAMPLING)
        health = ServersHealth(up=1, down=0, is_paused=False, in_flight=0)
        assert engine.servers_health() == health
        await engine.close()
