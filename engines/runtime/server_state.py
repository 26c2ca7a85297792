"""One model server as its client sees it: whether it answers, and how many requests it takes."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from engines.runtime.backoff import full_jitter

__all__ = ["Health", "Server"]

Client = TypeVar("Client")

# So many failures in a row, of any requests, are an outage: of requests that fail independently
# with a probability of 20 %, one in 15,000 series would look like one.
OUTAGE_FAILURES = 6
# A server with a model of 70B parameters starts in some minutes; it is used again soon after.
MAX_PROBE_WAIT_SECONDS = 30.0
# As in TCP, halved when the server has too many requests.
DECREASE = 0.5
# The parts of the full concurrency by which the limit grows while it is used once. 64 parts bring
# it back from a half in 32 rounds of requests; TCP's single step would take hours at 2,048.
INCREASE_PARTS = 64


class Health(Enum):
    """Whether a server answers."""

    UP = "up"
    DOWN = "down"
    PROBING = "probing"
    """A single request finds out whether the server answers again."""


@dataclass(eq=False, kw_only=True)
class Server(Generic[Client]):
    """A server, its health and its open requests. Times are those of the event loop."""

    url: str
    client: Client
    concurrency: int
    """The most requests that may ever be open at the same time."""
    health: Health = Health.UP
    outstanding: int = 0
    is_draining: bool = False
    """Whether it gets no further requests, because it was removed from the list."""
    probe_at: float = 0.0
    """When a server that is down may be probed."""
    failed_probes: int = 0
    """Failures since the server was last up, the one that showed the outage included."""
    cause: str = ""
    """The last failure."""
    was_reported: bool = False
    """Whether its outage was reported to the user."""
    limit: float = field(init=False)
    """How many requests may be open at the same time."""
    overlaps: int = 0
    """How often a request was sent while a request of another group was open."""
    _open_groups: Counter[bytes] = field(default_factory=Counter)
    _failures: int = 0
    _lowered_at: float = 0.0

    def __post_init__(self) -> None:
        self.limit = self.concurrency

    def can_start(self, now: float) -> bool:
        """Return whether a request may be sent, which is a probe if the server is down."""
        if self.is_draining or self.health is Health.PROBING:
            return False
        if self.health is Health.DOWN:
            return now >= self.probe_at
        return self.outstanding < max(1.0, self.limit)

    def start(self, group: bytes = b"") -> bool:
        """Count a request of a group that is sent now, and return whether it is a probe."""
        self.outstanding += 1
        self._open_groups[group] += 1
        if not self.has_one_group:
            self.overlaps += 1
        is_probe = self.health is Health.DOWN
        if is_probe:
            self.health = Health.PROBING
        return is_probe

    def answer(self) -> None:
        """Record a useful reply: the server is up, and may get a few more requests."""
        self.health = Health.UP
        self.failed_probes = 0
        self._failures = 0
        step = self.concurrency / INCREASE_PARTS / max(1.0, self.limit)
        # The limit is not known to be too low while it is not reached.
        if self.outstanding >= self.limit / 2:
            self.limit = min(self.concurrency, self.limit + step)

    def pass_probe(self) -> None:
        """Record the answer to a probe.

        Until the server answers a request, further outages make the waits before probes longer.
        """
        self.health = Health.UP
        self._failures = 0

    def lower_limit(self, now: float, started: float) -> None:
        """Allow half as many requests, but only once for requests that were open together."""
        if started >= self._lowered_at:
            self.limit = max(1.0, min(self.limit, self.outstanding) * DECREASE)
            self._lowered_at = now

    def fail(self, now: float, *, is_outage: bool, is_probe: bool, retry_after: float) -> None:
        """Record a failure that can be the server's fault.

        Args:
            now: The time.
            is_outage: Whether this failure alone shows that the server is down.
            is_probe: Whether the request was a probe.
            retry_after: The seconds for which the server asks; it is not probed before.
        """
        self._failures += 1
        if self.health is not Health.UP and not is_probe:
            # Sent before the outage was known: it shows nothing new.
            self.probe_at = max(self.probe_at, now + retry_after)
            return
        if is_outage or is_probe or self._failures >= OUTAGE_FAILURES:
            wait = full_jitter(self.failed_probes, MAX_PROBE_WAIT_SECONDS)
            self.health = Health.DOWN
            self.probe_at = now + max(wait, retry_after)
            self.failed_probes += 1

    @property
    def has_one_group(self) -> bool:
        """Whether all open requests are of one group."""
        return len(self._open_groups) == 1

    def finish(self, group: bytes = b"", *, is_probe: bool) -> None:
        """Count a request that has ended."""
        self.outstanding -= 1
        self._open_groups[group] -= 1
        if not self._open_groups[group]:
            del self._open_groups[group]
        if is_probe and self.health is Health.PROBING:
            # It was cancelled: the next request is the probe.
            self.health = Health.DOWN
