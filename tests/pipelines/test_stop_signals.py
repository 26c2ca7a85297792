"""SIGTERM and SIGHUP store what was made before a command ends."""

import asyncio
import os
import signal

import pytest

from pipelines.stop_signals import SIGNALS, StoppedError, run_until_stopped, stop_signals_raise


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_cancels_the_coroutine(number: signal.Signals) -> None:
    stored = list[str]()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await asyncio.sleep(60)
        finally:
            # Awaiting is possible while a coroutine is cancelled.
            await asyncio.sleep(0)
            stored.append("all")

    before = [signal.getsignal(other) for other in SIGNALS]
    with pytest.raises(StoppedError) as stopped, stop_signals_raise():
        run_until_stopped(work())
    assert (stopped.value.number, str(stopped.value)) == (number, number.name)
    assert stored == ["all"]
    assert [signal.getsignal(other) for other in SIGNALS] == before


def test_signal_outside_the_loop_raises() -> None:
    with pytest.raises(StoppedError), stop_signals_raise():
        os.kill(os.getpid(), signal.SIGTERM)


def test_signal_after_the_loop_raises() -> None:
    async def work() -> None:
        return

    with stop_signals_raise():
        run_until_stopped(work())
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_does_not_interrupt(first: signal.Signals) -> None:
    stored = list[str]()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), first)
        try:
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            # Long enough for the loop to handle the second signal.
            for _ in range(10):
                await asyncio.sleep(0.01)
            stored.append("all")

    with pytest.raises(StoppedError), stop_signals_raise():
        run_until_stopped(work())
    assert stored == ["all"]


def test_ignored_signal_stays_ignored() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        return "finished"

    # As `nohup` starts a command.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals_raise():
            os.kill(os.getpid(), signal.SIGHUP)
            assert run_until_stopped(work()) == "finished"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_cancellation_is_no_stop() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_until_stopped(work())


def test_result_is_returned() -> None:
    async def work() -> int:
        return 7

    assert run_until_stopped(work()) == 7
