"""Fleets of simulated servers in virtual time: outages, limits, sick servers, bad requests."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from engines.base import ServersHealth
from engines.runtime.faults import Fault, kind_named
from engines.runtime.fleet import Fleet
from engines.runtime.server_state import Health
from stepmark.errors import ConfigError, EngineError, EngineUnavailableError
from tests.columns import column
from tests.engines.virtual_time import run_in_virtual_time

PATIENCE = 900.0
SECOND_OF_WORK = 1.0


class ServerError(Exception):
    """What a simulated server returns instead of an answer."""

    def __init__(self, kind: str, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.retry_after = retry_after


def fault_of(error: Exception) -> Fault | None:
    """Return the fault of a simulated server."""
    if isinstance(error, TimeoutError):
        error = ServerError("timeout")
    if not isinstance(error, ServerError):
        return None
    kind = kind_named(error.kind)
    raised: Exception = EngineError(f"it is {error.kind}", retryable=False)
    if error.kind == "no access":
        raised = ConfigError(error.kind)
    return Fault(kind=kind, error=raised, retry_after=error.retry_after)


Behaviour = Callable[[float, str], ServerError | None]
"""Returns the error at a time of a request; None for an answer."""


@dataclass(eq=False)
class SimulatedServer:
    """A server that answers some requests at the same time, one second each."""

    url: str
    behaviour: Behaviour = lambda now, request: None
    slots: int = 10
    answered: list[str] = field(default_factory=list)
    attempts: list[tuple[float, str]] = field(default_factory=list)
    active: int = 0

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.slots)

    async def answer(self, request: str) -> str:
        """Answer a request."""
        self._fail(request)
        self.active += 1
        try:
            async with self._free:
                await asyncio.sleep(SECOND_OF_WORK)
                # It may have died meanwhile.
                self._fail(request, is_new=False)
        finally:
            self.active -= 1
        self.answered.append(request)
        return request

    def _fail(self, request: str, *, is_new: bool = True) -> None:
        now = asyncio.get_running_loop().time()
        if is_new:
            self.attempts.append((now, request))
        error = self.behaviour(now, request)
        if error is not None:
            raise error


def request_names(count: int) -> list[str]:
    """Return the requests of `Simulation.send_all`, which are also their answers."""
    return [f"request {number}" for number in range(count)]


@dataclass
class Simulation:
    """A fleet of simulated servers, and what it reported."""

    behaviours: Sequence[Behaviour]
    slots: int = 10
    concurrency: int = 256
    retries: int = 8
    patience: float = PATIENCE
    reports: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    servers: dict[str, SimulatedServer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, behaviour in enumerate(self.behaviours):
            url = f"server-{number}"
            self.urls.append(url)
            self.servers[url] = SimulatedServer(url, behaviour, self.slots)
        self.fleet = Fleet[SimulatedServer](
            name="the fleet",
            connect=lambda url: self.servers[url],
            urls=lambda: list(self.urls),
            fault_of=fault_of,
            report=self.reports.append,
            concurrency=self.concurrency,
            retries=self.retries,
            patience=self.patience,
        )

    async def send(self, request: str, affinity: str = "") -> str:
        """Send a request and return its answer."""
        return await self.fleet.request(
            lambda server: server.answer(request),
            affinity=affinity or request,
            probe=lambda server: server.answer("probe"),
        )

    async def send_all(self, count: int, at_once: int) -> list[str | BaseException]:
        """Send requests, some of them at the same time, and return answers and errors."""
        slots = asyncio.Semaphore(at_once)

        async def send(request: str) -> str:
            async with slots:
                return await self.send(request)

        return await asyncio.gather(*map(send, request_names(count)), return_exceptions=True)

    @property
    def answered(self) -> Counter[str]:
        """How often each request was answered, without probes."""
        counts = Counter[str]()
        for server in self.servers.values():
            counts.update(server.answered)
        del counts["probe"]
        return counts


def healthy(now: float, request: str) -> ServerError | None:
    """Answer everything."""
    return None


def down_between(start: float, end: float, kind: str = "unreachable") -> Behaviour:
    """Return a server that fails for some time."""
    return lambda now, request: ServerError(kind) if start <= now < end else None


def always(kind: str, retry_after: float | None = None) -> Behaviour:
    """Return a server that answers nothing."""
    return lambda now, request: ServerError(kind, retry_after)


def seconds_of(behaviours: Sequence[Behaviour], count: int = 3000) -> float:
    """Return the time in which a fleet answers all requests, each of them once."""

    async def run() -> float:
        simulation = Simulation(behaviours)
        answers = await simulation.send_all(count, at_once=90)
        assert answers == request_names(count)
        assert simulation.answered == Counter(request_names(count))
        return asyncio.get_running_loop().time()

    return run_in_virtual_time(run())


FOREVER = float("inf")


@pytest.mark.parametrize("kind", ["unreachable", "connection lost", "server error", "busy"])
def test_throughput_without_dead_servers(kind: str) -> None:
    """One server is dead from the start, and one dies in the middle and comes back."""
    undisturbed = seconds_of([healthy] * 3)
    # 30 requests per second.
    assert undisturbed < 110
    dead = down_between(0, FOREVER, kind)
    dying = down_between(50, 60, kind)
    assert undisturbed / seconds_of([dead, healthy, healthy]) > 0.6
    assert undisturbed / seconds_of([dying, healthy, healthy]) > 0.8
    assert undisturbed / seconds_of([dead, dying, healthy]) > 0.6


@pytest.mark.parametrize("kind", ["unreachable", "connection lost", "unreadable reply", "rejected"])
def test_outage_of_all_pauses_once(kind: str) -> None:
    """A model of 70B parameters restarts: every request waits, and nothing is lost."""

    async def run() -> Simulation:
        simulation = Simulation([down_between(5, 605, kind)] * 2)
        answers = await simulation.send_all(300, at_once=90)
        assert answers == request_names(300)
        return simulation

    simulation = run_in_virtual_time(run())
    pauses = [report for report in simulation.reports if "pauses for up to 900 s" in report]
    ends = [report for report in simulation.reports if "the run goes on" in report]
    assert (len(pauses), len(ends)) == (1, 1)
    during_outage = 0
    for server in simulation.servers.values():
        during_outage += sum(10 < time < 605 for time, _ in server.attempts)
    # Probes, up to 30 s apart, and not the requests that wait.
    assert during_outage < 150


@pytest.mark.parametrize("kind", ["unreachable", "server error", "busy"])
def test_patience_ends_the_run(kind: str) -> None:
    async def run() -> float:
        simulation = Simulation([down_between(5, FOREVER, kind)])
        answers = await simulation.send_all(300, at_once=90)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        assert {type(error) for error in errors} == {EngineUnavailableError}
        assert "no server has answered for 900 s" in str(errors[0])
        assert f"the last error: it is {kind}" in str(errors[0])
        return asyncio.get_running_loop().time()

    assert 900 < run_in_virtual_time(run()) < 1000


@pytest.mark.parametrize("kind", ["unreachable", "server error", "busy", "connection lost"])
def test_first_contact_fails_fast(kind: str) -> None:
    async def run() -> Simulation:
        simulation = Simulation([always(kind)] * 2)
        answers = await simulation.send_all(90, at_once=90)
        assert {type(answer) for answer in answers} == {EngineUnavailableError}
        assert f"it is {kind}" in str(answers[0])
        assert asyncio.get_running_loop().time() < 60
        return simulation

    assert run_in_virtual_time(run()).reports == []


@pytest.mark.parametrize(
    "kind", ["rejected", "no access", "empty text", "unreadable reply", "server error", "timeout"]
)
def test_sick_replica_spoils_nothing(kind: str) -> None:
    async def run() -> Simulation:
        simulation = Simulation([always(kind), healthy])
        answers = await simulation.send_all(300, at_once=30)
        assert answers == request_names(300)
        return simulation

    simulation = run_in_virtual_time(run())
    assert len(simulation.reports) == 1
    assert "server-0 gets no requests" in simulation.reports[0]
    # The first requests, and probes: not half of all.
    assert len(simulation.servers["server-0"].attempts) < 60


@pytest.mark.parametrize("kind", ["rejected", "server error", "timeout", "restarting", "busy"])
@pytest.mark.parametrize("count", [1, 200])
def test_poisoned_request_fails_alone(kind: str, count: int) -> None:
    """The last request of a run, too, and on every server."""

    def poisoned(now: float, request: str) -> ServerError | None:
        return ServerError(kind) if request == "poison" else None

    async def run() -> Simulation:
        simulation = Simulation([poisoned] * 2)
        await simulation.send("first")
        others = asyncio.create_task(simulation.send_all(count, at_once=30))
        with pytest.raises(EngineError, match=f"it is {kind}") as error:
            await simulation.send("poison")
        assert not error.value.retryable
        assert len(await others) == count
        return simulation

    simulation = run_in_virtual_time(run())
    assert simulation.answered.total() == count + 1


async def late_fault(simulation: Simulation, kind: str, seconds: float, *, times: int) -> str:
    """Send a request that fails some times, each time after some seconds of work."""
    failures = 0

    async def send(server: SimulatedServer) -> str:
        nonlocal failures
        if failures < times:
            failures += 1
            await asyncio.sleep(seconds)
            raise ServerError(kind)
        return await server.answer("late")

    return await simulation.fleet.request(
        send, affinity="late", probe=lambda server: server.answer("probe")
    )


@pytest.mark.parametrize("kind", ["connection lost", "busy", "server error", "rejected"])
def test_slow_first_answers_are_awaited(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answers take a minute, and one of the requests fails before them."""
    monkeypatch.setattr("tests.engines.test_fleet.SECOND_OF_WORK", 60.0)

    async def run() -> None:
        simulation = Simulation([healthy], slots=1000)
        others = asyncio.create_task(simulation.send_all(9, at_once=9))
        assert await late_fault(simulation, kind, 35.0, times=1) == "late"
        assert await others == request_names(9)

    run_in_virtual_time(run())


