"""Measure the cost of the driver next to a fast engine."""

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from annotators.context import AnnotationContext
from annotators.failures import abstention
from benchmarks.common.console import print_json, print_progress
from benchmarks.common.environment import limit_numpy_threads, silence_libraries
from benchmarks.common.run_files import build_plan
from benchmarks.overhead.loop_monitor import LoopMonitor
from benchmarks.overhead.paced_engine import PacedEngine, Sums
from benchmarks.overhead.start import measure_start
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.retries import RETRIES, with_retries
from pipelines.run.stages import Work, run_stages
from stepmark.records import Annotation, Problem, Trace
from storage.dataset.dataset import Dataset

__all__ = ["main"]

TRACES_PER_PROBLEM = 4
# The largest share of the engine's time that the driver may take.
TARGET = 0.05
NOTHING = "nothing"
METHODS: Mapping[str, Mapping[str, Any]] = {
    "binary_search": {"rollouts": 8},
    "adaptive_search": {},
    NOTHING: {},
}
MIB = 1 << 20


@dataclass(frozen=True)
class Abstaining:
    """A method that abstains on every trace, so that only the costs of every run remain."""

    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Abstain."""
        return abstention(trace, "this method abstains")


def measure_run(
    traces: int, tokens_per_second: float, pace: float, method: str
) -> Mapping[str, Any]:
    """Run all stages as `stepmark run` does and return the measured costs.

    The engine is `pace` times as fast as `tokens_per_second`, with which the driver's time is
    compared.
    """
    engine = PacedEngine(tokens_per_second=pace * tokens_per_second)
    monitor = LoopMonitor()
    with TemporaryDirectory(prefix="stepmark-overhead-") as folder:
        job = _job(engine, traces, folder, method)

        def as_task(name: str, work: Work) -> Work:
            del name
            return with_retries(work, job.meter, RETRIES)

        async def run_monitored() -> None:
            watching = asyncio.create_task(monitor.watch())
            try:
                await run_stages(job, as_task, makes_traces=True)
            finally:
                watching.cancel()

        started = time.perf_counter()
        cpu_started = time.process_time()
        asyncio.run(run_monitored())
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started - engine.cpu_seconds
    delays = [1000 * delay for delay in monitor.delays]
    tokens = job.meter.generated_tokens
    return {
        "traces": job.meter.done["traces"],
        "rollouts": job.meter.rollouts,
        "generated_tokens": tokens,
        "seconds": round(seconds, 1),
        "engine_busy": round(tokens / engine.tokens_per_second / seconds, 3),
        "driver_cpu_seconds": round(cpu_seconds, 1),
        "driver_share": round(cpu_seconds * tokens_per_second / tokens, 4),
        "peak_mib": round(monitor.peak_bytes / MIB),
        "loop_late_ms": {
            "median": round(statistics.median(delays), 1),
            "p99": round(statistics.quantiles(delays, n=100, method="inclusive")[98], 1),
            "most": round(max(delays)),
        },
    }


def _job(engine: PacedEngine, traces: int, folder: str, method: str) -> Job:
    # The problems and the engine are no plugins, so they replace those of a valid run file. The
    # same holds for the method `nothing`.
    plugin_id = method
    if method == NOTHING:
        plugin_id = "binary_search"
    plan = build_plan(
        {
            "dataset": folder,
            "problems": {"use": "word_problems"},
            "engine": {"use": "scripted"},
            "generate": {"traces_per_problem": TRACES_PER_PROBLEM},
            "annotators": [{"use": plugin_id, **METHODS[method]}],
            "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
        }
    )
    annotators = dict(plan.annotators)
    if method == NOTHING:
        for name, spec in plan.annotators.items():
            annotators[name] = replace(spec, plugin=Abstaining())
    source = Sums(count=traces // TRACES_PER_PROBLEM)
    plan = replace(plan, source=source, annotators=annotators)
    plan = plan.with_engines(plan.engines.wrap(lambda _: engine))
    return Job(plan=plan, dataset=Dataset(folder), meter=Meter())


def measure_in_new_process(traces: int, options: argparse.Namespace) -> Mapping[str, Any]:
    """Measure a run in a new process, whose memory contains nothing of earlier runs."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(
            measure_run, traces, options.tokens_per_second, options.pace, options.method
        )
        return result.result()


def summarize(options: argparse.Namespace, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings, all runs, and the memory of the last run relative to the first."""
    growth = round(runs[-1]["peak_mib"] / runs[0]["peak_mib"], 2)
    return {
        "tokens_per_second": options.tokens_per_second,
        "pace": options.pace,
        "method": options.method,
        "target": TARGET,
        "memory_growth": growth,
        "runs": list(runs),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument(
        "--traces",
        type=int,
        nargs="+",
        default=[1000, 10000],
        help="the number of traces of each run",
    )
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        default=20_000.0,
        help="the speed of the engine that is simulated",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="binary_search",
        help=f"the method that labels the traces; '{NOTHING}' measures the costs of every run",
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="accelerate the engine by this factor, for a faster measurement",
    )
    parser.add_argument(
        "--start",
        type=int,
        metavar="ROUNDS",
        help="measure only the start of the commands, so many times each",
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; the exit status is 1 if a target is missed."""
    options = _options()
    if options.start:
        _measure_start(options.start)
        return
    # The process of each run inherits the variables before it imports NumPy.
    silence_libraries()
    limit_numpy_threads()
    runs = list[Mapping[str, Any]]()
    for traces in options.traces:
        run = measure_in_new_process(traces, options)
        runs.append(run)
        print_progress(str(run))
    print_json(summarize(options, runs))
    if runs[-1]["driver_share"] > TARGET:
        raise SystemExit(1)


def _measure_start(rounds: int) -> None:
    figures = measure_start(rounds)
    print_json(figures)
    for name in ("run", "label"):
        command = figures["commands"][name]
        if any(command[key] > target for key, target in figures["targets"].items()):
            raise SystemExit(1)
