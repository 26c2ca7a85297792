"""How much of vLLM's speed is left when a sequential method uses it: `python -m benchmarks.saturation` (see `README.md`)."""

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

from benchmarks import _workload
from benchmarks._passes import BareAsync, BareCall, Pass, Product, Way
from engines import vllm
from pipelines import plan as planning
from pipelines.config import parse
from pipelines.plan import Plan

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
METHOD = "binary_search"
# A seed of its own: problems that neither the demo nor the tests use.
PROBLEM_SEED = 512
PRODUCT, BARE_ASYNC, BARE_CALL = "product", "bare, same engine", "bare, LLM.generate"
TARGET = 0.70

Round = Mapping[str, Pass]


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the traces, time all ways in turns, and sum up."""
    plan = _plan(options, folder)
    engine = plan.engine
    assert isinstance(engine, vllm.VLLM)
    try:
        say("starting vLLM and writing traces")
        work = await _workload.write(plan, folder / "written", options.traces)
        running = await engine._running()
        call = await asyncio.to_thread(BareCall.start, engine, running)
        product = Product(plan=plan, running=running, work=work, folder=folder)
        bare: dict[str, Way] = {BARE_ASYNC: BareAsync(running=running), BARE_CALL: call}
        try:
            rounds = await _rounds(product, bare, options.rounds)
        finally:
            call.stop()
    finally:
        await engine.close()
    setting = {name: value for name, value in vars(options).items() if name not in ("rounds", "problems")}
    return setting | {"traces": len(work.wrong), "problems": len(work.problems)} | summary(rounds)


async def _rounds(product: Product, bare: Mapping[str, Way], count: int) -> list[Round]:
    """Each way once a round, every other round backwards, so that a machine that slows down or speeds up favours none.

    What a bare way is given is what the product asked last: the same every time, since seeds derive from content.
    """
    ways: dict[str, Way] = {PRODUCT: product, **bare}
    rounds = list[Round]()
    for number in range(count):
        done = dict[str, Pass]()
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            done[name] = await ways[name].run(product.asked)
            say(f"round {number + 1}  {name:20}{_line(done[name])}")
        rounds.append(done)
    return rounds


def _line(one: Pass) -> str:
    return (
        f"{one.completions:6} completions {one.generated_tokens:8} tokens {one.seconds:7.1f} s {one.speed:7.0f} tokens/s"
        f"   prompts cached {one.cached_share:4.0%}   cores: {one.own_cores:.2f} this process, {one.foreign_cores:.2f} other programs"
    )


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over rounds; the ratio is taken within a round, against the faster of the bare ways."""
    ratios = [one[PRODUCT].speed / max(done.speed for name, done in one.items() if name != PRODUCT) for one in rounds]
    return {
        "tokens_per_second": {name: round(statistics.median(one[name].speed for one in rounds)) for name in rounds[0]},
        "ratio": round(statistics.median(ratios), 3),
        "target": TARGET,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rounds": [{name: asdict(done) for name, done in one.items()} for one in rounds],
    }


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    """A run file as a user would write it: the demo's, with vLLM as its engine."""
    engine = {"use": "vllm", "model": options.model, "dtype": options.dtype, "options": {"max_model_len": 1024}}
    problems = {"use": "word_problems", "count": options.problems, "seed": PROBLEM_SEED, "max_steps": options.max_steps}
    return planning.build(
        parse(
            {
                "dataset": str(folder),
                "problems": problems,
                "engine": engine,
                "generate": {"prompt": "pocket", "traces_per_problem": 8, "temperature": 1.0, "max_tokens": 320, "split": "line"},
                "annotators": [{"use": METHOD, "rollouts": options.rollouts}],
                "shards": {"problems_per_shard": 256},
            },
            "the benchmark's run file",
        )
    )


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the JSON alone."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument("--traces", type=int, default=512, help="wrong traces in flight")
    parser.add_argument("--rollouts", type=int, default=4, help="completions a probe")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is timed")
    parser.add_argument("--problems", type=int, default=8192, help="how many are tried at most to find the traces")
    parser.add_argument("--max-steps", type=int, default=6, help="of a problem")
    parser.add_argument("--model", default=str(ROOT / "engines" / "pocket_model"), help="folder or Hub name; the pocket model by default")
    parser.add_argument("--dtype", default="float32", help="as vLLM takes it; without instructions for bfloat16 a CPU is slow in it")
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; exit status 1 below the target."""
    warnings.simplefilter("ignore")  # Torch's and vLLM's, of each other
    with TemporaryDirectory(prefix="stepmark-saturation-") as folder:
        told = asyncio.run(measure(_options(), Path(folder)))
    say(f"{told['tokens_per_second']} tokens/s; ratio to the faster bare way {told['ratio']}, target {TARGET}")
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    raise SystemExit(told["ratio"] < TARGET)


if __name__ == "__main__":
    main()