@pytest.mark.parametrize("has_answered", [True, False])
def test_request_beyond_timeout_fails_alone(has_answered: bool) -> None:
    """The only open request takes longer than ten minutes at every attempt."""

    async def run() -> None:
        simulation = Simulation([healthy])
        if has_answered:
            await simulation.send("first")
        with pytest.raises(EngineError, match="it is timeout") as error:
            await late_fault(simulation, "timeout", 600.0, times=1000)
        assert not error.value.retryable
        assert asyncio.get_running_loop().time() < 10 * 601 + PATIENCE

    run_in_virtual_time(run())


def test_crashing_request_is_given_up() -> None:
    """Each server that gets a request crashes, and starts again within a minute."""

    async def run() -> None:
        simulation = Simulation([healthy] * 8)
        crashes = Counter[str]()
        up_at = Counter[str]()

        def crash(server: SimulatedServer) -> Behaviour:
            def behaviour(now: float, request: str) -> ServerError | None:
                if now < up_at[server.url]:
                    return ServerError("unreachable")
                if request != "poison":
                    return None
                crashes[server.url] += 1
                up_at[server.url] = int(now) + 60
                return ServerError("connection lost")

            return behaviour

        for server in simulation.servers.values():
            server.behaviour = crash(server)
        others = asyncio.create_task(simulation.send_all(5000, at_once=8))
        await asyncio.sleep(10)
        with pytest.raises(EngineError, match="it is connection lost"):
            await asyncio.wait_for(simulation.send("poison"), 7200)
        assert crashes.total() <= 27
        others.cancel()

    run_in_virtual_time(run())


