"""What the driver itself costs beside a fast engine: `python -m benchmarks.overhead` (see `README.md`)."""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import psutil  # type: ignore[import-untyped]
from prefect import flow

from annotators.context import AnnotationContext
from annotators.failures import abstention
from benchmarks._paced import Paced, Sums
from pipelines.__main__ import FRUGAL, QUIET
from pipelines.run import flow as flows
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.prefect_server import reachable_server
from stepmark.records import Annotation, Problem, Trace
from storage.dataset.dataset import Dataset

__all__ = ["main"]

TRACES_PER_PROBLEM = 4
TARGET = 0.05
NOTHING = "nothing"
METHODS: Mapping[str, Mapping[str, Any]] = {
    "binary_search": {"rollouts": 8},
    "adaptive_search": {},
    NOTHING: {},
}
TICK_SECONDS = 0.25
"""To be woken costs a third of a millisecond: twenty looks a second would be a tenth of what is measured."""
TICKS_PER_LOOK = 4
"""At the memory, which costs more than a look at the clock."""
MIB = 1 << 20


@dataclass(frozen=True)
class Nothing:
    """A method that says nothing of any step and buys nothing: what is left is what every run costs."""

    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Abstain."""
        return abstention(trace, "nothing is asked")


class Watch:
    """How late the event loop is with what is due, and how much memory the process has; cheap, since it counts as the driver's."""

    def __init__(self) -> None:
        self.late = list[float]()
        self.peak_bytes = 0

    async def look(self) -> None:
        """Until cancelled."""
        process = psutil.Process()
        for tick in itertools.count():
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.late.append(time.perf_counter() - due)
            if tick % TICKS_PER_LOOK == 0:
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)


def measured(traces: int, tokens_per_second: float, pace: float, method: str) -> dict[str, Any]:
    """One whole run, as `stepmark run` does it, in a process that does nothing else; the engine is `pace` times as fast as it counts."""
    engine, watch = Paced(tokens_per_second=pace * tokens_per_second), Watch()
    with TemporaryDirectory(prefix="stepmark-overhead-") as folder, reachable_server():
        job = _job(engine, traces, folder, method)

        async def whole() -> None:
            looking = asyncio.create_task(watch.look())
            try:
                await flows._run_stages(job, makes_traces=True)
            finally:
                looking.cancel()

        before, busy = time.perf_counter(), time.process_time()
        asyncio.run(flow(name="overhead")(whole)())
        seconds, cpu = time.perf_counter() - before, time.process_time() - busy - engine.cpu_seconds
    late = [1000 * each for each in watch.late]
    return {
        "traces": job.meter.done["traces"],
        "rollouts": job.meter.rollouts,
        "generated_tokens": job.meter.generated_tokens,
        "seconds": round(seconds, 1),
        "engine_busy": round(job.meter.generated_tokens / engine.tokens_per_second / seconds, 3),
        "driver_cpu_seconds": round(cpu, 1),
        "driver_share": round(cpu * tokens_per_second / job.meter.generated_tokens, 4),
        "peak_mib": round(watch.peak_bytes / MIB),
        "loop_late_ms": {
            "median": round(statistics.median(late), 1),
            "p99": round(statistics.quantiles(late, n=100, method="inclusive")[98], 1),
            "most": round(max(late)),
        },
    }


def _job(engine: Paced, traces: int, folder: str, method: str) -> Job:
    """A run file as a user would write it, but for its problems and its engine, which are no plugins."""
    tables = {
        "dataset": folder,
        "problems": {"use": "word_problems"},
        "engine": {"use": "scripted"},
        "generate": {"traces_per_problem": TRACES_PER_PROBLEM},
        "annotators": [
            {"use": "binary_search" if method == NOTHING else method, **METHODS[method]}
        ],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
    }
    built = planning.build(parse(tables, "the benchmark's run file"))
    annotators = dict(built.annotators)
    if method == NOTHING:
        for name, spec in built.annotators.items():
            annotators[name] = replace(spec, plugin=Nothing())
    plan = replace(
        built, source=Sums(count=traces // TRACES_PER_PROBLEM), engine=engine, annotators=annotators
    )
    return Job(plan=plan, dataset=Dataset(folder), meter=Meter())


def alone(traces: int, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own, so that memory is counted from the start."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(
            measured, traces, options.tokens_per_second, options.pace, options.method
        ).result()


def summary(options: argparse.Namespace, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All runs; the growth of memory is that of the last over the first."""
    growth = round(runs[-1]["peak_mib"] / runs[0]["peak_mib"], 2)
    return {
        "tokens_per_second": options.tokens_per_second,
        "pace": options.pace,
        "method": options.method,
        "target": TARGET,
        "memory_growth": growth,
        "runs": list(runs),
    }


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the JSON alone."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument(
        "--traces",
        type=int,
        nargs="+",
        default=[1000, 10000],
        help="sizes of the runs, one after the other",
    )
    parser.add_argument(
        "--tokens-per-second", type=float, default=20_000.0, help="of the engine that is mimicked"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="binary_search",
        help=f"that labels the traces; '{NOTHING}' tells what every run costs",
    )
    parser.add_argument(
        "--pace", type=float, default=1.0, help="run so many times as fast, which is sooner known"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; exit status 1 when the driver's share of the largest run is above the target."""
    options = _options()
    for name, value in (QUIET | FRUGAL).items():
        os.environ.setdefault(name, value)
    runs = list[dict[str, Any]]()
    for traces in options.traces:
        runs.append(alone(traces, options))
        say(str(runs[-1]))
    told = summary(options, runs)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    raise SystemExit(runs[-1]["driver_share"] > TARGET)


if __name__ == "__main__":
    main()
