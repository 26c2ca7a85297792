"""Live progress of a run: bars on a terminal, a line every few seconds in a log, or JSON."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from engines.base import ServersHealth
from pipelines.run.meter import Meter
from pipelines.run.spending import Spending
from pipelines.terminal import is_writable

__all__ = ["Progress", "show_progress"]

REFRESH_SECONDS = 0.5
LOG_SECONDS = 15.0
BAR_CHARACTERS = 24
# Long enough for a reader that is only slow.
LAST_WRITE_SECONDS = 5.0


class _StandardError(Console):
    """Standard error; a reader that has ended makes it quiet."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Write nothing more. Rich would discard the output of the process and end the thread."""
        self.quiet = True


@contextmanager
def show_progress(
    progress: "Progress", console: Console | None = None, *, as_json: bool = False
) -> Iterator[None]:
    """Show the progress on standard error while the block runs.

    A thread does it, so that a busy event loop does not stop the display. The run goes on without a
    display if nothing can be written.
    """
    console = console or _StandardError()
    display: Callable[[Console, Progress, threading.Event], None] = _show_bars
    if as_json:
        display = _write_json
    elif not console.is_terminal:
        display = _log_lines
    finished = threading.Event()

    def show() -> None:
        # The terminal may be closed, or the disk full.
        with contextlib.suppress(OSError):
            display(console, progress, finished)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _show_bars(console: Console, progress: "Progress", finished: threading.Event) -> None:
    _wait_until_writable(console)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while not finished.wait(REFRESH_SECONDS):
            if is_writable(console.file):
                live.update(progress.bars(), refresh=True)
        # The end of the block erases the bars.
        _wait_until_writable(console)


def _log_lines(console: Console, progress: "Progress", finished: threading.Event) -> None:
    while not finished.wait(LOG_SECONDS):
        _print(console, progress.line())


def _write_json(console: Console, progress: "Progress", finished: threading.Event) -> None:
    while not finished.wait(REFRESH_SECONDS):
        _print(console, json.dumps(progress.fields()))
    # The last line has the final counts.
    _wait_until_writable(console)
    _print(console, json.dumps(progress.fields()))


def _print(console: Console, line: str) -> None:
    if is_writable(console.file):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _wait_until_writable(console: Console) -> None:
    """Wait until the console can be written without blocking; make it quiet if that takes long."""
    if not is_writable(console.file, LAST_WRITE_SECONDS):
        console.quiet = True


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The counters of a run in the forms in which they are displayed."""

    meter: Meter
    spending: Spending
    servers: Callable[[], Mapping[str, ServersHealth]] = dict
    """Returns the servers by the name of the engine, of engines that have some."""

    def bars(self) -> Table:
        """Return a bar for each stage that has started, and the totals."""
        table = Table.grid(padding=(0, 2))
        for stage in self._stages():
            finished = self.meter.finished(stage)
            # A stage without a known total, such as the problems of a source, gets a full bar.
            total = self.meter.total.get(stage, finished)
            filled = BAR_CHARACTERS * finished // max(total, 1)
            bar = "━" * filled + "╌" * (BAR_CHARACTERS - filled)
            table.add_row(stage, bar, self._count(stage))
        for text in self._totals():
            table.add_row("", text, "")
        return table

    def line(self) -> str:
        """Return all counts in one line."""
        counts = [f"{stage} {self._count(stage)}" for stage in self._stages()]
        return ", ".join([*counts, *self._totals()])

    def fields(self) -> Mapping[str, Any]:
        """Return all counts as a JSON object; an unknown value is null."""
        stages = dict[str, Mapping[str, Any]]()
        for stage in self._stages():
            stages[stage] = {
                "done": self.meter.finished(stage),
                "total": self.meter.total.get(stage),
                "failed": self.meter.failed[stage],
                "done_by_this_run": self.meter.done[stage],
            }
        return {
            "seconds": round(self.meter.seconds, 1),
            "seconds_left": _rounded(self.meter.seconds_left),
            "stages": stages,
            "rollouts": self.meter.rollouts,
            "prompt_tokens": self.meter.prompt_tokens,
            "generated_tokens": self.meter.generated_tokens,
            "cost": _rounded(self.cost),
            "budget_used": _rounded(self.spending.used_share),
            "labels_kept": self.meter.kept,
            "engines": self._engines(),
        }

    def _engines(self) -> Mapping[str, Mapping[str, Any]]:
        engines = dict[str, Mapping[str, Any]]()
        for name, health in self.servers().items():
            engines[name] = {
                "servers_up": health.up,
                "servers_down": health.down,
                "paused": health.is_paused,
                "in_flight": health.in_flight,
                "faults": self.meter.faults_of(name),
            }
        return engines

    def _stages(self) -> Sequence[str]:
        """Return the stages that have started, in the order of the run."""
        # Copied before the loop: the run adds stages in another thread meanwhile.
        stages = dict.fromkeys([*self.meter.done, *self.meter.total])
        return [stage for stage in stages if self.meter.done[stage] or self.meter.total[stage]]

    def _count(self, stage: str) -> str:
        text = str(self.meter.finished(stage))
        total = self.meter.total.get(stage)
        if total:
            text += f"/{total}"
        failed = self.meter.failed[stage]
        if failed:
            text += f" ({failed} failed)"
        if stage == "labels" and self.meter.done[stage]:
            text += f" ({self.meter.kept / self.meter.done[stage]:.0%} kept)"
        return text

    def _totals(self) -> Sequence[str]:
        """Return texts about the tokens, their price, and the time."""
        meter = self.meter
        rate = meter.generated_tokens / max(meter.seconds, 1e-9)
        tokens = (
            f"{meter.rollouts} rollouts, {meter.generated_tokens} tokens written ({rate:.0f}/s), "
            f"{meter.prompt_tokens} read"
        )
        if self.cost is not None:
            tokens += f", cost {self.cost:.2f}"
        used = self.spending.used_share
        if used:
            tokens += f", {used:.0%} of the budget used"
        left = meter.seconds_left
        time = _duration(meter.seconds)
        if left:
            time += f", about {_duration(left)} left at the mean rate so far"
        return [tokens, time, *self._server_lines()]

    def _server_lines(self) -> Sequence[str]:
        """Return a text about the servers of each engine that has some."""
        lines = list[str]()
        for name, health in self.servers().items():
            text = (
                f"{name}: {health.up} of {health.up + health.down} servers up,"
                f" {health.in_flight} requests open"
            )
            faults = sum(self.meter.faults_of(name).values())
            if faults:
                text += f", {faults} faults so far"
            if health.is_paused:
                text += ", paused until a server answers"
            lines.append(text)
        return lines

    @property
    def cost(self) -> float | None:
        """The price of the tokens of this run; None without prices."""
        return self.spending.cost


def _duration(seconds: float) -> str:
    """Return a time as `[D days, ]H:MM:SS`."""
    return str(timedelta(seconds=round(seconds)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