def killed_by_poison(restart: float) -> tuple[Behaviour, list[float]]:
    """Return a server that a request kills, and that starts again, and the times of its deaths."""
    deaths: list[float] = []

    def behaviour(now: float, request: str) -> ServerError | None:
        if deaths and now < deaths[-1] + restart:
            return ServerError("unreachable")
        if request.startswith("poison"):
            deaths.append(now)
            return ServerError("connection lost")
        return None

    return behaviour, deaths


@pytest.mark.parametrize("restart", [20.0, 150.0, 600.0])
@pytest.mark.parametrize("has_answered", [True, False])
def test_lone_deadly_request_fails_alone(restart: float, has_answered: bool) -> None:
    """It kills the only server, also when a run is continued for it."""
    behaviour, deaths = killed_by_poison(restart)

    async def run() -> None:
        simulation = Simulation([behaviour])
        if has_answered:
            await simulation.send("first")
        # Two samples of one prompt.
        both = [simulation.send(f"poison {number}", "prompt") for number in range(2)]
        errors = await asyncio.gather(*both, return_exceptions=True)
        for error in errors:
            assert isinstance(error, EngineError)
            assert not error.retryable
            assert "went down 2 times with this prompt as its only one" in str(error)
        assert await simulation.send("another") == "another"

    run_in_virtual_time(run())
    assert len(deaths) <= 6


def test_request_survives_chance_deaths() -> None:
    """The server dies twice while it has a request, and other requests too."""
    deaths = [5.0, 65.0]

    def mortal(now: float, request: str) -> ServerError | None:
        for death in deaths:
            if death <= now < death + 30:
                return ServerError("connection lost" if now < death + 1 else "unreachable")
        return None

    async def run() -> None:
        simulation = Simulation([mortal], slots=1000)
        answers = await simulation.send_all(300, at_once=4)
        assert answers == request_names(300)

    run_in_virtual_time(run())


