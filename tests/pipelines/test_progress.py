"""Live progress: bars that leave a clean terminal, and plain lines in a log."""

import io
import threading
import time

import pytest
from rich.console import Console

from pipelines.run import progress
from pipelines.run.meter import Meter
from stepmark.records import Cost

HIDE_CURSOR = "\x1b[?25l"
SHOW_CURSOR = "\x1b[?25h"
ERASE_LINE = "\x1b[2K"


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    # Short intervals, so that the tests need not wait for a refresh.
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.01)
    meter = Meter()
    meter.finish("problems", 4)
    meter.finish("rows set aside", 0)
    meter.expect("traces", 8)
    meter.finish("traces", 6)
    meter.expect("judge", 3)
    meter.finish("judge", failed=True)
    meter.expect("formal", 5)
    meter.add_rollouts(Cost(rollouts=7))
    meter.prompt_tokens = 11
    meter.generated_tokens = 13
    return meter


def wait_for(screen: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in screen.getvalue():
        assert time.monotonic() < deadline, screen.getvalue()
        time.sleep(0.01)


def terminal() -> tuple[io.StringIO, Console]:
    screen = io.StringIO()
    return screen, Console(file=screen, force_terminal=True, width=120, _environ={"TERM": "xterm"})


def test_terminal_shows_started_stages(meter: Meter) -> None:
    screen, console = terminal()
    with progress.progress_bar(meter, console):
        wait_for(screen, "13 tokens written")
    output = screen.getvalue()
    for stage, bar, count in [
        # A bar has 24 characters. Problems have no known total, so their bar is full.
        ("problems", "━" * 24, "4"),
        ("traces", "━" * 18 + "╌" * 6, "6/8"),
        ("formal", "╌" * 24, "0/5"),
    ]:
        lines = set[str]()
        for line in output.splitlines():
            if line.lstrip("\r\x1b[2KA1").startswith(stage):
                lines.add(line.strip())
        (line,) = lines
        assert bar in line
        assert line.endswith(count)
    assert "1/3 (1 failed)" in output
    assert "7 rollouts" in output


@pytest.mark.parametrize("fails", [False, True])
def test_bars_are_erased_at_exit(meter: Meter, fails: bool) -> None:
    screen, console = terminal()
    threads = threading.active_count()
    try:
        with progress.progress_bar(meter, console):
            wait_for(screen, "traces")
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert threading.active_count() == threads
    output = screen.getvalue()
    assert output.index(HIDE_CURSOR) < output.rindex(SHOW_CURSOR)
    assert "━" not in output[output.rindex(ERASE_LINE) :]


def test_log_contains_plain_lines(meter: Meter) -> None:
    screen = io.StringIO()
    with progress.progress_bar(meter, Console(file=screen)):
        wait_for(screen, "\n")
    line = screen.getvalue().splitlines()[0]
    assert line.startswith(
        "problems 4, traces 6/8, judge 1/3 (1 failed), formal 0/5, 7 rollouts, 13 tokens written"
    )
    assert "\x1b" not in screen.getvalue()


def test_short_run_logs_nothing(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    # An interval that the run does not reach.
    monkeypatch.setattr(progress, "LOG_SECONDS", 3600)
    screen = io.StringIO()
    with progress.progress_bar(meter, Console(file=screen)):
        pass
    assert screen.getvalue() == ""
