"""Requests in batches: each is answered once, also after faults, kills and odd result files."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime import backoff
from stepmark.errors import (
    ConfigError,
    ContinuationError,
    EngineError,
    EngineUnavailableError,
    EngineWarning,
)
from stepmark.records import Sampling
from storage.dataset.batch_files import BatchFiles
from storage.dataset.folder import Folder
from tests.columns import column
from tests.engines.batch_server import BatchServer, Line, answer_line, error_line, texts_reply
from tests.engines.fake_server import Answer

pytestmark = pytest.mark.filterwarnings("ignore::stepmark.errors.EngineWarning")

PROMPTS = [Prompt(user=f"Q{number}") for number in range(6)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fiftieth of the usual time before a request is repeated."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def records(tmp_path: Path) -> BatchFiles:
    return BatchFiles(Folder(str(tmp_path)))


def engine_at(server: BatchServer, records: BatchFiles | None, **fields: Any) -> OpenAI:
    settings = {"batch_gather_seconds": 0.05, "batch_poll_seconds": 0.01, "retries": 2, **fields}
    engine = OpenAI(model="m", base_urls=(server.url,), batch=True, **settings)
    if records is not None:
        engine.record_batches(records)
    return engine


async def ask(engine: OpenAI, prompts: Sequence[Prompt] = PROMPTS, n: int = 2) -> list[Any]:
    """Return the texts of each request, or its error."""
    sampling = Sampling(n=n, max_tokens=9, seed=7)
    replies = await asyncio.gather(
        *(engine.complete(prompt, sampling) for prompt in prompts), return_exceptions=True
    )
    texts: list[Any] = []
    for reply in replies:
        if isinstance(reply, BaseException):
            texts.append(reply)
        else:
            texts.append(column(reply, "text"))
    return texts


async def ask_once(server: BatchServer, records: BatchFiles, **fields: Any) -> list[Any]:
    """Return the texts of a new engine, which ends as a finished run does."""
    engine = engine_at(server, records, **fields)
    texts = await ask(engine)
    await engine.forget_batches()
    await engine.close()
    return texts


def assert_all_are(kind: type[Exception], errors: Sequence[object]) -> None:
    """Assert that every result is an error of a kind."""
    for error in errors:
        assert isinstance(error, kind)


def sizes(server: BatchServer) -> list[int]:
    return [batch["request_counts"]["total"] for batch in server.batches.values()]


EXPECTED = [[f"Q{number} 7", f"Q{number} 8"] for number in range(6)]


async def test_requests_share_one_batch(records: BatchFiles) -> None:
    async with BatchServer.running(polls=3) as server:
        engine = engine_at(server, records)
        texts = await ask(engine)
        faults = engine.take_faults()
        (record,) = records.names()
        content = json.loads(records.read(record) or b"")
        await engine.forget_batches()
        await engine.close()
    assert texts == EXPECTED
    assert faults == {}
    assert len(server.batches) == 1
    assert len(server.processed) == len(PROMPTS)
    assert server.processed[0]["body"]["max_tokens"] == 9
    assert content["batch_id"] == "batch_0"
    assert content["status"] == "completed"
    assert "Q0" not in json.dumps(content), "a record has no text"
    assert records.names() == [], "all answers were returned"


async def test_batches_have_a_limit(records: BatchFiles) -> None:
    async with BatchServer.running() as server:
        assert await ask_once(server, records, batch_requests=4) == EXPECTED
    assert sizes(server) == [4, 2]


async def test_single_requests_without_records() -> None:
    """A check of a run file does not wait for a batch."""
    async with BatchServer.running() as server:
        engine = engine_at(server, None)
        assert await ask(engine) == EXPECTED
        await engine.close()
    assert server.batches == {}


def shuffled(number: int, lines: list[Line]) -> list[Line]:
    """Return the lines in reverse, with a duplicate, an error before an answer, and strangers."""
    del number
    first = lines[0]["custom_id"]
    other = answer_line(first, texts_reply({"model": "m"}, "no", "no"))
    stranger = answer_line("stranger", texts_reply({"model": "m"}, "no"))
    return [error_line(lines[1]["custom_id"], "server_error"), *reversed(lines), other, stranger]


async def test_lines_come_in_any_order(records: BatchFiles) -> None:
    async with BatchServer.running(edit=shuffled) as server:
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_missing_lines_are_requested_again(records: BatchFiles) -> None:
    def drop(number: int, lines: list[Line]) -> list[Line]:
        return lines[:-2] if number == 0 else lines

    async with BatchServer.running(edit=drop) as server:
        engine = engine_at(server, records)
        assert await ask(engine) == EXPECTED
        assert engine.take_faults() == {"no result": 2}
        await engine.close()
    assert sizes(server) == [6, 2]


async def test_faults_follow_the_table(records: BatchFiles) -> None:
    """A retryable error joins the next batch; a rejection fails the request alone."""
    answered: list[str] = []

    def reply(body: Mapping[str, Any]) -> Any:
        user = body["messages"][-1]["content"]
        answered.append(user)
        tries = answered.count(user)
        error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
        if user == "Q1" and tries < 3:
            return answer_line("x", {"error": {"message": "slow down"}}, status=429)
        if user == "Q2":
            return answer_line("x", error, status=400)
        if user == "Q3" and tries == 1:
            return {"choices": "none"}
        if user == "Q4":
            return answer_line("x", {"error": {"message": "broken"}}, status=500)
        if user == "Q5":
            return texts_reply(body, " ", "\n")
        return texts_reply(body, "a", "b")

    async with BatchServer.running(reply=reply) as server:
        engine = engine_at(server, records)
        texts = await ask(engine)
        faults = engine.take_faults()
        await engine.close()
    assert texts[0] == texts[1] == texts[3] == ["a", "b"]
    for error in (texts[2], texts[4]):
        assert isinstance(error, EngineError)
        assert not error.retryable, "it is recorded"
    assert "too long" in str(texts[2])
    assert texts[5] == [" ", "\n"], "a doubtful text is stored if it comes again"
    assert {user: answered.count(user) for user in set(answered)} == {
        "Q0": 1,
        "Q1": 3,
        "Q2": 1,
        "Q3": 2,
        "Q4": 3,
        "Q5": 2,
    }
    assert faults == {
        "busy": 2,
        "rejected": 1,
        "unreadable reply": 1,
        "server error": 3,
        "empty text": 2,
    }


async def test_expired_batch_keeps_its_answers(records: BatchFiles) -> None:
    def expire(number: int, lines: list[Line]) -> list[Line]:
        if number:
            return lines
        return lines[:4] + [error_line(line["custom_id"], "batch_expired") for line in lines[4:]]

    def end(number: int) -> str:
        return "completed" if number else "expired"

    async with BatchServer.running(edit=expire, end=end) as server:
        assert await ask_once(server, records) == EXPECTED
    assert sizes(server) == [6, 2]


async def test_repeated_request_is_collected_twice(records: BatchFiles) -> None:
    """After a kill, a request finds its fault in the first batch and its answer in the second."""

    def drop(number: int, lines: list[Line]) -> list[Line]:
        return lines[:-2] if number == 0 else lines

    async with BatchServer.running(edit=drop) as server:
        engine = engine_at(server, records)
        assert await ask(engine) == EXPECTED
        await engine.close()
        assert len(records.names()) == 2
        assert await ask_once(server, records) == EXPECTED
    assert sizes(server) == [6, 2]
    assert records.names() == []


@pytest.mark.parametrize("call", ["POST /files", "POST /batches", "GET /batches", "GET /files"])
@pytest.mark.parametrize("is_processed", [True, False])
async def test_killed_at_each_call(records: BatchFiles, call: str, is_processed: bool) -> None:
    """Each request is answered once, at whichever call the run is killed."""
    is_killed = asyncio.Event()

    def kill(method: str, path: str, number: int) -> Answer | None:
        del number
        if is_killed.is_set() or not f"{method} {path}".startswith(call):
            return None
        is_killed.set()
        return Answer(sent_bytes=-1) if is_processed else Answer(503, {})

    async with BatchServer.running(fault=kill, polls=0) as server:
        engine = engine_at(server, records, batch_requests=4)
        waiting = asyncio.create_task(ask(engine))
        await is_killed.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await engine.close()
        assert await ask_once(server, records) == EXPECTED
    assert len(server.processed) == len(PROMPTS)
    assert records.names() == []


async def test_cancelled_batch_stops_the_run(records: BatchFiles) -> None:
    """A user who cancels a batch does not want it again, before the command is repeated."""

    def cut(number: int, lines: list[Line]) -> list[Line]:
        return lines if number else lines[:4]

    async with BatchServer.running(edit=cut, end=lambda number: "cancelled") as server:
        engine = engine_at(server, records)
        texts = await ask(engine)
        await engine.close()
        assert texts[:4] == EXPECTED[:4]
        assert_all_are(EngineUnavailableError, texts[4:])
        assert "was cancelled" in str(texts[4])
        assert len(server.batches) == 1
        server.end = lambda number: "completed"
        assert await ask_once(server, records) == EXPECTED
    assert sizes(server) == [6, 2]


async def test_stopped_run_collects_its_batch(records: BatchFiles) -> None:
    async with BatchServer.running(polls=10**9) as server:
        engine = engine_at(server, records)
        waiting = asyncio.create_task(ask(engine))
        while not server.batches or server.batches["batch_0"]["polls"] < 2:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await engine.close()
        server.polls = 0
        with pytest.warns(EngineWarning, match="waiting for the batch batch_0 of 6 requests again"):
            assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1
    assert len(server.processed) == len(PROMPTS), "nothing is sent twice"
    assert records.names() == []


@pytest.mark.parametrize("is_made", [True, False])
async def test_killed_before_the_id_is_recorded(records: BatchFiles, is_made: bool) -> None:
    """The batch is found by its file; without a batch its requests join another one."""
    async with BatchServer.running(polls=10**9) as server:
        engine = engine_at(server, records)
        waiting = asyncio.create_task(ask(engine))
        while not server.batches or server.batches["batch_0"]["polls"] < 1:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await engine.close()
        (name,) = records.names()
        content = json.loads(records.read(name) or b"")
        records.write(name, json.dumps({**content, "batch_id": ""}).encode())
        if not is_made:
            server.batches.clear()
        # Batches of other programs, on further pages of the list.
        for number in range(1, 6):
            server.batches[f"other_{number}"] = {
                **server.batches.get("batch_0", {"input_file_id": "x"}),
                "id": f"other_{number}",
                "input_file_id": f"file-other-{number}",
            }
        server.polls = 0
        assert await ask_once(server, records) == EXPECTED
    assert len(server.processed) == len(PROMPTS)
    assert records.names() == []


async def test_lost_reply_makes_one_batch(records: BatchFiles) -> None:
    def lose(method: str, path: str, number: int) -> Answer | None:
        is_first_creation = (method, path, number) == ("POST", "/batches", 0)
        return Answer(sent_bytes=-1) if is_first_creation else None

    async with BatchServer.running(fault=lose) as server:
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_failed_creation_makes_one_batch(records: BatchFiles) -> None:
    """A batch whose creation seems to fail exists: a further attempt in the same run finds it."""

    def lose(method: str, path: str, number: int) -> Answer | None:
        if (method, path, number) == ("POST", "/batches", 0):
            return Answer(sent_bytes=-1)
        return Answer(404, {}) if (method, path) == ("GET", "/batches") else None

    async with BatchServer.running(fault=lose) as server:
        engine = engine_at(server, records)
        assert_all_are(ConfigError, await ask(engine))
        server.fault = lambda *call: None
        assert await ask(engine) == EXPECTED
        await engine.close()
    assert len(server.batches) == 1


async def test_calls_are_repeated_after_faults(records: BatchFiles) -> None:
    """Each call fails once with another fault; a file that breaks off is downloaded again."""

    def fail(method: str, path: str, number: int) -> Answer | None:
        if number:
            return None
        if path.endswith("/content"):
            return Answer(sent_bytes=40)
        if method == "GET":
            return Answer(body=b"<html>")
        return Answer(503, {"error": {"message": "overloaded"}})

    async with BatchServer.running(fault=fail) as server:
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_short_result_file_is_read_again(records: BatchFiles) -> None:
    """A file with fewer lines than the provider counts would let requests be sent twice."""

    def shorten(method: str, path: str, number: int) -> Answer | None:
        del method
        if path.endswith("/content") and number == 0:
            return Answer(body=server.files[path.split("/")[2]][:300])
        return None

    async with BatchServer.running() as server:
        server.fault = shorten
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_late_result_file_is_awaited(records: BatchFiles) -> None:
    """A completed batch can lack its file for a moment."""

    def hide(method: str, path: str, number: int) -> Answer | None:
        if (method, path, number) != ("GET", "/batches/batch_0", 0):
            return None
        batch = dict(server.batches["batch_0"], status="completed")
        return Answer(body={**batch, "request_counts": {"completed": 6, "failed": 0}})

    async with BatchServer.running(polls=0) as server:
        server.fault = hide
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_unknown_status_is_reported(records: BatchFiles) -> None:
    def pause(method: str, path: str, number: int) -> Answer | None:
        if (method, path) == ("GET", "/batches/batch_0") and number < 2:
            return Answer(body={**server.batches["batch_0"], "status": "queued"})
        return None

    async with BatchServer.running(polls=0) as server:
        server.fault = pause
        with pytest.warns(EngineWarning, match="the status 'queued', which is not one") as warned:
            assert await ask_once(server, records) == EXPECTED
    assert len([warning for warning in warned if "queued" in str(warning.message)]) == 1


async def test_late_result_file_without_counts(records: BatchFiles) -> None:
    """A completed batch has a result for each request, also if the provider counts none."""

    def hide(method: str, path: str, number: int) -> Answer | None:
        if (method, path, number) != ("GET", "/batches/batch_0", 0):
            return None
        return Answer(body={**server.batches["batch_0"], "status": "completed"})

    async with BatchServer.running(polls=0) as server:
        server.fault = hide
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_records_contain_no_secret(records: BatchFiles) -> None:
    """A password in the address is sent, and is not recorded."""
    async with BatchServer.running(polls=10**9) as server:
        server.url = server.url.replace("http://", "http://me:c4n4ry@")
        engine = engine_at(server, records)
        waiting = asyncio.create_task(ask(engine))
        while not server.batches or server.batches["batch_0"]["polls"] < 1:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await engine.close()
        (name,) = records.names()
        assert b"c4n4ry" not in (records.read(name) or b"")
        server.polls = 0
        assert await ask_once(server, records) == EXPECTED
    assert len(server.batches) == 1


async def test_invalid_request_fails_alone(records: BatchFiles) -> None:
    """A request that makes the provider refuse the batch is recorded, and the others go on."""

    def refuse(number: int, lines: Sequence[Line]) -> Sequence[Mapping[str, Any]]:
        del number
        for position, line in enumerate(lines, 1):
            if line["body"]["messages"][-1]["content"] == "Q2":
                return [{"code": "invalid", "message": "no such role", "line": position}]
        return []

    async with BatchServer.running(refuse=refuse) as server:
        texts = await ask_once(server, records)
    assert isinstance(texts[2], EngineError)
    assert "no such role" in str(texts[2])
    assert texts[:2] + texts[3:] == EXPECTED[:2] + EXPECTED[3:]
    assert records.names() == []


async def test_large_batches_are_divided(records: BatchFiles) -> None:
    def refuse(number: int, lines: Sequence[Line]) -> Sequence[Mapping[str, Any]]:
        del number
        error = {"code": "token_limit_exceeded", "message": "Limit: 90,000 enqueued tokens"}
        return [error] if len(lines) > 2 else []

    async with BatchServer.running(refuse=refuse) as server:
        with pytest.warns(EngineWarning, match="90,000 enqueued tokens"):
            assert await ask_once(server, records) == EXPECTED
    assert len(server.processed) == len(PROMPTS)


async def test_refused_batch_ends_the_run(records: BatchFiles) -> None:
    error = {"code": "model_not_found", "message": "the model m has no batches"}
    async with BatchServer.running(refuse=lambda number, lines: [error]) as server:
        texts = await ask_once(server, records)
    assert_all_are(ConfigError, texts)
    assert "the model m has no batches" in str(texts[0])
    assert records.names() == [], "it has cost nothing"


async def test_error_of_unknown_line_ends_run(records: BatchFiles) -> None:
    """A provider that blames a line that the file lacks would refuse each further batch."""
    error = {"code": "invalid", "message": "no newline at the end", "line": 7}
    async with BatchServer.running(refuse=lambda number, lines: [error]) as server:
        texts = await ask_once(server, records)
    assert "no newline at the end" in str(texts[0])
    assert len(server.batches) == 1


async def test_server_without_batches_ends_the_run(records: BatchFiles) -> None:
    async with BatchServer.running(fault=lambda *call: Answer(404, {})) as server:
        texts = await ask_once(server, records)
    assert_all_are(ConfigError, texts)


async def test_unknown_batch_names_its_record(records: BatchFiles) -> None:
    """With another key the batch is not found: its requests are not sent a second time."""
    async with BatchServer.running(polls=10**9) as server:
        engine = engine_at(server, records)
        waiting = asyncio.create_task(ask(engine))
        while not server.batches or server.batches["batch_0"]["polls"] < 1:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await engine.close()
        server.batches.clear()
        texts = await ask_once(server, records)
    (name,) = records.names()
    assert_all_are(ConfigError, texts)
    assert records.location(name) in str(texts[0])
    assert server.processed == []


async def test_damaged_record_is_named(records: BatchFiles) -> None:
    records.write("batch-x", b'{"identity": 3}')
    async with BatchServer.running() as server:
        texts = await ask_once(server, records)
    assert_all_are(ConfigError, texts)
    assert "batch-x.json is damaged" in str(texts[0])
    assert server.batches == {}


async def test_records_of_other_servers(records: BatchFiles) -> None:
    """A key is never sent to an address that only a record names."""
    async with BatchServer.running(polls=10**9) as other:
        engine = engine_at(other, records)
        waiting = asyncio.create_task(ask(engine))
        while not other.batches or other.batches["batch_0"]["polls"] < 1:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await engine.close()
        calls = len(other.calls)
        async with BatchServer.running() as server:
            with pytest.warns(EngineWarning, match="is not collected"):
                assert await ask_once(server, records) == EXPECTED
    assert len(other.calls) == calls
    assert len(records.names()) == 1


async def test_cancelled_request_leaves_its_answer(records: BatchFiles) -> None:
    """The answer to a request that nothing waits for any more is used by a later run."""
    async with BatchServer.running(polls=5) as server:
        engine = engine_at(server, records)
        first = asyncio.create_task(ask(engine, PROMPTS[:1]))
        others = asyncio.create_task(ask(engine, PROMPTS[1:]))
        while not server.batches:
            await asyncio.sleep(0.01)
        first.cancel()
        assert await others == EXPECTED[1:]
        await engine.forget_batches()
        await engine.close()
        assert len(records.names()) == 1
        engine = engine_at(server, records)
        assert await ask(engine, PROMPTS[:1]) == EXPECTED[:1]
        await engine.close()
    assert len(server.processed) == len(PROMPTS)


async def test_prefix_is_refused(records: BatchFiles) -> None:
    async with BatchServer.running() as server:
        engine = engine_at(server, records)
        prompt = Prompt(user="Q", prefix="A")
        for request in (
            engine.complete(prompt, Sampling(max_tokens=9)),
            engine.check_continuation(prompt),
            engine.score(Prompt(user="Q"), "A"),
        ):
            with pytest.raises(ContinuationError, match="batch = true"):
                await request
        await engine.close()
    assert server.calls == []


def test_one_address_is_needed() -> None:
    with pytest.raises(ConfigError, match="single address"):
        OpenAI(model="m", base_urls=("http://a/v1", "http://b/v1"), batch=True)


def test_identity_ignores_batches() -> None:
    """A run can go on with single requests, and uses the stored completions."""
    assert OpenAI(model="m", batch=True, batch_price=0.4).identity == OpenAI(model="m").identity
