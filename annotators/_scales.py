"""Scales: what is known of many traces is weighed at once, which takes little more of the processor than to weigh one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from annotators._first_error import Belief, Weights, weighed
from annotators._signs import Floats

__all__ = ["Scales"]

PATIENCE_SECONDS = 0.1
"""How long a trace waits for others: a request takes a second and more where there are many, and nobody waits where there are none."""
AT_ONCE = 64
"""In one turn of the event loop: thousands of traces that are ready at once would hold it for long."""


class _Asked(NamedTuple):
    belief: Belief
    weights: Weights
    answer: "asyncio.Future[tuple[Floats, Floats]]"


class Scales:
    """Weighs what comes within `PATIENCE_SECONDS`, or sooner once every trace that is being searched has come."""

    def __init__(self) -> None:
        self._searches = 0
        self._asked = list[_Asked]()

    @asynccontextmanager
    async def searching(self) -> AsyncIterator[None]:
        """While a trace is being searched, others wait for it."""
        self._searches += 1
        try:
            yield
        finally:
            self._searches -= 1
            self._hurry()

    async def weigh(self, belief: Belief, weights: Weights) -> tuple[Floats, Floats]:
        """The posterior of one trace, and what a completion from each of its prefixes is expected to tell (see `weighed`)."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_later(PATIENCE_SECONDS, self._weigh)
        asked = _Asked(belief, weights, loop.create_future())
        self._asked.append(asked)
        self._hurry()
        try:
            return await asked.answer
        finally:
            self._asked = [other for other in self._asked if other is not asked]

    def _hurry(self) -> None:
        """Wait no longer where nobody else can come; but those that are about to begin, in this turn of the event loop, can."""
        if self._asked and len(self._asked) >= self._searches:
            asyncio.get_running_loop().call_soon(self._weigh_if_all_came)

    def _weigh_if_all_came(self) -> None:
        if len(self._asked) >= self._searches:
            self._weigh()

    def _weigh(self) -> None:
        some, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._weigh)
        try:
            for asked, found in zip(some, weighed([one.belief for one in some], [one.weights for one in some]), strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(found)
        except Exception as error:  # noqa: BLE001  # whoever asked has to hear of it, or would wait for ever
            for asked in some:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
