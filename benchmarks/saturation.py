"""How much of vLLM's speed a run leaves, stage by stage: `python -m benchmarks.saturation` (see `README.md`)."""

import argparse
import asyncio
import json
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._passes import AllAtOnce, OneAtATime, Pass, Product, Way
from benchmarks._targets import MISSED, beside, of_rounds, worst
from benchmarks._workload import GENERATION, TRACES_PER_PROBLEM, Stage, labelling, writing
from engines import vllm
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.plan import Plan
from stepmark.records import Problem

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
MONTE_CARLO, BINARY_SEARCH = "monte_carlo", "binary_search"
# A seed of its own: problems that neither the demo nor the tests use.
PROBLEM_SEED = 512
PRODUCT, BARE, LOOP = "product", "bare vLLM", "one at a time"
OF_BARE = {GENERATION: 0.90, MONTE_CARLO: 0.90, BINARY_SEARCH: 0.80}
"""The least share of bare vLLM's tokens per second."""
OF_LOOP = 3.0
"""The least ratio to the loop of the peers."""

Round = Mapping[str, Pass]


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start vLLM once, and time every stage on it."""
    plan = _plan(options, folder)
    engine = plan.engine
    assert isinstance(engine, vllm.VLLM)
    told = dict[str, Any]()
    say("starting vLLM")
    try:
        running = await engine._running()
        for stage in _stages(plan, options):
            product = Product(plan=plan, running=running, stage=stage, folder=folder)
            others: dict[str, Way] = {
                BARE: AllAtOnce(running=running),
                LOOP: OneAtATime(running=running, seconds=options.loop_seconds),
            }
            rounds = await _rounds(product, others, options.rounds)
            told[stage.name] = {"in_flight": stage.in_flight, **summary(stage.name, rounds)}
    finally:
        await engine.close()
    return told


def _stages(plan: Plan, options: argparse.Namespace) -> Sequence[Stage]:
    assert plan.source is not None
    problems = [row for row in plan.source.problems() if isinstance(row, Problem)]
    return [
        writing(problems, options.written),
        labelling(MONTE_CARLO, problems, options.sampled, solved=False),
        labelling(BINARY_SEARCH, problems, options.searched, solved=True),
    ]


async def _rounds(product: Product, others: Mapping[str, Way], count: int) -> list[Round]:
    """Each way once a round, every other round backwards, so that a machine that slows down or speeds up favours none.

    What the others are given is what the product asked last: the same every time, since seeds derive from content.
    """
    ways: dict[str, Way] = {PRODUCT: product, **others}
    rounds = list[Round]()
    for number in range(count):
        done = dict[str, Pass]()
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            done[name] = await ways[name].run(product.asked)
            say(
                f"{product.stage.name}, round {number + 1}, {name}: {done[name].generated_tokens} tokens in {done[name].seconds:.1f} s"
            )
        rounds.append(done)
    return rounds


def summary(stage: str, rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over rounds; ratios are taken within a round."""
    of_bare, of_loop = (
        of_rounds([one[PRODUCT].speed / one[way].speed for one in rounds]) for way in (BARE, LOOP)
    )
    targets = beside(of_bare, least=OF_BARE[stage]), beside(of_loop, least=OF_LOOP)
    free = statistics.median(one[PRODUCT].free_speed / one[BARE].free_speed for one in rounds)
    return {
        "tokens_per_second": {
            name: round(statistics.median(one[name].speed for one in rounds)) for name in rounds[0]
        },
        "of_bare": round(of_bare.value, 3),
        "of_bare_target": OF_BARE[stage],
        "of_bare_by_free_cores": round(free, 3),
        "of_loop": round(of_loop.value, 2),
        "of_loop_target": OF_LOOP,
        "verdict": worst(target["verdict"] for target in targets),
        "rounds": [{name: asdict(done) for name, done in one.items()} for one in rounds],
    }


def table(told: Mapping[str, Any]) -> Table:
    """One row a stage and way, of the first round; the ratios are medians over all rounds."""
    drawn = Table(
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
    for stage, says in told.items():
        ratios = {
            PRODUCT: says["verdict"],
            BARE: f"{says['of_bare']} ×, target {says['of_bare_target']} (by free cores {says['of_bare_by_free_cores']})",
            LOOP: f"{says['of_loop']} ×, target {says['of_loop_target']}",
        }
        for name, done in says["rounds"][0].items():
            drawn.add_row(
                *(
                    stage,
                    name,
                    f"{done['completions']:,}",
                    f"{done['generated_tokens']:,}",
                    f"{done['seconds']:.1f}",
                ),
                *(
                    f"{says['tokens_per_second'][name]:,}",
                    f"{done['thin_share']:.0%}",
                    f"{done['cached_share']:.0%}",
                ),
                *(f"{done['own_cores']:.2f}", f"{done['foreign_cores']:.2f}", ratios.get(name, "")),
            )
    return drawn


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    """A run file as a user would write it: the demo's, with vLLM as its engine."""
    engine = {
        "use": "vllm",
        "model": options.model,
        "dtype": options.dtype,
        "options": {"max_model_len": 1024},
    }
    most = max(options.written, options.sampled, options.searched) // TRACES_PER_PROBLEM
    problems = {
        "use": "word_problems",
        "count": most,
        "seed": PROBLEM_SEED,
        "min_steps": options.min_steps,
        "max_steps": options.max_steps,
    }
    generate = {
        "prompt": "pocket",
        "traces_per_problem": TRACES_PER_PROBLEM,
        "temperature": 1.0,
        "max_tokens": 320,
        "split": "line",
    }
    return planning.build(
        parse(
            {
                "dataset": str(folder),
                "problems": problems,
                "engine": engine,
                "generate": generate,
                "annotators": [
                    {"use": name, "rollouts": options.rollouts}
                    for name in (MONTE_CARLO, BINARY_SEARCH)
                ],
            },
            "the benchmark's run file",
        )
    )


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the JSON alone."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument(
        "--written", type=int, default=512, help="traces in generation, all at once"
    )
    parser.add_argument(
        "--sampled", type=int, default=64, help="wrong traces under Monte Carlo, all at once"
    )
    parser.add_argument(
        "--searched", type=int, default=256, help="wrong traces under binary search, all at once"
    )
    parser.add_argument("--min-steps", type=int, default=4, help="of a problem")
    parser.add_argument("--max-steps", type=int, default=6, help="of a problem")
    parser.add_argument("--rollouts", type=int, default=3, help="completions a prefix")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is timed")
    parser.add_argument(
        "--loop-seconds",
        type=float,
        default=6.0,
        help="after which the loop over single requests is stopped",
    )
    parser.add_argument(
        "--model",
        default=str(ROOT / "engines" / "pocket_model"),
        help="folder or Hub name; the pocket model by default",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help="as vLLM takes it; without instructions for bfloat16 a CPU is slow in it",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print a table and JSON; exit status 1 where a target is missed, by more than so few rounds may be off."""
    warnings.simplefilter("ignore")  # Torch's and vLLM's, of each other
    options = _options()
    with TemporaryDirectory(prefix="stepmark-saturation-") as folder:
        told = asyncio.run(measure(options, Path(folder)))
    Console(stderr=True, width=160).print(table(told))
    sys.stdout.write(
        json.dumps(
            {"setting": {**vars(options), "model": Path(options.model).name}, "stages": told},
            indent=2,
        )
        + "\n"
    )
    raise SystemExit(worst(says["verdict"] for says in told.values()) == MISSED)


if __name__ == "__main__":
    main()
