"""Scales: what is known of many traces is weighed at once, which takes little more of the processor than to weigh one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from annotators._first_error import Belief, Weights, weighed
from annotators._signs import Floats

__all__ = ["Scales"]

PATIENCE_SECONDS = 0.05
"""How long a trace waits for others: little beside a request."""
STEPS_AT_ONCE = 512
"""Of the traces in one turn of the event loop, roughly: thousands that are ready at once would hold it for long."""


class _Asked(NamedTuple):
    belief: Belief
    weights: Weights
    answer: "asyncio.Future[tuple[Floats, Floats]]"


class Scales:
    """Weighs what comes within `PATIENCE_SECONDS`, or sooner once every trace that is being searched has come."""

    def __init__(self) -> None:
        self._searches = 0
        self._asked = deque[_Asked]()
        self._due: asyncio.Handle | None = None

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
            self._due = loop.call_later(PATIENCE_SECONDS, self._weigh)
        asked = _Asked(belief, weights, loop.create_future())
        self._asked.append(asked)
        self._hurry()
        try:
            return await asked.answer
        except asyncio.CancelledError:
            self._asked = deque(other for other in self._asked if other is not asked)
            raise

    def _hurry(self) -> None:
        """Wait no longer where nobody else can come; but those that are about to begin, in this turn of the event loop, can."""
        if self._asked and len(self._asked) >= self._searches:
            asyncio.get_running_loop().call_soon(self._weigh_if_all_came)

    def _weigh_if_all_came(self) -> None:
        if len(self._asked) >= self._searches:
            self._weigh()

    def _weigh(self) -> None:
        """Some of those that wait, first come, first served, and the others in the next turn of the event loop."""
        if self._due:
            self._due.cancel()
        some, steps = list[_Asked](), 0
        while self._asked and steps < STEPS_AT_ONCE:
            some.append(self._asked.popleft())
            steps += some[-1].belief.steps
        if self._asked:
            self._due = asyncio.get_running_loop().call_soon(self._weigh)
        _answer(some)


def _answer(some: Sequence[_Asked]) -> None:
    """Tell everyone; where weighing fails, each by itself, since one trace's failure is that trace's alone."""
    try:
        found = weighed([asked.belief for asked in some], [asked.weights for asked in some])
    except Exception as error:  # noqa: BLE001  # whoever asked has to hear of it, or would wait for ever
        if len(some) > 1:
            for asked in some:
                _answer([asked])
        elif not some[0].answer.done():
            some[0].answer.set_exception(error)
    else:
        for asked, each in zip(some, found, strict=True):
            if not asked.answer.done():
                asked.answer.set_result(each)
