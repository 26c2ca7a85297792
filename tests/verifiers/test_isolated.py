import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import verifiers
from stepmark.errors import PluginError
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Finding, StepClaim
from verifiers.isolation.pool import Isolated

HERE = Path(__file__).parent
ROOM = Path(str(verifiers.__file__)).parent
DEADLINE = 1.0


@pytest.fixture
def naughty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room with one more plugin in it, `naughty`, for this process and for the workers it starts."""
    shutil.copytree(ROOM, tmp_path / "verifiers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "naughty.py", tmp_path / "verifiers")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(verifiers, "__path__", [str(tmp_path / "verifiers")])


def _claim(step: str) -> StepClaim:
    return StepClaim(question="", previous=(), step=step)


async def _all(isolated: Isolated, deeds: Sequence[str]) -> Sequence[Finding]:
    return await asyncio.gather(*(isolated.verify("naughty", _claim(deed)) for deed in deeds))


@pytest.mark.usefixtures("naughty")
@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("sleep", "timeout"),
        ("loop", "timeout"),
        ("die", "worker died"),
        ("eat", "out of memory"),
        ("raise", "verifier failed: KeyError: 'raise'"),
    ],
)
async def test_a_bad_claim_costs_itself_and_no_other(deed: str, reason: str) -> None:
    deeds = [f"behave {i}" for i in range(40)]
    deeds[20] = deed
    async with Isolated(workers=1, deadline=DEADLINE) as isolated:
        findings = await _all(isolated, deeds)
    bad = findings[20]
    assert (bad.verdict, bad.reason) == (Verdict.UNKNOWN, reason)
    assert {finding.verdict for finding in (*findings[:20], *findings[21:])} == {Verdict.CORRECT}


@pytest.mark.usefixtures("naughty")
async def test_what_a_verifier_prints_is_no_finding() -> None:
    async with Isolated(workers=1) as isolated:
        findings = await _all(isolated, ["print", "behave"])
    assert "forged" not in {finding.reason for finding in findings}


@pytest.mark.usefixtures("naughty")
async def test_kill_9_of_an_idle_worker_costs_nothing() -> None:
    async with Isolated(workers=1, deadline=DEADLINE) as isolated:
        pid = int((await isolated.verify("naughty", _claim("behave"))).reason)
        os.kill(pid, signal.SIGKILL)
        findings = await _all(isolated, [f"behave {i}" for i in range(20)])
    assert {finding.verdict for finding in findings} == {Verdict.CORRECT}
    assert str(pid) not in {finding.reason for finding in findings}


@pytest.mark.usefixtures("naughty")
async def test_kill_9_of_a_busy_worker_costs_its_claim() -> None:
    async with Isolated(workers=1, deadline=30.0) as isolated:
        pid = int((await isolated.verify("naughty", _claim("behave"))).reason)
        busy = asyncio.create_task(isolated.verify("naughty", _claim("sleep")))
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        assert (await busy).reason == "worker died"
        assert (await isolated.verify("naughty", _claim("behave again"))).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("naughty")
async def test_the_event_loop_is_never_blocked() -> None:
    async with Isolated(workers=1, deadline=DEADLINE) as isolated:
        hanging = asyncio.create_task(isolated.verify("naughty", _claim("loop")))
        ticks = 0
        while not hanging.done():
            await asyncio.sleep(0.02)
            ticks += 1
    assert ticks > 10


@pytest.mark.usefixtures("naughty")
async def test_a_parent_that_was_busy_takes_no_answer_for_late() -> None:
    async with Isolated(workers=1, deadline=DEADLINE) as isolated:
        await isolated.verify("naughty", _claim("behave"))
        asked = asyncio.create_task(isolated.verify("naughty", _claim("behave late")))
        await asyncio.sleep(0.01)
        time.sleep(1.5 * DEADLINE)  # what a badly written neighbour does to the loop
        assert (await asked).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("naughty")
async def test_an_identical_claim_is_decided_once() -> None:
    async with Isolated(workers=2, deadline=DEADLINE) as isolated:
        started = time.monotonic()
        findings = await _all(isolated, ["sleep"] * 50)
        findings = [*findings, *await _all(isolated, ["sleep"])]
        assert time.monotonic() - started < 10 * DEADLINE
    assert {finding.reason for finding in findings} == {"timeout"}


@pytest.mark.parametrize("answer", ["4", "4" + " " * 1_500], ids=["short", "long"])
async def test_an_identical_answer_is_decided_once(answer: str) -> None:
    async with Isolated(workers=1) as isolated:
        first = await isolated.verify("answers", AnswerClaim(answer=answer, reference="4"))
        again = await isolated.verify("answers", AnswerClaim(answer="".join(answer), reference="4"))
        other = await isolated.verify("answers", AnswerClaim(answer="4", reference=answer + "5"))
    assert again is first
    assert first.verdict is Verdict.CORRECT
    assert other.verdict is not Verdict.CORRECT


@pytest.mark.usefixtures("naughty")
async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    async with Isolated(workers=1, deadline=DEADLINE) as isolated:
        first, second = (
            asyncio.create_task(isolated.verify("naughty", _claim("behave"))) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("naughty")
async def test_closing_answers_whoever_waits() -> None:
    isolated = Isolated(workers=1, deadline=30.0)
    waiting = asyncio.create_task(_all(isolated, ["sleep 1", "sleep 2", "behave"]))
    await asyncio.sleep(0.1)
    await isolated.close()
    assert {finding.reason for finding in await waiting} == {"closed"}


async def test_no_such_verifier() -> None:
    async with Isolated() as isolated:
        with pytest.raises(
            PluginError, match=r"verifiers has no 'arithmetics'; it has: .*arithmetic"
        ):
            await isolated.verify("arithmetics", _claim(""))


async def test_real_verifiers_by_the_thousand() -> None:
    async with Isolated() as isolated:
        steps = [
            isolated.verify("arithmetic", _claim(f"{i} + 1 = {i + 1 + i % 2}"))
            for i in range(2_000)
        ]
        answers = [
            isolated.verify("answers", AnswerClaim(answer=f"{i}.0", reference=str(i)))
            for i in range(2_000)
        ]
        of_steps, of_answers = await asyncio.gather(
            asyncio.gather(*steps), asyncio.gather(*answers)
        )
    assert [finding.verdict for finding in of_steps] == [Verdict.CORRECT, Verdict.INCORRECT] * 1_000
    assert {finding.verdict for finding in of_answers} == {Verdict.CORRECT}


def test_works_beside_threads_and_off_the_main_thread() -> None:
    async def decide() -> Finding:
        async with Isolated(workers=1) as isolated:
            return await isolated.verify("arithmetic", _claim("1 + 1 = 2"))

    async def beside_a_thread() -> Finding:
        return await asyncio.to_thread(asyncio.run, decide())

    assert asyncio.run(beside_a_thread()).verdict is Verdict.CORRECT


PARENT = """
import asyncio, sys
import verifiers
from verifiers.isolation.pool import Isolated
from verifiers.base import StepClaim

def claim(step):
    return StepClaim(question="", previous=(), step=step)

async def main():
    isolated = Isolated(workers=2, deadline=3.0)
    found = await asyncio.gather(*(isolated.verify("naughty", claim(f"behave {i}")) for i in range(200)))
    print(*{finding.reason for finding in found}, flush=True)
    await isolated.verify("naughty", claim("loop"))

asyncio.run(main())
"""


@pytest.mark.usefixtures("naughty")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_when_the_parent_is_killed() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        time.sleep(0.3)
        parent.kill()
    until = time.monotonic() + 20
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
