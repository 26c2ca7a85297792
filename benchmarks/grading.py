"""Measure how many rollouts are graded per second; `README.md` describes the benchmark."""

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.concurrency import gather_or_cancel
from benchmarks.common.console import print_json, print_progress
from benchmarks.common.environment import limit_numpy_threads
from benchmarks.common.records import problems_in
from pipelines.run.graders import grade
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem
from verifiers.isolation.pool import VerifierPool

__all__ = ["main"]

# Different from the problems of the demo and of the tests.
PROBLEM_SEED = 20_000
# The shares of truncated rollouts and of correct ones together with the truncated.
TRUNCATED = 0.02
CORRECT = 0.6
# Wrong answers of one problem. Each is as frequent as all the following together, because a model
# repeats its mistakes.
WRONG_ANSWERS = 12
# Traces whose rollouts are graded concurrently; each grades one rollout after another, as in a run.
IN_FLIGHT = 512
# Rollouts per second of CPU time.
TARGET = 20_000


@dataclass(frozen=True, kw_only=True)
class GradingInput:
    """A completed rollout: its whole text, how it ended, and the reference answer."""

    text: str
    finish_reason: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One timed pass over all rollouts, including the start of the workers."""

    seconds: float
    core_seconds: float
    """CPU time of this process, in which grading is one thread. Other programs do not change it."""
    outcomes: Counter[str]


def make_rollouts(problems: int, rollouts: int) -> Sequence[GradingInput]:
    """Return solutions of word problems: correct ones, wrong answers and a few truncated ones."""
    rng = random.Random(PROBLEM_SEED)
    source = WordProblems(count=problems, seed=PROBLEM_SEED)
    solvable = problems_in(source)
    return [_rollout(rng, rng.choice(solvable)) for _ in range(rollouts)]


def _rollout(rng: random.Random, problem: Problem) -> GradingInput:
    gold = problem.metadata["gold"]
    reference = problem.answer
    assert reference is not None, "word problems have answers"
    draw = rng.random()
    if draw < TRUNCATED:
        text = gold[: len(gold) // 2]
        return GradingInput(text=text, finish_reason="length", reference=reference)
    if draw < CORRECT:
        # Two texts with the same answer, since a model's texts differ more than its answers.
        text = gold + " " * rng.randrange(2)
        return GradingInput(text=text, finish_reason="stop", reference=reference)
    difference = 1
    while difference < WRONG_ANSWERS and rng.random() >= 0.5:
        difference += 1
    steps = "".join(gold.splitlines(keepends=True)[:-1])
    text = f"{steps}The answer is {int(reference) + difference}."
    return GradingInput(text=text, finish_reason="stop", reference=reference)


async def measure(problems: int, rollouts: int, rounds: int) -> dict[str, Any]:
    """Grade all rollouts once per round, each time with new workers, and return the medians."""
    print_progress(f"writing {rollouts} rollouts")
    inputs = make_rollouts(problems, rollouts)
    passes = list[Pass]()
    for number in range(rounds):
        measured = await _grade_all(inputs)
        passes.append(measured)
        print_progress(f"round {number + 1}  {_describe(len(inputs), measured)}")
    return _summarize(problems, inputs, passes)


def _summarize(
    problems: int, inputs: Sequence[GradingInput], passes: Sequence[Pass]
) -> dict[str, Any]:
    count = len(inputs)
    # Each of them is decided once by a worker.
    pairs = {(rollout.text.rpartition("\n")[2], rollout.reference) for rollout in inputs}
    core_speeds = list[float]()
    speeds = list[float]()
    rounds = list[Mapping[str, float]]()
    for measured in passes:
        core_speeds.append(count / measured.core_seconds)
        speeds.append(count / measured.seconds)
        row = {
            "seconds": round(measured.seconds, 2),
            "core_seconds": round(measured.core_seconds, 2),
        }
        rounds.append(row)
    return {
        "rollouts": count,
        "problems": problems,
        "pairs": len(pairs),
        "outcomes": dict(passes[-1].outcomes),
        "rollouts_per_core_second": round(statistics.median(core_speeds)),
        "rollouts_per_second": round(statistics.median(speeds)),
        "target": TARGET,
        "rounds": rounds,
    }


def _describe(rollouts: int, measured: Pass) -> str:
    speed = rollouts / measured.seconds
    core_speed = rollouts / measured.core_seconds
    return (
        f"{measured.seconds:6.1f} s {speed:8.0f} rollouts/s"
        f"   CPU {measured.core_seconds:6.1f} s {core_speed:8.0f} rollouts/s"
    )


async def _grade_all(inputs: Sequence[GradingInput]) -> Pass:
    lanes = [inputs[start::IN_FLIGHT] for start in range(IN_FLIGHT)]
    started = time.perf_counter()
    cpu_started = time.process_time()
    async with VerifierPool() as workers:
        counters = await gather_or_cancel(_grade_lane(workers, lane) for lane in lanes)
        # Read before the workers stop, which is not part of grading.
        seconds = time.perf_counter() - started
        core_seconds = time.process_time() - cpu_started
    return Pass(seconds=seconds, core_seconds=core_seconds, outcomes=sum(counters, Counter[str]()))


async def _grade_lane(workers: VerifierPool, lane: Sequence[GradingInput]) -> Counter[str]:
    """Grade the rollouts one after another and count the outcomes."""
    outcomes = Counter[str]()
    for rollout in lane:
        grading = await grade(workers, rollout.text, rollout.finish_reason, rollout.reference)
        outcomes[grading.outcome.value] += 1
    return outcomes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grading", description=__doc__)
    parser.add_argument("--problems", type=int, default=500, help="number of word problems")
    parser.add_argument(
        "--rollouts", type=int, default=300_000, help="number of rollouts of all problems together"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="how often all rollouts are graded, each time by new workers",
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; the exit status is 1 if the target is missed."""
    options = _options()
    # For the worker processes, which inherit it.
    limit_numpy_threads()
    results = asyncio.run(measure(**vars(options)))
    core_speed = results["rollouts_per_core_second"]
    print_progress(f"{core_speed} rollouts per second of CPU time, target {TARGET}")
    print_json(results)
    if core_speed < TARGET:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
