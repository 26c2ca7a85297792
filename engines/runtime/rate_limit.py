"""A limit on the requests and tokens that an engine sends per minute.

Each limit is a bucket that fills evenly. A request is sent as soon as no bucket has a debt, and
takes its part out, which can leave a debt. A request with more tokens than a minute allows is
therefore sent, too, and the next one waits for longer. Hosted providers count the tokens that a
request may generate when it arrives, and the real ones when it is answered; so does this limit. The
library `aiolimiter` cannot return a part of what was taken.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from engines.base import Prompt
from stepmark.records import Sampling

__all__ = ["SHARED_FIELDS", "RateLimit", "reserved_tokens"]

SHARED_FIELDS = ("requests_per_minute", "tokens_per_minute")
"""The fields of an engine with a limit; several workers divide the values among them."""
SECONDS_PER_MINUTE = 60.0
# A pause of the run saves no more than this, so that the requests after it are no burst. Providers
# also count the requests of a second.
BURST_SECONDS = 1.0
# A rough estimate: a server reports the tokens of a prompt only in its answer.
CHARACTERS_PER_TOKEN = 4


def reserved_tokens(prompt: Prompt, sampling: Sampling) -> int:
    """Return the tokens that a request has at most, with an estimate for its prompt."""
    return len(prompt.text) // CHARACTERS_PER_TOKEN + sampling.n * sampling.max_tokens


@dataclass(kw_only=True)
class _Bucket:
    """What may be sent now; negative for a debt."""

    per_minute: float
    now: float
    level: float = 0.0

    def fill(self, now: float) -> None:
        """Add what the time since the last call allows."""
        rate = self.per_minute / SECONDS_PER_MINUTE
        self.level = min(rate * BURST_SECONDS, self.level + rate * (now - self.now))
        self.now = now

    @property
    def wait(self) -> float:
        """The seconds until the bucket has no debt."""
        return max(0.0, -self.level * SECONDS_PER_MINUTE / self.per_minute)


class RateLimit:
    """The limits of one engine, for one event loop; all of its requests share them.

    Args:
        requests_per_minute: The most requests per minute; 0 for no limit.
        tokens_per_minute: The most tokens per minute, of prompts and answers; 0 for no limit.
    """

    def __init__(self, requests_per_minute: float, tokens_per_minute: float) -> None:
        now = asyncio.get_running_loop().time()
        self._requests: _Bucket | None = None
        self._tokens: _Bucket | None = None
        if requests_per_minute:
            self._requests = _Bucket(per_minute=requests_per_minute, now=now)
        if tokens_per_minute:
            self._tokens = _Bucket(per_minute=tokens_per_minute, now=now)
        # The first request waits for the buckets, and the others for the lock, in their order.
        self._turn = asyncio.Lock()
        self._returned = asyncio.Event()

    async def reserve(self, tokens: int) -> None:
        """Wait until a request may be sent, and take it and its tokens out of the buckets."""
        if self._requests is None and self._tokens is None:
            return
        async with self._turn:
            while (wait := self._wait()) > 0:
                self._returned.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._returned.wait()
            self.take(tokens)

    def take(self, tokens: int) -> None:
        """Count a request that is sent without a wait."""
        if self._requests is not None:
            self._requests.level -= 1
        if self._tokens is not None:
            self._tokens.level -= tokens

    def correct(self, reserved: int, used: int) -> None:
        """Replace the tokens that were reserved for a request by those that it has used.

        A server that counts no tokens reports none: the reservation then stays.
        """
        if self._tokens is not None and used:
            self._tokens.level += reserved - used
            self._returned.set()

    def _wait(self) -> float:
        """Return the seconds until neither bucket has a debt."""
        now = asyncio.get_running_loop().time()
        wait = 0.0
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.fill(now)
                wait = max(wait, bucket.wait)
        return wait