def test_doubtful_probe_is_no_outage() -> None:
    """The request that is the probe has an answer that begins with white space."""

    def restarting(now: float, request: str) -> ServerError | None:
        if 5 <= now < 20:
            return ServerError("unreachable")
        return ServerError("empty text") if request == "probe" else None

    async def run() -> None:
        simulation = Simulation([restarting])
        answers = await simulation.send_all(300, at_once=30)
        assert answers == request_names(300)
        assert asyncio.get_running_loop().time() < 120

    run_in_virtual_time(run())


def test_wrong_key_ends_the_run() -> None:
    async def run() -> int:
        simulation = Simulation([always("no access")])
        with pytest.raises(ConfigError, match="no access"):
            await simulation.send("request")
        return len(simulation.servers["server-0"].attempts)

    assert run_in_virtual_time(run()) == 5


def test_retry_after_is_honoured_and_capped() -> None:
    def limited(now: float, request: str) -> ServerError | None:
        return ServerError("busy", 3600.0) if now < 100 else None

    async def run() -> Simulation:
        simulation = Simulation([healthy])
        await simulation.send("first")
        simulation.servers["server-0"].behaviour = limited
        await simulation.send("second")
        return simulation

    simulation = run_in_virtual_time(run())
    first, refused, second = (time for time, _ in simulation.servers["server-0"].attempts)
    assert (first, refused) == (0.0, 1.0)
    assert 901 <= second < 902
    assert any("asks for a wait of 3600 s" in report for report in simulation.reports)


def test_long_wait_is_reported_once() -> None:
    """A date in `Retry-After` comes nearer, so that no two waits are equal."""

    def limited(now: float, request: str) -> ServerError | None:
        return ServerError("busy", 90_000.0 - now) if now < 100 else None

    async def run() -> Simulation:
        simulation = Simulation([limited, healthy], patience=10.0)
        await simulation.send_all(400, at_once=2)
        return simulation

    reports = run_in_virtual_time(run()).reports
    assert sum("asks for a wait" in report for report in reports) == 1


@pytest.mark.parametrize("servers", [1, 2])
def test_flapping_server_is_reported_rarely(servers: int) -> None:
    """One server answers nothing for ten seconds in every twenty."""

    def flapping(now: float, request: str) -> ServerError | None:
        return ServerError("unreachable") if int(now / 10) % 2 else None

    async def run() -> Simulation:
        simulation = Simulation([flapping, healthy][:servers])
        await simulation.send_all(400, at_once=2)
        return simulation

    reports = run_in_virtual_time(run()).reports
    assert any("(time 8)" in report for report in reports)
    # Of ten to forty outages: the 1st, 2nd, 4th, 8th, 16th and 32nd one, and the end of each.
    assert len(reports) <= 2 * 6


def rejecting_half(seed: int) -> Behaviour:
    """Return a server that rejects half of all requests at random."""
    chance = random.Random(seed)
    in_work = set[str]()

    def behaviour(now: float, request: str) -> ServerError | None:
        if request in in_work:
            # What was accepted is answered.
            in_work.remove(request)
            return None
        if chance.random() < 0.5:
            return ServerError("rejected")
        in_work.add(request)
        return None

    return behaviour


def test_random_rejections_lose_few_requests() -> None:
    """Each server is down when others answer what it has rejected; requests wait meanwhile."""

    async def run() -> int:
        simulation = Simulation([rejecting_half(seed) for seed in range(3)])
        answers = await simulation.send_all(1000, at_once=60)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        assert {type(error) for error in errors} <= {EngineError}
        assert asyncio.get_running_loop().time() < 200
        return len(errors)

    # Of requests that are sent five times, chance alone rejects one in 32.
    assert run_in_virtual_time(run()) <= 1000 / 32


def test_concurrency_falls_and_recovers() -> None:
    """A server takes 16 requests at once, and later 128."""

    async def run() -> tuple[Simulation, float]:
        simulation = Simulation([healthy], slots=1000)
        server = simulation.servers["server-0"]

        def limited(now: float, request: str) -> ServerError | None:
            limit = 16 if now < 100 else 128
            return ServerError("busy") if server.active > limit else None

        server.behaviour = limited
        answers = await simulation.send_all(12_000, at_once=256)
        assert len(set(answers)) == 12_000
        return simulation, asyncio.get_running_loop().time()

    simulation, seconds = run_in_virtual_time(run())
    # At most 1,600 in the first 100 s, and 128 per second later.
    assert seconds < 300
    (state,) = simulation.fleet.servers
    assert state.limit > 64
    refused = len(simulation.servers["server-0"].attempts) - 12_000
    assert refused < 3000


