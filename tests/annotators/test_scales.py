"""Traces are weighed together, nobody waits in vain, and an error is one trace's."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from annotators import _scales
from annotators._first_error import RIGHT, Belief, Observation, Weights, default, weighed
from annotators._scales import Scales
from annotators._signs import Floats, signs_of

IMPATIENT_SECONDS = 5.0


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were weighed, each time; and nobody waits for as long as a test takes."""
    found = list[int]()

    def counted(beliefs: Sequence[Belief], weights: Sequence[Weights]) -> Sequence[tuple[Floats, Floats]]:
        found.append(len(beliefs))
        return weighed(beliefs, weights)

    monkeypatch.setattr(_scales, "weighed", counted)
    monkeypatch.setattr(_scales, "PATIENCE_SECONDS", 2 * IMPATIENT_SECONDS)
    return found


def belief(seen: int = 0) -> Belief:
    made = Belief(signs_of(4, []), right=False, verbatim=0.5)
    for _ in range(seen):
        made.see(Observation(2, 2, RIGHT))
    return made


async def searched(scales: Scales, known: Belief, decisions: int = 1) -> Floats:
    async with scales.searching():
        for _ in range(decisions):
            await asyncio.sleep(0)
            chance, _ = await scales.weigh(known, default())
            known.see(Observation(2, 2, RIGHT))
    return chance


async def test_all_that_are_searched_are_weighed_at_once_and_get_their_own(sizes: list[int]) -> None:
    scales, began = Scales(), time.perf_counter()
    found = await asyncio.gather(*(searched(scales, belief(count)) for count in range(10)))
    assert time.perf_counter() - began < IMPATIENT_SECONDS
    assert sizes == [10]
    for count, chance in enumerate(found):
        ((alone, _),) = weighed([belief(count)], [default()])
        assert chance == pytest.approx(alone)


async def test_who_is_alone_and_who_is_left_does_not_wait(sizes: list[int]) -> None:
    scales, began = Scales(), time.perf_counter()
    await searched(scales, belief(), decisions=3)
    await asyncio.gather(searched(scales, belief()), searched(scales, belief(), decisions=4))
    assert time.perf_counter() - began < IMPATIENT_SECONDS
    assert sizes == [1, 1, 1, 2, 1, 1, 1]


async def test_nobody_waits_longer_than_it_takes_patience_for_one_who_is_busy(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scales, "PATIENCE_SECONDS", 0.01)
    scales = Scales()
    async with scales.searching():  # and asks nothing
        await asyncio.gather(*(searched(scales, belief()) for _ in range(3)))
    assert sizes == [3]


async def test_many_are_weighed_in_several_turns_of_the_event_loop(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scales, "STEPS_AT_ONCE", 4 * len(belief().rows))
    scales, seen_between = Scales(), list[list[int]]()

    async def look() -> None:
        while sum(sizes) < 10:
            seen_between.append(list(sizes))
            await asyncio.sleep(0)

    await asyncio.gather(look(), *(searched(scales, belief()) for _ in range(10)))
    assert sizes == [4, 4, 2]
    assert [4] in seen_between
    assert [4, 4] in seen_between


async def test_who_gives_up_keeps_nobody_waiting(sizes: list[int]) -> None:
    scales, began = Scales(), time.perf_counter()
    async with scales.searching():  # keeps the first one waiting
        given_up = asyncio.create_task(searched(scales, belief()))
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
    await searched(scales, belief())
    assert time.perf_counter() - began < IMPATIENT_SECONDS
    assert sizes == [1]


async def test_an_error_is_the_traces_own(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = belief()

    def strict(beliefs: Sequence[Belief], weights: Sequence[Weights]) -> Sequence[tuple[Floats, Floats]]:
        if broken in beliefs:
            raise ZeroDivisionError
        return weighed(beliefs, weights)

    monkeypatch.setattr(_scales, "weighed", strict)
    scales = Scales()
    found = await asyncio.gather(*(searched(scales, one) for one in (belief(), broken, belief())), return_exceptions=True)
    assert [type(each) for each in found] == [np.ndarray, ZeroDivisionError, np.ndarray]


def test_one_event_loop_after_another(sizes: list[int]) -> None:
    scales, began = Scales(), time.perf_counter()

    async def busy() -> None:
        async with scales.searching():
            await asyncio.sleep(IMPATIENT_SECONDS)

    async def cut_short() -> None:
        tasks = [asyncio.create_task(busy()), asyncio.create_task(searched(scales, belief()))]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)

    for _ in range(2):
        asyncio.run(cut_short())
    asyncio.run(searched(scales, belief()))
    assert time.perf_counter() - began < IMPATIENT_SECONDS
    assert sizes[-1] == 1
