"""Requests to servers with faults: every answer is that of a server without faults."""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime import backoff, fleet
from engines.runtime.backoff import read_retry_after
from engines.runtime.faults import FAULT_KINDS, kind_of_status
from engines.runtime.openai_replies import UnreadableReply, parse_reply
from engines.runtime.server_list import read_urls
from stepmark.errors import ConfigError, EngineError, EngineWarning
from stepmark.records import Sampling
from tests.columns import column
from tests.engines.fake_server import FakeServer, completion
from tests.engines.faulty_server import FAULTS, FaultyModel, serving_faulty, texts_of

# As many requests as the torture tests of a run of 12 problems sent.
REQUESTS = 156
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fiftieth of the usual time before a request is repeated."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_SECONDS", 0.01)


def all_requests(count: int) -> list[tuple[Prompt, Sampling]]:
    made: list[tuple[Prompt, Sampling]] = []
    for index in range(count):
        prompt = Prompt(user=f"Q{index // 6}", prefix="\n" * (index % 6))
        made.append((prompt, Sampling(n=1 + index % 4, seed=1024 * index, max_tokens=64)))
    return made


def expected_texts(count: int) -> list[Sequence[str]]:
    texts: list[Sequence[str]] = []
    for prompt, sampling in all_requests(count):
        texts.append(texts_of({"prompt": prompt.text, "n": sampling.n, "seed": sampling.seed}))
    return texts


async def complete_all(
    servers: Sequence[FakeServer], count: int, **fields: Any
) -> list[Sequence[str]]:
    engine = OpenAI(
        model="m",
        base_urls=tuple(column(servers, "url")),
        api="completions",
        trust_continuation=True,
        timeout=1.0,
        **fields,
    )
    answers = await asyncio.gather(
        *(engine.complete(prompt, sampling) for prompt, sampling in all_requests(count))
    )
    await engine.close()
    return [column(answer, "text") for answer in answers]


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("kind", FAULTS)
async def test_each_fault_changes_no_answer(kind: str) -> None:
    model = FaultyModel(share=0.1, kinds=[kind])
    async with serving_faulty(model) as servers:
        assert await complete_all(servers, 40) == expected_texts(40)
    assert model.faults[kind] > 0
    assert max(model.answered.values()) == 1, "an answered request was sent again"


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("kind", FAULTS)
async def test_first_requests_fail(kind: str) -> None:
    """Nothing is known of the server yet, and the first requests are for 1 to 4 texts."""
    model = FaultyModel(first=4, kinds=[kind])
    async with serving_faulty(model) as servers:
        assert await complete_all(servers, 4) == expected_texts(4)
    assert model.faults[kind] == 4


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("kind", FAULTS)
async def test_sick_server_among_two(kind: str) -> None:
    sick = FaultyModel(share=1.0, kinds=[kind])
    async with serving_faulty(sick, FaultyModel()) as servers:
        assert await complete_all(servers, 12) == expected_texts(12)
    assert sick.faults[kind] > 0


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize("seed", range(3))
async def test_mixed_faults_change_no_answer(seed: int) -> None:
    model = FaultyModel(share=0.2, seed=seed)
    async with serving_faulty(model) as servers:
        assert await complete_all(servers, REQUESTS) == expected_texts(REQUESTS)
    assert len(model.faults) > 10
    assert max(model.answered.values()) == 1, "an answered request was sent again"


@pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")
@pytest.mark.parametrize(("kind", "share"), [("429", 0.6), ("500", 0.4), ("503", 0.4)])
async def test_frequent_refusals_change_no_answer(kind: str, share: float) -> None:
    model = FaultyModel(share=share, kinds=[kind])
    async with serving_faulty(model) as servers:
        assert await complete_all(servers, 80) == expected_texts(80)
    requested = [count for name, count in model.answered.items() if '"max_tokens": 64' in name]
    assert max(requested) == 1, "an answered request was sent again, and not as a probe"


