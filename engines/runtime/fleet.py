"""Requests to several equal servers: a request is sent until one of the servers answers it.

A request goes to the server with the fewest open requests. Requests with the same `affinity` go to
the same server, which has their prefix in its cache, unless it is much busier than the others.
After a fault a request goes to another server at once, and to the same one after a wait (see
`faults`).

A server that fails several times in a row is down: it gets only probes, one at a time. A probe
repeats a request that was answered before, for a few tokens. It shows whether the server fails or
the last request was the cause, and it costs little if the server hangs. While all servers are down,
all requests wait (a circuit breaker), but no longer than `patience`. A request is given up if a
server has died twice while it had no other prompt: it would end every further run as well.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from engines.base import ServersHealth
from engines.runtime.backoff import full_jitter
from engines.runtime.faults import CONFIRMATIONS, MAX_WAITS, Action, Fault, kind_named
from engines.runtime.server_state import Health, Server
from stepmark.errors import EngineError, EngineUnavailableError

__all__ = ["Fleet", "Probe"]

Client = TypeVar("Client")
Reply = TypeVar("Reply")

Probe = Callable[[Client], Awaitable[object]]
"""Sends a request for a few tokens that a server of the fleet has answered before."""

MAX_WAIT_SECONDS = 8.0
# A server that runs answers a few tokens within seconds, if it is not overloaded.
PROBE_SECONDS = 30.0
# If no server has ever answered, the address or the server is probably wrong.
FIRST_CONTACT_SECONDS = 30.0
# A favourite server may have this many more open requests than the least busy one: a quarter more,
# and a few so that single requests do not scatter. A cached prefix saves less time than that.
BUSIER_FACTOR = 1.25
BUSIER_REQUESTS = 8
# How often the list of servers is read again, and waiting requests look for a server.
REFRESH_SECONDS = 1.0
# Faults that do not show whether the server or the request is the cause. The server is, if another
# one answers the same request.
AMBIGUOUS = frozenset({Action.CONFIRM, Action.STOP, Action.DOUBT})
# A server that fails in one of these ways at its only request may have been killed by it.
FATAL_KINDS = frozenset({"connection lost", "timeout", "server error", "restarting"})
# A server that dies this often while it has no other prompt does not die by chance.
MAX_KILLS = 2
# How often the attempts of a request are counted from zero again, because its server was down.
# Without a limit, a request that crashes every server would be sent forever.
MAX_RESTARTS = 2


@dataclass(kw_only=True)
class _Attempts(Generic[Client]):
    """The faults of one request."""

    started: float
    by_action: Counter[Action] = field(default_factory=Counter)
    faults: dict[Server[Client], Fault] = field(default_factory=dict)
    """The last fault of each server."""
    counts: Counter[Server[Client]] = field(default_factory=Counter)
    """The number of faults of each server."""
    not_before: dict[Server[Client], float] = field(default_factory=dict)
    """When the request may be sent to a server again."""
    restarts: int = 0
    """How often the faults stopped counting, because a server was down."""

    def add(self, server: Server[Client], fault: Fault, not_before: float) -> None:
        """Add a fault."""
        self.by_action[fault.action] += 1
        self.faults[server] = fault
        self.counts[server] += 1
        self.not_before[server] = not_before

    def may_use(self, server: Server[Client], now: float) -> bool:
        """Return whether the request may be sent to a server now."""
        return now >= self.not_before.get(server, 0.0)


@dataclass(kw_only=True)
class Fleet(Generic[Client]):
    """Equal servers behind one engine.

    Args:
        name: The name of the fleet in messages.
        connect: Returns the client of a URL.
        urls: Returns the URLs of the servers; called again and again, because they may change.
        fault_of: Returns the fault that an exception shows; None for an error in this program.
        report: Shows a message to the user.
        concurrency: The most requests that one server may ever have open.
        retries: How often a request is repeated after faults that it may have caused.
        patience: The seconds for which requests wait while no server answers.
    """

    name: str
    connect: Callable[[str], Client]
    urls: Callable[[], Sequence[str]]
    fault_of: Callable[[Exception], Fault | None]
    report: Callable[[str], None]
    concurrency: int
    retries: int
    patience: float
    faults: Counter[str] = field(default_factory=Counter)
    """The number of faults by kind."""
    has_answered: bool = False
    """Whether any server has ever answered."""
    _servers: dict[str, Server[Client]] = field(default_factory=dict)
    _refreshed: float | None = None
    _probe: Probe[Client] | None = None
    _all_down_since: float | None = None
    """When a request first found no server that is up, after the last answer of any server."""
    _last_fault: Fault | None = None
    _is_paused: bool = False
    _suspects: dict[Server[Client], bytes] = field(default_factory=dict)
    """The servers that have failed at their only prompt, with its digest.

    An entry stays until the server answers another request, or is found dead.
    """
    _kills: Counter[bytes] = field(default_factory=Counter)
    """How often servers have died while a prompt was their only one, by the prompt's digest."""
    _has_died: bool = False
    """Whether a request has killed a server. Its address is right then, even without an answer."""
    _pauses: int = 0
    """How often all servers were down."""
    _outages: Counter[Server[Client]] = field(default_factory=Counter)
    """How often each server was down while others were not."""
    _long_waits: set[Server[Client]] = field(default_factory=set)
    """The servers of which a wait beyond `patience` was reported."""
    _waiters: dict["asyncio.Future[None]", None] = field(default_factory=dict)
    """The requests that wait for a server, the first one first."""

    async def request(
        self, send: Callable[[Client], Awaitable[Reply]], *, affinity: str, probe: Probe[Client]
    ) -> Reply:
        """Return the reply to one request.

        Args:
            send: Sends the request. An exception is a fault; see `fault_of`.
            affinity: Requests with the same text are sent to the same server where possible.
            probe: Sends a request for a few tokens that is answered if this one is.

        Raises:
            Exception: The error of a fault that lasts: not retryable if other requests are
                answered meanwhile.
            EngineUnavailableError: No server answers, for longer than `patience`.
        """
        key = hashlib.blake2b(affinity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        attempts = _Attempts[Client](started=_now())
        while True:
            server = await self._next_server(key, attempts)
            if not await self._is_up(server):
                continue
            started = _now()
            is_probe = server.start(key)
            was_alone = server.has_one_group
            overlaps = server.overlaps
            try:
                reply = await send(server.client)
            except Exception as error:
                fault = self._record(server, error, started, is_probe=is_probe)
                if fault is None:
                    raise
                was_alone &= server.overlaps == overlaps
                if was_alone and fault.kind.name in FATAL_KINDS:
                    self._suspects[server] = key
            else:
                self._record_answer(server, attempts, probe)
                self._kills.pop(key, None)
                return reply
            finally:
                server.finish(key, is_probe=is_probe)
                self._wake()
            wait = full_jitter(attempts.counts[server], MAX_WAIT_SECONDS)
            attempts.add(server, fault, _now() + max(wait, self._retry_after(fault)))
            self._fail_if_deadly(server, fault, key)
            if not self.has_answered and fault.action not in AMBIGUOUS:
                await self._make_first_contact(server, fault, attempts, probe)
            await self._fail_if_final(server, fault, attempts)

    @property
    def servers(self) -> Sequence[Server[Client]]:
        """The servers that may get requests."""
        return [server for server in self._servers.values() if not server.is_draining]

    @property
    def first_url(self) -> str:
        """The address of a server, for messages."""
        return next(iter(self.urls()), "no server")

    @property
    def known_urls(self) -> Sequence[str]:
        """The addresses of all servers, also of those that were removed."""
        return list(self._servers)

    @property
    def clients(self) -> Sequence[Client]:
        """The clients of all servers, also of those that were removed."""
        return [server.client for server in self._servers.values()]

    @property
    def health(self) -> ServersHealth:
        """The state of the servers that may get requests. Safe in any thread."""
        up = 0
        down = 0
        in_flight = 0
        # Copied at once: the event loop adds servers meanwhile.
        for server in list(self._servers.values()):
            in_flight += server.outstanding
            if server.is_draining:
                continue
            if server.health is Health.UP:
                up += 1
            else:
                down += 1
        return ServersHealth(up=up, down=down, is_paused=self._is_paused, in_flight=in_flight)

    async def _next_server(self, key: bytes, attempts: _Attempts[Client]) -> Server[Client]:
        """Return a server that takes the request, as soon as there is one."""
        while True:
            self._refresh()
            server = self._choose(key, attempts)
            if server is not None:
                return server
            if not any(server.health is Health.UP for server in self.servers):
                self._pause_or_give_up()
            await self._wait(attempts)

    def _choose(self, key: bytes, attempts: _Attempts[Client]) -> Server[Client] | None:
        """Return the server for a request; None if none takes it now."""
        now = _now()
        able: list[Server[Client]] = []
        for server in self.servers:
            if server.can_start(now) and attempts.may_use(server, now):
                able.append(server)
        if len(able) <= 1:
            return able[0] if able else None
        fewest = min(attempts.counts[server] for server in able)
        able = [server for server in able if attempts.counts[server] == fewest]
        least = min(server.outstanding for server in able)
        most = BUSIER_FACTOR * least + BUSIER_REQUESTS
        able = [server for server in able if server.outstanding <= most]
        # Rendezvous hashing: when a server leaves, only its requests change their server.
        return max(able, key=lambda server: hashlib.blake2b(key + server.url.encode()).digest())

    async def _wait(self, attempts: _Attempts[Client]) -> None:
        """Wait until there may be a server for the request."""
        now = _now()
        times: list[float] = []
        for server in self.servers:
            time = attempts.not_before.get(server, 0.0)
            if server.health is Health.DOWN:
                time = max(time, server.probe_at)
            times.append(time)
        next_look = now + REFRESH_SECONDS
        next_look = min([next_look, *(time for time in times if time > now)])
        if times and min(times) > now:
            # No server takes the request earlier, even if other requests end.
            await asyncio.sleep(next_look - now)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            async with asyncio.timeout_at(next_look):
                await waiter
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # It was woken for a server that another request can use now.
                self._wake()
            raise
        finally:
            self._waiters.pop(waiter, None)

    def _wake(self) -> None:
        """Let the request that has waited longest look for a server."""
        for waiter in self._waiters:
            del self._waiters[waiter]
            if not waiter.done():
                waiter.set_result(None)
            return

    def _wake_all(self) -> None:
        while self._waiters:
            self._wake()

    def _refresh(self) -> None:
        """Follow the list of servers: connect new ones, and send nothing more to removed ones."""
        now = _now()
        if self._refreshed is not None and now < self._refreshed + REFRESH_SECONDS:
            return
        urls = self.urls()
        for url in urls:
            if url not in self._servers:
                self._servers[url] = Server(
                    url=url, client=self.connect(url), concurrency=self.concurrency
                )
        for url, server in self._servers.items():
            server.is_draining = url not in urls
        self._refreshed = now

    async def _is_up(self, server: Server[Client]) -> bool:
        """Return whether a server is up, and probe it if it was not.

        Before the first answer there is nothing to probe with, and a request takes its place.
        """
        if server.health is Health.UP or self._probe is None:
            return True
        return await self._passes_probe(server, self._probe)

    async def _passes_probe(self, server: Server[Client], probe: Probe[Client]) -> bool:
        """Return whether a server answers a probe. If not, it is down."""
        started = _now()
        is_probe = server.start()
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await probe(server.client)
        except Exception as error:
            fault = self._record(server, error, started, is_probe=True)
            if fault is None:
                raise
            if not self._is_passed(server, fault):
                if fault.action in AMBIGUOUS:
                    # The same request was answered before, so the server is the cause.
                    self._record_failure(server, fault, started, is_probe=True)
                return False
        finally:
            server.finish(is_probe=is_probe)
        server.pass_probe()
        self._suspects.pop(server, None)
        if self._last_fault is not None and self._last_fault.action is not Action.WAIT:
            # It runs, so the requests are the cause, and their number of attempts limits the time.
            # A busy or crashing server could answer probes, and no request within hours.
            self._all_down_since = None
        self._wake_all()
        return True

    def _is_passed(self, server: Server[Client], fault: Fault) -> bool:
        """Return whether a server passes a probe although its answer has a fault.

        The model itself may write a doubtful text. While no other server answers, the same probe is
        sent each time, and would never be passed.
        """
        others = [other for other in self.servers if other is not server]
        is_needed = not any(other.health is Health.UP for other in others)
        return fault.action is Action.DOUBT and is_needed

    def _record(
        self, server: Server[Client], error: Exception, started: float, *, is_probe: bool
    ) -> Fault | None:
        """Count and return the fault that an exception shows; None if it shows none."""
        fault = self.fault_of(error)
        if fault is None:
            return None
        self.faults[fault.kind.name] += 1
        if fault.action not in AMBIGUOUS:
            self._record_failure(server, fault, started, is_probe=is_probe)
        elif is_probe:
            # It answers, if only with a rejection.
            server.pass_probe()
        return fault

    def _record_failure(
        self, server: Server[Client], fault: Fault, started: float, *, is_probe: bool
    ) -> None:
        """Record a failure that can be the server's fault."""
        now = _now()
        if fault.kind.lowers_concurrency:
            server.lower_limit(now, started)
        server.fail(
            now,
            is_outage=fault.kind.is_outage,
            is_probe=is_probe,
            retry_after=self._retry_after(fault),
        )
        self._last_fault = fault
        # A server without a known probe gets the request itself, which can be what it fails at.
        is_dead = fault.kind.is_outage or (is_probe and self._probe is not None)
        if is_dead and server in self._suspects:
            self._kills[self._suspects.pop(server)] += 1
            self._has_died = True
        if fault.retry_after is not None and fault.retry_after > self.patience:
            self._report_long_wait(server, fault.retry_after)
        server.cause = f"{fault.kind.name}: {fault.error}"
        self._report_outages()

    def _record_answer(
        self, server: Server[Client], attempts: _Attempts[Client], probe: Probe[Client]
    ) -> None:
        """Record a reply, and the failures of the servers that did not give it."""
        was_up = server.health is Health.UP
        server.answer()
        self._suspects.pop(server, None)
        self.has_answered = True
        self._probe = probe
        self._all_down_since = None
        if self._is_paused:
            self._is_paused = False
            self._report_some(self._pauses, f"{server.url} answers, and the run goes on")
        elif server.was_reported:
            self._report_some(
                self._outages[server], f"{server.url} answers again and gets requests"
            )
        server.was_reported = False
        if not was_up:
            self._wake_all()
        self._report_outages()
        for other, fault in attempts.faults.items():
            if other is not server and fault.action in AMBIGUOUS:
                self._record_failure(other, fault, attempts.started, is_probe=False)

    async def _make_first_contact(
        self,
        server: Server[Client],
        fault: Fault,
        attempts: _Attempts[Client],
        probe: Probe[Client],
    ) -> None:
        """Find out whether a server answers at all, once a first request has failed for some time.

        Raises:
            EngineUnavailableError: It answers nothing.
        """
        is_late = _now() >= attempts.started + FIRST_CONTACT_SECONDS
        if not is_late and attempts.by_action[fault.action] <= self.retries:
            return
        if self._has_untried_server(attempts) or self._is_working() or self._has_died:
            return
        # The answer can take longer than the timeout, and would do so in every further run.
        is_slow = fault.kind is kind_named("timeout")
        if not is_slow or not await self._passes_probe(server, probe):
            raise EngineUnavailableError(str(fault.error)) from fault.error
        self.has_answered = True
        self._probe = probe

    def _is_working(self) -> bool:
        """Return whether a server has a request that it may still answer, apart from probes."""
        for server in self.servers:
            probes = 1 if server.health is Health.PROBING else 0
            if server.outstanding > probes:
                return True
        return False

    def _fail_if_deadly(self, server: Server[Client], fault: Fault, key: bytes) -> None:
        """Raise an error for a request whose prompt kills the servers."""
        if self._kills.get(key, 0) < MAX_KILLS:
            return
        # The next request with this prompt is given up after one more death.
        self._kills[key] -= 1
        # The cause of this outage is known. Other requests wait for `patience` from now on.
        self._all_down_since = None
        raise EngineError(
            f"{server.url} went down {MAX_KILLS} times with this prompt as its only one:"
            f" {fault.error}",
            retryable=False,
        ) from fault.error

    async def _fail_if_final(
        self, server: Server[Client], fault: Fault, attempts: _Attempts[Client]
    ) -> None:
        """Raise the error of a fault after which the request is not sent again."""
        is_final = attempts.by_action[fault.action] > self._limit(fault.action)
        if not is_final or self._has_untried_server(attempts):
            return
        if attempts.restarts < MAX_RESTARTS and not await self._is_well(server, fault):
            # The server answers no other request either, so the faults do not count.
            attempts.by_action.clear()
            attempts.restarts += 1
            return
        if fault.action in AMBIGUOUS:
            raise fault.error
        raise EngineError(str(fault.error), retryable=False) from fault.error

    async def _is_well(self, server: Server[Client], fault: Fault) -> bool:
        """Return whether a server answers other requests, as far as a probe can tell."""
        is_key_rejected = fault.action is Action.STOP and len(self.servers) <= 1
        if self._probe is None or is_key_rejected:
            return True
        return await self._passes_probe(server, self._probe)

    def _limit(self, action: Action) -> int:
        """Return how often a request is repeated after faults with this action."""
        if action is Action.WAIT:
            return MAX_WAITS
        if action is Action.REPEAT:
            return self.retries
        return min(CONFIRMATIONS, self.retries)

    def _has_untried_server(self, attempts: _Attempts[Client]) -> bool:
        for server in self.servers:
            if server.health is Health.UP and not attempts.counts[server]:
                return True
        return False

    def _retry_after(self, fault: Fault) -> float:
        """Return the seconds that a server asks for, but no more than `patience`."""
        return min(fault.retry_after or 0.0, self.patience)

    def _pause_or_give_up(self) -> None:
        """Let requests wait while all servers are down, or raise an error after `patience`."""
        now = _now()
        if self._all_down_since is None:
            self._all_down_since = now
        seconds = now - self._all_down_since
        cause = "no server is listed"
        if self.servers:
            cause = f"no answer from {self.servers[0].url}"
            if self._last_fault is not None:
                cause = str(self._last_fault.error)
        if not self.has_answered and not self._has_died:
            is_tried = all(server.failed_probes > self.retries for server in self.servers)
            is_late = seconds >= min(self.patience, FIRST_CONTACT_SECONDS)
            if (is_tried or is_late) and not self._is_working():
                raise EngineUnavailableError(cause)
        elif seconds >= self.patience:
            raise EngineUnavailableError(
                f"{self.name}: no server has answered for {self.patience:.0f} s (`patience`); what"
                f" is finished is stored, run again when one does; the last error: {cause}"
            )
        elif not self._is_paused:
            self._is_paused = True
            self._pauses += 1
            self._report_some(
                self._pauses,
                f"the run pauses for up to {self.patience:.0f} s until a server answers: {cause}",
            )

    def _report_outages(self) -> None:
        """Report each server that is down while others answer."""
        if not self.has_answered or not any(s.health is Health.UP for s in self.servers):
            return
        for server in self.servers:
            if server.health is Health.DOWN and not server.was_reported:
                server.was_reported = True
                self._outages[server] += 1
                self._report_some(
                    self._outages[server],
                    f"{server.url} gets no requests until it answers a probe ({server.cause}); the"
                    " other servers get them",
                )

    def _report_some(self, times: int, message: str) -> None:
        """Report an event that has now happened `times` times, at the 1st, 2nd, 4th, 8th … time.

        Messages about a server that fails again and again would hide all others.
        """
        is_power_of_two = times & (times - 1) == 0
        if not is_power_of_two:
            return
        self.report(message if times == 1 else f"{message} (time {times})")

    def _report_long_wait(self, server: Server[Client], seconds: float) -> None:
        if server in self._long_waits:
            return
        self._long_waits.add(server)
        self.report(
            f"{server.url} asks for a wait of {seconds:.0f} s; it is asked again after"
            f" {self.patience:.0f} s, as `patience` says"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
