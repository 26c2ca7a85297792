"""Limits on the requests and tokens per minute, in virtual time and with a fake server."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from engines.base import Prompt
from engines.openai import OpenAI
from engines.runtime.rate_limit import RateLimit
from stepmark.records import Sampling
from tests.engines.fake_server import Answer, FakeServer, completion
from tests.engines.virtual_time import VirtualSelector, run_in_virtual_time


async def send_times(limit: RateLimit, requests: int, tokens: int, used: int) -> Sequence[float]:
    """Send requests at once, each of which is answered after 2 s, and return when each is sent."""
    times = [0.0] * requests

    async def request(index: int) -> None:
        await limit.reserve(tokens)
        times[index] = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        limit.correct(tokens, used)

    await asyncio.gather(*map(request, range(requests)))
    return times


def most_in_a_minute(times: Sequence[float]) -> int:
    return max(sum(start <= time < start + 60 for time in times) for start in times)


def test_requests_are_sent_evenly() -> None:
    async def times() -> Sequence[float]:
        return await send_times(RateLimit(30, 0), 100, 0, 0)

    sent = run_in_virtual_time(times())
    # In their order, one every two seconds.
    assert sent == pytest.approx([2 * index for index in range(100)])
    assert most_in_a_minute(sent) == 30


@pytest.mark.parametrize(("used", "interval"), [(500, 5.0), (0, 10.0)])
def test_reserved_tokens_are_corrected(used: int, interval: float) -> None:
    async def times() -> Sequence[float]:
        return await send_times(RateLimit(0, 6000), 20, 1000, used)

    sent = run_in_virtual_time(times())
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    # Without a count of the server the reservation is what was used.
    assert gaps == pytest.approx([interval] * 19)


def test_large_requests_are_sent() -> None:
    async def times() -> Sequence[float]:
        return await send_times(RateLimit(0, 100), 2, 1000, 1000)

    assert run_in_virtual_time(times()) == pytest.approx([0, 600])


def test_pauses_cause_no_burst() -> None:
    async def times() -> Sequence[float]:
        limit = RateLimit(60, 0)
        await asyncio.sleep(3600)
        return await send_times(limit, 60, 0, 0)

    sent = run_in_virtual_time(times())
    # Two at once: what one second allows, and one more.
    assert sent[0] == sent[1] == 3600
    assert sent[-1] == pytest.approx(3600 + 58)


def test_cancelled_requests_take_nothing() -> None:
    async def times() -> Sequence[float]:
        limit = RateLimit(6, 0)
        await limit.reserve(0)
        waiting = [asyncio.create_task(limit.reserve(0)) for _ in range(3)]
        await asyncio.sleep(1)
        for task in waiting:
            task.cancel()
        return await send_times(limit, 1, 0, 0)

    assert run_in_virtual_time(times()) == pytest.approx([10])


def test_waiting_uses_no_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = list[float | None]()
    select = VirtualSelector.select

    def counted(selector: VirtualSelector, timeout: float | None = None) -> Any:
        rounds.append(timeout)
        return select(selector, timeout)

    monkeypatch.setattr(VirtualSelector, "select", counted)

    async def times() -> Sequence[float]:
        return await send_times(RateLimit(1, 0), 50, 0, 0)

    run_in_virtual_time(times())
    # A few for each of the requests, none for the seconds in between.
    assert len(rounds) < 50 * 8


async def test_attempts_count_as_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[tuple[str, tuple[int, ...]]]()

    async def reserve(limit: RateLimit, tokens: int) -> None:
        calls.append(("reserve", (tokens,)))

    def correct(limit: RateLimit, *tokens: int) -> None:
        calls.append(("correct", tokens))

    monkeypatch.setattr(RateLimit, "reserve", reserve)
    monkeypatch.setattr(RateLimit, "correct", correct)
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    answers = (Answer(500, {}), completion("x", "y", usage=usage))
    async with FakeServer.answering(*answers) as server:
        engine = OpenAI(
            model="m", base_urls=(server.url,), api="completions", requests_per_minute=6000
        )
        await engine.complete(Prompt(user="12345678"), Sampling(n=2, max_tokens=9))
        await engine.close()
    # Two tokens of the prompt and nine of each answer; the server has counted other ones.
    assert calls == [("reserve", (20,)), ("reserve", (20,)), ("correct", (20, 7))]