async def test_endless_reply_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a blank again and again, as proxies do to keep a connection open."""
    monkeypatch.setattr("engines.openai.CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(fleet, "PROBE_SECONDS", 0.5)

    async def send_blanks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    async with await asyncio.start_server(send_blanks, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = OpenAI(
            model="m",
            base_urls=(f"http://127.0.0.1:{port}/v1",),
            api="completions",
            timeout=0.2,
            retries=0,
        )
        with pytest.raises(EngineError, match="did not complete an answer in time"):
            async with asyncio.timeout(10):
                await engine.complete(Prompt(user="a"), Sampling(max_tokens=8))
        await engine.close()


async def test_file_of_servers_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "REFRESH_SECONDS", 0.0)
    models = [FaultyModel(), FaultyModel()]
    path = tmp_path / "servers.txt"
    async with serving_faulty(*models) as servers:
        first, second = column(servers, "url")
        path.write_text(f"# the first machine\n{first}\n\n{first}  # again\n")
        engine = OpenAI(
            model="m", base_urls_file=str(path), api="completions", trust_continuation=True
        )

        async def complete(user: str) -> None:
            await engine.complete(Prompt(user=user), Sampling())

        def counts() -> list[int]:
            """Return how many requests each server has answered."""
            return [model.answered.total() for model in models]

        await complete("a")
        assert counts() == [1, 0]
        path.write_text(f"{second}\n")
        await complete("b")
        assert counts() == [1, 1]
        # A file that is being written is not a reason to lose the servers.
        path.write_text("http://[::1\n")
        with pytest.warns(EngineWarning, match="the list of servers is not read again"):
            await complete("c")
        path.unlink()
        with pytest.warns(EngineWarning, match="No such file"):
            await complete("d")
        assert counts() == [1, 3]
        await engine.close()


SECRET = "c4n4ry"


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        f"http://me:{SECRET}",
        f"http://me:{SECRET}#1@host/v1",
        f"http://me:{SECRET} @host/v1",
        f"http://host/v1 key={SECRET}",
        f"http://host:{SECRET}/v1",
        f"http://host/v1\tBearer {SECRET}",
    ],
)
def test_bad_line_is_not_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "servers.txt"
    path.write_text(f"http://host/v1  # the first\n{line}\n")
    with pytest.raises(ConfigError, match=r"line 2 of base_urls_file .* is no address") as caught:
        read_urls(path)
    assert SECRET not in str(caught.value)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "servers.txt"
    path.write_text("\ufeffhttp://host/v1  # the first\n")
    assert list(read_urls(path)) == ["http://host/v1"]


@pytest.mark.parametrize(
    "text", [f"{'x' * 190} {SECRET}-password", f"{'x' * 195}{SECRET}-password"]
)
def test_secret_is_not_cut(text: str) -> None:
    """A part of a secret is not recognized as one."""
    for body in (text, json.dumps({"error": {"message": text}})):
        with pytest.raises(UnreadableReply) as caught:
            parse_reply(body)
        assert SECRET not in str(caught.value)


async def test_secret_of_removed_server_is_redacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "REFRESH_SECONDS", 0.0)
    path = tmp_path / "servers.txt"
    async with FakeServer.answering(completion("a b")) as server:
        path.write_text(server.url.replace("http://", f"http://me:{SECRET}@"))
        engine = OpenAI(model="m", base_urls_file=str(path), api="completions")
        await engine.complete(Prompt(user="a"), Sampling())
        path.write_text(server.url)
        await engine.complete(Prompt(user="b"), Sampling())
        # A request to the removed server could end now.
        with pytest.warns(EngineWarning, match="no user with REDACTED"):
            engine._announce(f"no user with {SECRET}")
        await engine.close()


@pytest.mark.parametrize("content", ["nowhere\n", "http://h:99999/v1\n", None])
def test_bad_file_of_servers_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "servers.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="base_urls_file"):
        OpenAI(model="m", base_urls_file=str(path))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 01 Jan 2100 00:01:40 GMT"}, 100.0),
        # A date is by the clock of the server.
        (
            {
                "retry-after": "Thu, 01 Jan 1970 00:01:40 GMT",
                "date": "Thu, 01 Jan 1970 00:01:00 GMT",
            },
            40.0,
        ),
        ({"retry-after": "Fri, 01 Jan 2100 00:01:40 GMT", "date": "soon"}, 100.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 99 Jan 2100 00:00:00 GMT"}, None),
    ],
)
def test_retry_after_is_read(
    headers: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first second of 2100.
    monkeypatch.setattr(time, "time", lambda: 4102444800.0)
    assert read_retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "not so", "rejected"),
        (400, "the engine is restarting", "restarting"),
        (418, "a teapot", "rejected"),
        (425, "too early", "not now"),
        (429, "slow down", "busy"),
        (503, "Loading model", "restarting"),
        (503, "overloaded", "busy"),
        (529, "overloaded", "busy"),
        (500, "x", "server error"),
        (302, "moved", "server error"),
        (401, "no key", "no access"),
        (404, "no model", "no access"),
        # The words of a prompt that an error quotes.
        (400, "x" * 400 + "restart", "rejected"),
    ],
)
def test_statuses_have_kinds(status: int, text: str, kind: str) -> None:
    assert kind_of_status(status, text).name == kind


def test_page_has_the_table() -> None:
    """The table in the documentation is that of the code."""
    rows = []
    for kind in FAULT_KINDS.values():
        rows.append(f"| {kind.name} | {kind.meaning} | {kind.action.value} |")
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in page
