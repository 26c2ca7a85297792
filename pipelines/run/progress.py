"""Live progress of a run: bars on a terminal, a line now and then in a log."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.run.meter import Meter

__all__ = ["shown"]

REFRESH_SECONDS = 0.5
LOG_SECONDS = 15.0
BAR = 24


@contextmanager
def shown(meter: Meter, console: Console | None = None) -> Iterator[None]:
    """Show the meter while the block runs, from a thread of its own, on standard error."""
    console = console or Console(stderr=True)
    over = threading.Event()
    show = _live if console.is_terminal else _log
    thread = threading.Thread(target=show, args=(console, meter, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _live(console: Console, meter: Meter, over: threading.Event) -> None:
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while not over.wait(REFRESH_SECONDS):
            live.update(_table(meter), refresh=True)


def _log(console: Console, meter: Meter, over: threading.Event) -> None:
    while not over.wait(LOG_SECONDS):
        done = "".join(f"{stage} {_count(meter, stage)}, " for stage in _stages(meter))
        console.print(f"{done}{_rates(meter)}", markup=False, highlight=False, soft_wrap=True)


def _table(meter: Meter) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in _stages(meter):
        done = meter.done[stage]
        total = meter.total.get(stage, done)
        filled = BAR * done // max(total, 1)
        table.add_row(stage, "━" * filled + "╌" * (BAR - filled), _count(meter, stage))
    table.add_row("", _rates(meter), "")
    return table


def _stages(meter: Meter) -> Sequence[str]:
    """The stages begun so far, in the order of the run; copies, since the run goes on counting meanwhile."""
    begun = dict.fromkeys([*meter.done, *meter.total])
    return [stage for stage in begun if meter.done[stage] or meter.total[stage]]


def _count(meter: Meter, stage: str) -> str:
    done, total, failed = meter.done[stage], meter.total.get(stage), meter.failed[stage]
    return f"{done}{f'/{total}' if total else ''}{f' ({failed} failed)' if failed else ''}"


def _rates(meter: Meter) -> str:
    seconds = max(meter.seconds, 1e-9)
    return (
        f"{meter.rollouts} rollouts, {meter.generated_tokens} tokens written ({meter.generated_tokens / seconds:.0f}/s),"
        f" {meter.prompt_tokens} read, {meter.seconds:.0f} s"
    )
