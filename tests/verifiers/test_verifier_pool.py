"""The pool of worker processes: lost claims, batches, caching, and the end of workers."""

import asyncio
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest

import verifiers
from stepmark.errors import PluginError
from stepmark.records import Verdict
from tests.columns import column
from verifiers.base import AnswerClaim, Finding, StepClaim
from verifiers.isolation.pool import VerifierPool

HERE = Path(__file__).parent
PACKAGE = Path(str(verifiers.__file__)).parent
# Short, because several tests wait for it; ordinary claims take a small part of it.
DEADLINE = 1.0


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the plugin `misbehaving` to a copy of the package, for this process and its workers."""
    shutil.copytree(PACKAGE, tmp_path / "verifiers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "misbehaving.py", tmp_path / "verifiers")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(verifiers, "__path__", [str(tmp_path / "verifiers")])


def _claim(step: str) -> StepClaim:
    return StepClaim(question="", previous=(), step=step)


def _distinct_behaviours(count: int) -> list[str]:
    """Return different texts, because the pool decides equal claims once."""
    return [f"behave {number}" for number in range(count)]


async def _verify_all(pool: VerifierPool, behaviours: Sequence[str]) -> Sequence[Finding]:
    pending = [pool.verify("misbehaving", _claim(behaviour)) for behaviour in behaviours]
    return await asyncio.gather(*pending)


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("sleep", "timeout"),
        ("loop", "timeout"),
        ("die", "worker died"),
        ("allocate", "out of memory"),
        ("raise", "verifier failed: KeyError: 'raise'"),
    ],
)
async def test_lost_claim_affects_no_other(behaviour: str, reason: str) -> None:
    behaviours = _distinct_behaviours(40)
    # In the middle, so that claims before and after the lost one are checked.
    behaviours[20] = behaviour
    # One worker, which is replaced after each loss.
    async with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        findings = await _verify_all(pool, behaviours)
    assert findings[20] == Finding(verdict=Verdict.UNKNOWN, reason=reason)
    assert column([*findings[:20], *findings[21:]], "verdict") == [Verdict.CORRECT] * 39


@pytest.mark.usefixtures("misbehaving")
async def test_printed_text_is_not_a_finding() -> None:
    async with VerifierPool(workers=1) as pool:
        findings = await _verify_all(pool, ["print", "behave"])
    assert "forged" not in column(findings, "reason")


@pytest.mark.usefixtures("misbehaving")
async def test_killed_idle_worker_loses_no_claim() -> None:
    async with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        pid = int((await pool.verify("misbehaving", _claim("behave"))).reason)
        os.kill(pid, signal.SIGKILL)
        # The new claims need a new worker.
        findings = await _verify_all(pool, _distinct_behaviours(20))
    assert column(findings, "verdict") == [Verdict.CORRECT] * 20
    assert str(pid) not in column(findings, "reason")


@pytest.mark.usefixtures("misbehaving")
async def test_killed_busy_worker_loses_its_claim() -> None:
    # A deadline that does not end the sleeping claim before the kill.
    async with VerifierPool(workers=1, deadline=30.0) as pool:
        pid = int((await pool.verify("misbehaving", _claim("behave"))).reason)
        busy = asyncio.create_task(pool.verify("misbehaving", _claim("sleep")))
        # Time for the worker to start the claim.
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        assert (await busy).reason == "worker died"
        assert (await pool.verify("misbehaving", _claim("behave again"))).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("misbehaving")
async def test_event_loop_is_never_blocked() -> None:
    async with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        # The computation of `loop` does not release the worker until the deadline.
        hanging = asyncio.create_task(pool.verify("misbehaving", _claim("loop")))
        ticks = 0
        while not hanging.done():
            await asyncio.sleep(0.02)
            ticks += 1
    # A deadline of one second has up to 50 ticks; a slow machine has fewer.
    assert ticks > 10


@pytest.mark.usefixtures("misbehaving")
async def test_busy_parent_causes_no_timeout() -> None:
    async with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        # The worker is running before the parent blocks.
        await pool.verify("misbehaving", _claim("behave"))
        pending = asyncio.create_task(pool.verify("misbehaving", _claim("behave late")))
        await asyncio.sleep(0.01)
        time.sleep(1.5 * DEADLINE)  # code that blocks the event loop
        assert (await pending).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("misbehaving")
async def test_identical_claim_is_decided_once() -> None:
    async with VerifierPool(workers=2, deadline=DEADLINE) as pool:
        started = time.monotonic()
        findings = await _verify_all(pool, ["sleep"] * 50)
        findings = [*findings, *await _verify_all(pool, ["sleep"])]
        # Fifty separate timeouts of two workers would take 25 deadlines.
        assert time.monotonic() - started < 10 * DEADLINE
    assert column(findings, "reason") == ["timeout"] * 51


@pytest.mark.parametrize("answer", ["4", "4" + " " * 1_500], ids=["short", "long"])
async def test_identical_answer_is_decided_once(answer: str) -> None:
    async with VerifierPool(workers=1) as pool:
        first = await pool.verify("answers", AnswerClaim(answer=answer, reference="4"))
        # An equal claim that is another object.
        again = await pool.verify("answers", AnswerClaim(answer="".join(answer), reference="4"))
        other = await pool.verify("answers", AnswerClaim(answer="4", reference=answer + "5"))
    assert again is first
    assert first.verdict is Verdict.CORRECT
    assert other.verdict is not Verdict.CORRECT


@pytest.mark.usefixtures("misbehaving")
async def test_cancellation_does_not_affect_other_callers() -> None:
    async with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        first = asyncio.create_task(pool.verify("misbehaving", _claim("behave")))
        second = asyncio.create_task(pool.verify("misbehaving", _claim("behave")))
        # Both tasks run until they wait for the same claim.
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).verdict is Verdict.CORRECT


@pytest.mark.usefixtures("misbehaving")
async def test_close_settles_pending_claims() -> None:
    # The deadline is too long to end the claims before `close`.
    pool = VerifierPool(workers=1, deadline=30.0)
    waiting = asyncio.create_task(_verify_all(pool, ["sleep 1", "sleep 2", "behave"]))
    await asyncio.sleep(0.1)
    await pool.close()
    assert column(await waiting, "reason") == ["closed"] * 3


async def test_unknown_verifier_raises() -> None:
    async with VerifierPool() as pool:
        with pytest.raises(
            PluginError, match=r"verifiers has no 'arithmetics'; it has: .*arithmetic"
        ):
            await pool.verify("arithmetics", _claim(""))


async def test_thousands_of_real_claims() -> None:
    async with VerifierPool() as pool:
        steps = list[Awaitable[Finding]]()
        answers = list[Awaitable[Finding]]()
        for number in range(2_000):
            # Every second equation is wrong by one.
            step = f"{number} + 1 = {number + 1 + number % 2}"
            answer = AnswerClaim(answer=f"{number}.0", reference=str(number))
            steps.append(pool.verify("arithmetic", _claim(step)))
            answers.append(pool.verify("answers", answer))
        step_findings, answer_findings = await asyncio.gather(
            asyncio.gather(*steps), asyncio.gather(*answers)
        )
    # An equation that holds is not a verdict.
    expected = [Verdict.UNKNOWN, Verdict.INCORRECT] * 1_000
    assert column(step_findings, "verdict") == expected
    assert column(answer_findings, "verdict") == [Verdict.CORRECT] * 2_000


def test_pool_works_outside_main_thread() -> None:
    async def decide() -> Finding:
        async with VerifierPool(workers=1) as pool:
            return await pool.verify("arithmetic", _claim("1 + 1 = 3"))

    async def decide_in_thread() -> Finding:
        return await asyncio.to_thread(asyncio.run, decide())

    assert asyncio.run(decide_in_thread()).verdict is Verdict.INCORRECT


# Two workers return their process ids, and one of them is busy when the parent is killed.
PARENT = """
import asyncio, sys
import verifiers
from verifiers.isolation.pool import VerifierPool
from verifiers.base import StepClaim

def claim(step):
    return StepClaim(question="", previous=(), step=step)

async def main():
    pool = VerifierPool(workers=2, deadline=3.0)
    pending = [pool.verify("misbehaving", claim(f"behave {i}")) for i in range(200)]
    findings = await asyncio.gather(*pending)
    print(*{finding.reason for finding in findings}, flush=True)
    await pool.verify("misbehaving", claim("loop"))

asyncio.run(main())
"""


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_killed_parent() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        # Time for the parent to send the claim `loop`.
        time.sleep(0.3)
        parent.kill()
    until = time.monotonic() + 20
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.1)


@pytest.mark.parametrize("missing_bytes", [0, 20])
def test_orphaned_worker_prints_no_traceback(missing_bytes: int) -> None:
    """The parent was killed after, or while, it sent a claim."""
    claim = pickle.dumps(("arithmetic", _claim("2 + 2 = 5")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "verifiers.isolation.worker", "5", str(2**32)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.close()
        worker.stdin.write(pickle.dumps(1) + claim[: len(claim) - missing_bytes])
        worker.stdin.close()
        assert worker.stderr.read() == b""
        assert worker.wait() == 0


def _is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    # A zombie has ended; only its exit status was not read.
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