def test_prefixes_meet_unless_busy() -> None:
    async def run() -> Simulation:
        simulation = Simulation([healthy] * 3)
        for number in range(60):
            prefix = f"prefix {number % 20}"
            requests = [f"{prefix}/{rollout}" for rollout in range(4)]
            await asyncio.gather(*(simulation.send(request, prefix) for request in requests))
        return simulation

    simulation = run_in_virtual_time(run())
    prefixes: list[set[str]] = []
    for server in simulation.servers.values():
        prefixes.append({request.partition("/")[0] for request in server.answered})
    assert sum(map(len, prefixes)) == len(set.union(*prefixes)) == 20
    assert all(prefixes)

    async def crowd() -> Simulation:
        simulation = Simulation([healthy] * 3)
        requests = [str(number) for number in range(90)]
        await asyncio.gather(*(simulation.send(request, "one") for request in requests))
        return simulation

    counts = [len(server.answered) for server in run_in_virtual_time(crowd()).servers.values()]
    assert min(counts) >= 20


def test_servers_are_added_and_drained() -> None:
    async def run() -> Simulation:
        simulation = Simulation([healthy] * 2)
        removed = simulation.urls.pop()
        running = asyncio.create_task(simulation.send_all(600, at_once=30))
        await asyncio.sleep(10)
        assert simulation.servers[removed].answered == []
        simulation.urls.append(removed)
        await asyncio.sleep(10)
        simulation.urls.remove("server-0")
        await asyncio.sleep(5)
        drained = len(simulation.servers["server-0"].answered)
        answers = await running
        assert answers == request_names(600)
        assert len(simulation.servers["server-0"].answered) == drained
        return simulation

    simulation = run_in_virtual_time(run())
    assert simulation.answered.total() == 600
    assert column(simulation.fleet.servers, "url") == ["server-1"]


def test_cancelled_probe_leaves_another() -> None:
    async def run() -> None:
        simulation = Simulation([down_between(2, 50)])
        await simulation.send("first")
        waiting = [asyncio.create_task(simulation.send(str(number))) for number in range(5)]
        await asyncio.sleep(60)
        # The server is up again for a probe that takes a second.
        for task in waiting[:4]:
            task.cancel()
        assert await waiting[4] == "4"
        (state,) = simulation.fleet.servers
        assert (state.health, state.outstanding) == (Health.UP, 0)

    run_in_virtual_time(run())


@pytest.mark.parametrize(("share", "count"), [(0.2, 3000), (0.4, 300)])
def test_random_faults_lose_nothing(share: float, count: int) -> None:
    """Requests fail with faults of every action, at random."""
    kinds = ["busy", "not now", "rejected", "no access", "server error", "connection lost"]
    kinds += ["timeout", "unreadable reply", "empty text", "interrupted text"]
    chance = random.Random(1)

    def flaky(now: float, request: str) -> ServerError | None:
        return ServerError(chance.choice(kinds)) if chance.random() < share else None

    async def run() -> None:
        simulation = Simulation([flaky] * 3)
        answers = await simulation.send_all(count, at_once=90)
        assert answers == request_names(count)

    run_in_virtual_time(run())


def test_health_counts_servers_and_requests() -> None:
    async def run() -> tuple[ServersHealth, ServersHealth, ServersHealth]:
        simulation = Simulation([healthy, healthy, always("unreachable")])
        before = simulation.fleet.health
        requests = asyncio.create_task(simulation.send_all(40, at_once=20))
        # An answer takes a second.
        await asyncio.sleep(1.5)
        meanwhile = simulation.fleet.health
        await requests
        return before, meanwhile, simulation.fleet.health

    before, meanwhile, after = run_in_virtual_time(run())
    assert before == ServersHealth(up=0, down=0, is_paused=False, in_flight=0)
    assert (meanwhile.up, meanwhile.down, meanwhile.in_flight) == (2, 1, 20)
    assert after == ServersHealth(up=2, down=1, is_paused=False, in_flight=0)


def test_health_shows_a_pause() -> None:
    async def run() -> ServersHealth:
        simulation = Simulation([down_between(10, 100)])
        await simulation.send("first")
        requests = asyncio.create_task(simulation.send_all(400, at_once=20))
        await asyncio.sleep(60)
        health = simulation.fleet.health
        await requests
        return health

    health = run_in_virtual_time(run())
    assert (health.up, health.down, health.is_paused) == (0, 1, True)
