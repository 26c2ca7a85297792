"""Measure how much of vLLM's throughput a run achieves, stage by stage."""

import argparse
import asyncio
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.records import problems_in
from benchmarks.common.run_files import build_plan, pocket_generation
from benchmarks.common.stage import GENERATION, Stage
from benchmarks.common.targets import MISSED, compare_with_target, median_ratio, worst_verdict
from benchmarks.saturation.passes import BareVLLM, RunStage, SequentialLoop, Way
from benchmarks.saturation.stopwatch import Pass
from benchmarks.saturation.workload import (
    TRACES_PER_PROBLEM,
    annotation_stage,
    generation_stage,
)
from engines.pocket import SHIPPED
from engines.vllm import VLLM
from pipelines.run.plan import Plan

__all__ = ["BARE", "LOOP", "PRODUCT", "main", "summarize", "summary_table"]

MONTE_CARLO = "monte_carlo"
BINARY_SEARCH = "binary_search"
# Different from the problems of the demo and of the tests.
PROBLEM_SEED = 512
# The ways of making completions; keys in the JSON.
PRODUCT = "product"
BARE = "bare vLLM"
LOOP = "one at a time"
# The least tokens per second relative to bare vLLM, by stage. Binary search waits for results.
BARE_TARGETS = {GENERATION: 0.90, MONTE_CARLO: 0.90, BINARY_SEARCH: 0.80}
# The least tokens per second relative to the loop of other implementations.
LOOP_TARGET = 3.0
COLUMNS = (
    "stage",
    "way",
    "completions",
    "tokens",
    "s",
    "tokens/s",
    "thin",
    "cached",
    "driver",
    "others",
    "product is",
)

