"""Replies that become large when they are decompressed are not read to the end."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime import bounded_body
from stepmark.errors import EngineError
from stepmark.records import Sampling
from tests.engines.fake_server import Answer, FakeServer, completion

LIMIT = 1 << 20
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
}


def engine_at(url: str) -> OpenAI:
    return OpenAI(model="m", base_urls=(url,), api="completions", retries=1)


def compressed(body: Any, encoding: str) -> Answer:
    content = COMPRESSIONS[encoding](json.dumps(body).encode())
    return Answer(body=content, headers={"content-encoding": encoding})


@pytest.mark.parametrize("encoding", COMPRESSIONS)
async def test_bomb_is_an_unreadable_reply(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_body, "MAX_REPLY_BYTES", LIMIT)
    bomb = compressed({**completion("x").body, "padding": "0" * (50 * LIMIT)}, encoding)
    assert len(bomb.body) < LIMIT // 10
    async with FakeServer.answering(bomb) as server:
        engine = engine_at(server.url)
        with pytest.raises(EngineError, match="the reply has more than 1 MiB") as error:
            await engine.complete(Prompt(user="Q"), Sampling())
        assert dict(engine.take_faults()) == {"unreadable reply": 2}
        await engine.close()
    assert error.value.retryable
    assert f"not understood by {server.url}: " in str(error.value)


async def test_long_plain_reply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_body, "MAX_REPLY_BYTES", LIMIT)
    answer = Answer(body={**completion("x").body, "padding": "0" * LIMIT})
    async with FakeServer.answering(answer, completion("y")) as server:
        engine = engine_at(server.url)
        # The repetition is answered.
        assert (await engine.complete(Prompt(user="Q"), Sampling()))[0].text == "y"
        await engine.close()


@pytest.mark.parametrize("encoding", COMPRESSIONS)
async def test_compressed_reply_is_read(encoding: str) -> None:
    async with FakeServer.answering(compressed(completion("ä").body, encoding)) as server:
        engine = engine_at(server.url)
        assert (await engine.complete(Prompt(user="Q"), Sampling()))[0].text == "ä"
        await engine.close()


async def test_bomb_of_error_is_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_body, "MAX_REPLY_BYTES", LIMIT)
    bomb = compressed({"error": {"message": "0" * (50 * LIMIT)}}, "gzip")
    answer = Answer(500, bomb.body, headers=bomb.headers)
    async with FakeServer.answering(answer, completion("y")) as server:
        engine = engine_at(server.url)
        assert (await engine.complete(Prompt(user="Q"), Sampling()))[0].text == "y"
        await engine.close()


async def test_compressed_error_is_quoted() -> None:
    body = {"error": {"message": "prompt too long"}}
    rejected = compressed(body, "gzip")
    answer = Answer(400, rejected.body, headers=rejected.headers)
    async with FakeServer.answering(answer) as server:
        engine = engine_at(server.url)
        with pytest.raises(EngineError, match="prompt too long"):
            await engine.complete(Prompt(user="Q"), Sampling())
        await engine.close()


async def test_files_may_be_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_body, "MAX_REPLY_BYTES", 1)
    response = httpx2.Response(
        200,
        stream=Stream([b"12", b"345"]),
        request=httpx2.Request("GET", "http://x/v1/files/f/content"),
    )
    await bounded_body.bound_body(response)
    assert await response.aread() == b"12345"


class Stream(httpx2.AsyncByteStream):
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    async def __aiter__(self) -> Any:
        for part in self.parts:
            yield part
