"""Live progress: bars that leave a clean terminal, and plain lines in a log."""

import contextlib
import io
import json
import os
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from engines.base import ServersHealth
from pipelines.run import progress
from pipelines.run.config import Budget, Prices
from pipelines.run.meter import Meter
from pipelines.run.progress import Progress, show_progress
from pipelines.run.spending import Spending
from stepmark.records import Cost

HIDE_CURSOR = "\x1b[?25l"
SHOW_CURSOR = "\x1b[?25h"
ERASE_LINE = "\x1b[2K"


def progress_of(
    meter: Meter, prices: Prices | None = None, budget: Budget | None = None
) -> Progress:
    spending = Spending(budget=budget or Budget(), prices=prices or Prices(), meter=meter)
    return Progress(meter=meter, spending=spending)


@pytest.fixture
def run_progress(monkeypatch: pytest.MonkeyPatch) -> Progress:
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
    meter.skip("formal", 2)
    meter.add_rollouts(Cost(rollouts=7))
    meter.prompt_tokens = 11
    meter.generated_tokens = 13
    return progress_of(meter)


def wait_for(screen: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in screen.getvalue():
        assert time.monotonic() < deadline, screen.getvalue()
        time.sleep(0.01)


def terminal() -> tuple[io.StringIO, Console]:
    screen = io.StringIO()
    return screen, Console(file=screen, force_terminal=True, width=120, _environ={"TERM": "xterm"})


def test_terminal_shows_started_stages(run_progress: Progress) -> None:
    screen, console = terminal()
    with show_progress(run_progress, console):
        wait_for(screen, "13 tokens written")
    output = screen.getvalue()
    for stage, bar, count in [
        # A bar has 24 characters. Problems have no known total, so their bar is full.
        ("problems", "━" * 24, "4"),
        ("traces", "━" * 18 + "╌" * 6, "6/8"),
        ("formal", "━" * 9 + "╌" * 15, "2/5"),
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
def test_bars_are_erased_at_exit(run_progress: Progress, fails: bool) -> None:
    screen, console = terminal()
    threads = threading.active_count()
    try:
        with show_progress(run_progress, console):
            wait_for(screen, "traces")
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert threading.active_count() == threads
    output = screen.getvalue()
    assert output.index(HIDE_CURSOR) < output.rindex(SHOW_CURSOR)
    assert "━" not in output[output.rindex(ERASE_LINE) :]


def test_log_contains_plain_lines(run_progress: Progress) -> None:
    screen = io.StringIO()
    with show_progress(run_progress, Console(file=screen)):
        wait_for(screen, "\n")
    line = screen.getvalue().splitlines()[0]
    assert line.startswith(
        "problems 4, traces 6/8, judge 1/3 (1 failed), formal 2/5, 7 rollouts, 13 tokens written"
    )
    assert "\x1b" not in screen.getvalue()


def test_short_run_logs_nothing(run_progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    # An interval that the run does not reach.
    monkeypatch.setattr(progress, "LOG_SECONDS", 3600)
    screen = io.StringIO()
    with show_progress(run_progress, Console(file=screen)):
        pass
    assert screen.getvalue() == ""


def test_last_json_line_is_final(run_progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the last line is written.
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 3600)
    screen = io.StringIO()
    with show_progress(run_progress, Console(file=screen), as_json=True):
        run_progress.meter.finish("formal", 3)
    (line,) = screen.getvalue().splitlines()
    fields = json.loads(line)
    assert fields["stages"]["formal"] == {
        "done": 5,
        "total": 5,
        "failed": 0,
        "done_by_this_run": 3,
    }
    assert fields["stages"]["problems"]["total"] is None
    assert (fields["generated_tokens"], fields["cost"]) == (13, None)
    assert fields["seconds_left"] > 0


def full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer


@pytest.mark.parametrize(("as_json", "bars"), [(True, False), (False, True), (False, False)])
def test_blocked_output_stops_no_run(
    run_progress: Progress, monkeypatch: pytest.MonkeyPatch, as_json: bool, bars: bool
) -> None:
    monkeypatch.setattr(progress, "LAST_WRITE_SECONDS", 0.01)
    reader, writer = full_pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as screen:
        console = Console(file=screen, force_terminal=bars, _environ={"TERM": "xterm"})
        with show_progress(run_progress, console, as_json=as_json):
            time.sleep(0.1)
        os.close(reader)


def test_ended_reader_leaves_standard_output(
    run_progress: Progress, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        with show_progress(run_progress, as_json=True):
            time.sleep(0.1)
    os.write(1, b"the summary")
    assert capfd.readouterr().out == "the summary"


def test_slowest_stage_decides_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Meter, "seconds", 60.0)
    meter = Meter()
    assert meter.seconds_left == 0
    meter.expect("traces", 100)
    meter.expect("judge", 100)
    meter.skip("judge", 40)
    meter.finish("traces", 50)
    # No trace is judged yet.
    assert meter.seconds_left is None
    meter.finish("judge", 20)
    assert meter.seconds_left == 40 * 60 / 20
    # A stage that is retried counts its items again.
    meter.finish("judge", 90)
    assert meter.finished("judge") == 100
    assert meter.seconds_left == 60.0
    text = progress_of(meter).line()
    assert text.endswith("0:01:00, about 0:01:00 left at the mean rate so far")


@pytest.mark.parametrize(
    ("total", "skipped", "few", "enough"), [(400, 0, 19, 20), (50, 0, 4, 5), (400, 395, 0, 1)]
)
def test_few_items_predict_no_time(total: int, skipped: int, few: int, enough: int) -> None:
    meter = Meter()
    meter.expect("monte_carlo", total)
    meter.skip("monte_carlo", skipped)
    meter.finish("monte_carlo", few)
    assert meter.seconds_left is None
    assert "left" not in progress_of(meter).line()
    meter.finish("monte_carlo", enough - few)
    assert meter.seconds_left is not None


def test_cost_and_kept_share_are_shown() -> None:
    meter = Meter()
    meter.generated_tokens = 3_000_000
    meter.kept = 3
    meter.finish("labels", 4)
    line = progress_of(meter, Prices(generated=0.5), Budget(cost=2)).line()
    assert line.startswith("labels 4 (75% kept), ")
    assert ", cost 1.50, 75% of the budget used, " in line


def test_servers_of_engines_are_shown() -> None:
    meter = Meter()
    meter.add_faults("judge_engine", {"busy": 3, "unreachable": 2})
    meter.add_faults("other", {"busy": 1})
    healthy = ServersHealth(up=3, down=0, is_paused=False, in_flight=40)
    outage = ServersHealth(up=2, down=1, is_paused=False, in_flight=2)
    meter.worker_servers = {1: {"judge_engine": healthy}, 2: {"judge_engine": outage}}
    run_progress = replace(progress_of(meter), servers=meter.servers)
    text = "judge_engine: 2 of 3 servers up, 42 requests open, 5 faults so far"
    assert run_progress.line().endswith(text)
    assert run_progress.fields()["engines"] == {
        "judge_engine": {
            "servers_up": 2,
            "servers_down": 1,
            "paused": False,
            "in_flight": 42,
            "faults": {"busy": 3, "unreachable": 2},
        }
    }
    meter.worker_servers = {1: {"judge_engine": replace(outage, is_paused=True)}}
    assert run_progress.line().endswith(f"{text.replace('42', '2')}, paused until a server answers")
    # An engine without servers is not shown.
    assert progress_of(meter).fields()["engines"] == {}