Round = Mapping[str, Pass]
"""The passes of one round, by way."""


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start vLLM once, time every stage on it and return the summaries by stage."""
    plan = _plan(options, folder)
    engine = plan.engine
    assert isinstance(engine, VLLM)
    summaries = dict[str, Any]()
    print_progress("starting vLLM")
    try:
        running = await engine.ensure_running()
        for stage in _stages(plan, options):
            run_stage = RunStage(plan=plan, running=running, stage=stage, folder=folder)
            baselines: dict[str, Way] = {
                BARE: BareVLLM(running=running),
                LOOP: SequentialLoop(running=running, seconds=options.loop_seconds),
            }
            rounds = await _time_rounds(run_stage, baselines, options.rounds)
            summaries[stage.name] = {
                "in_flight": stage.in_flight,
                **summarize(stage.name, rounds),
            }
    finally:
        await engine.close()
    return summaries


def _stages(plan: Plan, options: argparse.Namespace) -> Sequence[Stage]:
    assert plan.source is not None
    problems = problems_in(plan.source)
    return [
        generation_stage(problems, options.written),
        annotation_stage(MONTE_CARLO, problems, options.sampled, with_gold=False),
        annotation_stage(BINARY_SEARCH, problems, options.searched, with_gold=True),
    ]


async def _time_rounds(
    run_stage: RunStage, baselines: Mapping[str, Way], count: int
) -> Sequence[Round]:
    """Time each way once per round.

    Every second round is in reverse order, so that a machine whose speed changes favours no way.
    The baselines repeat the last requests of the stage, which are equal in all rounds because seeds
    derive from content.
    """
    ways: dict[str, Way] = {PRODUCT: run_stage, **baselines}
    rounds = list[Round]()
    for number in range(count):
        names = list(ways)
        if number % 2 == 1:
            names.reverse()
        passes = dict[str, Pass]()
        for name in names:
            measured = await ways[name].run(run_stage.requests)
            passes[name] = measured
            print_progress(
                f"{run_stage.stage.name}, round {number + 1}, {name}:"
                f" {measured.generated_tokens} tokens in {measured.seconds:.1f} s"
            )
        rounds.append(passes)
    return rounds


def summarize(stage: str, rounds: Sequence[Round]) -> dict[str, Any]:
    """Return medians over rounds and the verdict. Ratios are computed within a round."""
    ratios_to_bare = list[float]()
    ratios_to_loop = list[float]()
    ratios_by_free_cores = list[float]()
    for passes in rounds:
        product = passes[PRODUCT]
        ratios_to_bare.append(product.speed / passes[BARE].speed)
        ratios_to_loop.append(product.speed / passes[LOOP].speed)
        ratios_by_free_cores.append(product.free_speed / passes[BARE].free_speed)
    to_bare = median_ratio(ratios_to_bare)
    to_loop = median_ratio(ratios_to_loop)
    by_free_cores = statistics.median(ratios_by_free_cores)
    verdicts = [
        compare_with_target(to_bare, least=BARE_TARGETS[stage])["verdict"],
        compare_with_target(to_loop, least=LOOP_TARGET)["verdict"],
    ]
    tokens_per_second = dict[str, int]()
    for name in rounds[0]:
        tokens_per_second[name] = round(statistics.median(passes[name].speed for passes in rounds))
    rows = list[Mapping[str, Any]]()
    for passes in rounds:
        rows.append({name: asdict(measured) for name, measured in passes.items()})
    return {
        "tokens_per_second": tokens_per_second,
        "of_bare": round(to_bare.value, 3),
        "of_bare_target": BARE_TARGETS[stage],
        "of_bare_by_free_cores": round(by_free_cores, 3),
        "of_loop": round(to_loop.value, 2),
        "of_loop_target": LOOP_TARGET,
        "verdict": worst_verdict(verdicts),
        "rounds": rows,
    }


def summary_table(summaries: Mapping[str, Any]) -> Table:
    """Return a table with one row per stage and way.

    Speeds and ratios are medians over all rounds, the other columns are those of the first round.
    """
    table = Table(*COLUMNS)
    for stage, summary in summaries.items():
        comparisons = {
            PRODUCT: summary["verdict"],
            BARE: (
                f"{summary['of_bare']} ×, target {summary['of_bare_target']}"
                f" (by free cores {summary['of_bare_by_free_cores']})"
            ),
            LOOP: f"{summary['of_loop']} ×, target {summary['of_loop_target']}",
        }
        for name, measured in summary["rounds"][0].items():
            table.add_row(
                stage,
                name,
                f"{measured['completions']:,}",
                f"{measured['generated_tokens']:,}",
                f"{measured['seconds']:.1f}",
                f"{summary['tokens_per_second'][name]:,}",
                f"{measured['thin_share']:.0%}",
                f"{measured['cached_share']:.0%}",
                f"{measured['own_cores']:.2f}",
                f"{measured['foreign_cores']:.2f}",
                comparisons.get(name, ""),
            )
    return table


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    most_traces = max(options.written, options.sampled, options.searched)
    methods = list[Mapping[str, Any]]()
    for name in (MONTE_CARLO, BINARY_SEARCH):
        methods.append({"use": name, "rollouts": options.rollouts})
    return build_plan(
        {
            "dataset": str(folder),
            "problems": {
                "use": "word_problems",
                "count": most_traces // TRACES_PER_PROBLEM,
                "seed": PROBLEM_SEED,
                "min_steps": options.min_steps,
                "max_steps": options.max_steps,
            },
            "engine": {
                "use": "vllm",
                "model": options.model,
                "dtype": options.dtype,
                "options": {"max_model_len": 1024},
            },
            "generate": pocket_generation(TRACES_PER_PROBLEM),
            "annotators": methods,
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument(
        "--written", type=int, default=512, help="traces in generation, all concurrent"
    )
    parser.add_argument(
        "--sampled", type=int, default=64, help="wrong traces in Monte Carlo, all concurrent"
    )
    parser.add_argument(
        "--searched", type=int, default=256, help="wrong traces in binary search, all concurrent"
    )
    parser.add_argument("--min-steps", type=int, default=4, help="fewest steps of a problem")
    parser.add_argument("--max-steps", type=int, default=6, help="most steps of a problem")
    parser.add_argument("--rollouts", type=int, default=3, help="completions per prefix")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is timed")
    parser.add_argument(
        "--loop-seconds",
        type=float,
        default=6.0,
        help="stop the loop over single requests after this time",
    )
    parser.add_argument(
        "--model", default=str(SHIPPED), help="folder or Hub name; the pocket model by default"
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help="vLLM's data type; a CPU without bfloat16 instructions is slow with bfloat16",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print a table and JSON; the exit status is 1 if a target is missed."""
    warnings.simplefilter("ignore")  # warnings of PyTorch and vLLM about each other
    options = _options()
    with TemporaryDirectory(prefix="stepmark-saturation-") as folder:
        summaries = asyncio.run(measure(options, Path(folder)))
    # As wide as the table, also if standard error is a file.
    Console(stderr=True, width=160).print(summary_table(summaries))
    # Without the folders of this machine.
    setting = {**vars(options), "model": Path(options.model).name}
    print_json({"setting": setting, "stages": summaries})
    if worst_verdict(summary["verdict"] for summary in summaries.values()) == MISSED:
        raise SystemExit(1)
