"""Live progress of a run: bars on a terminal, a line every few seconds in a log."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.run.meter import Meter

__all__ = ["progress_bar"]

REFRESH_SECONDS = 0.5
LOG_SECONDS = 15.0
BAR_CHARACTERS = 24


@contextmanager
def progress_bar(meter: Meter, console: Console | None = None) -> Iterator[None]:
    """Show the meter on standard error while the block runs.

    A thread does it, so that a busy event loop does not stop the display.
    """
    console = console or Console(stderr=True)
    finished = threading.Event()
    display = _show_bars if console.is_terminal else _log_lines
    thread = threading.Thread(target=display, args=(console, meter, finished), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _show_bars(console: Console, meter: Meter, finished: threading.Event) -> None:
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while not finished.wait(REFRESH_SECONDS):
            live.update(_bars(meter), refresh=True)


def _log_lines(console: Console, meter: Meter, finished: threading.Event) -> None:
    while not finished.wait(LOG_SECONDS):
        counts = "".join(f"{stage} {_count(meter, stage)}, " for stage in _started_stages(meter))
        console.print(f"{counts}{_rates(meter)}", markup=False, highlight=False, soft_wrap=True)


def _bars(meter: Meter) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in _started_stages(meter):
        done = meter.done[stage]
        # A stage without a known total, such as the problems of a source, gets a full bar.
        total = meter.total.get(stage, done)
        filled = BAR_CHARACTERS * done // max(total, 1)
        bar = "━" * filled + "╌" * (BAR_CHARACTERS - filled)
        table.add_row(stage, bar, _count(meter, stage))
    table.add_row("", _rates(meter), "")
    return table


def _started_stages(meter: Meter) -> Sequence[str]:
    """Return the stages that have started, in the order of the run."""
    # Copied before the loop: the run adds stages in another thread meanwhile.
    stages = dict.fromkeys([*meter.done, *meter.total])
    return [stage for stage in stages if meter.done[stage] or meter.total[stage]]


def _count(meter: Meter, stage: str) -> str:
    text = str(meter.done[stage])
    total = meter.total.get(stage)
    if total:
        text += f"/{total}"
    failed = meter.failed[stage]
    if failed:
        text += f" ({failed} failed)"
    return text


def _rates(meter: Meter) -> str:
    seconds = max(meter.seconds, 1e-9)
    return (
        f"{meter.rollouts} rollouts, "
        f"{meter.generated_tokens} tokens written ({meter.generated_tokens / seconds:.0f}/s), "
        f"{meter.prompt_tokens} read, {meter.seconds:.0f} s"
    )
