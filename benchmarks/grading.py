"""How many rollouts a second are graded: `python -m benchmarks.grading` (see `README.md`)."""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annotators.concurrency import gather_or_cancel
from pipelines.run.grading import grade
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem
from verifiers.isolation.pool import VerifierPool

__all__ = ["main"]

# A seed of its own: problems that neither the demo nor the tests use.
PROBLEM_SEED = 20_000
RIGHT, TRUNCATED = 0.6, 0.02
WRONG_ANSWERS = 12
"""Of one problem; the first is as frequent as all others together, and so on, as the mistakes of a model are."""
IN_FLIGHT = 512
"""Traces whose rollouts are graded side by side, each one rollout after another, as a method does."""
TARGET = 20_000


@dataclass(frozen=True, kw_only=True)
class Written:
    """A completed rollout: its whole text, how it ended, and the reference of its problem."""

    text: str
    finish_reason: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One timed pass, the start of the workers included."""

    seconds: float
    core_seconds: float
    """Of this process, in which grading is one thread: what the pass takes when nothing else wants the core."""
    outcomes: Counter[str]


def write(problems: int, rollouts: int) -> Sequence[Written]:
    """Gold solutions of word problems, most to their end, the rest with a wrong number for an answer, some broken off."""
    chance = random.Random(PROBLEM_SEED)
    posed = [
        row
        for row in WordProblems(count=problems, seed=PROBLEM_SEED).problems()
        if isinstance(row, Problem)
    ]
    return [_rollout(chance, chance.choice(posed)) for _ in range(rollouts)]


def _rollout(chance: random.Random, problem: Problem) -> Written:
    gold, reference = problem.metadata["gold"], problem.answer
    assert reference is not None, "word problems have answers"
    drawn = chance.random()
    if drawn < TRUNCATED:
        return Written(text=gold[: len(gold) // 2], finish_reason="length", reference=reference)
    if drawn < RIGHT:
        return Written(
            text=gold + " " * chance.randrange(2), finish_reason="stop", reference=reference
        )
    off = next((place for place in range(1, WRONG_ANSWERS) if chance.random() < 0.5), WRONG_ANSWERS)
    lines = gold.splitlines(keepends=True)
    return Written(
        text="".join(lines[:-1]) + f"The answer is {int(reference) + off}.",
        finish_reason="stop",
        reference=reference,
    )


async def measure(problems: int, rollouts: int, rounds: int) -> dict[str, Any]:
    """Write the rollouts, grade them all in fresh workers as often as there are rounds, and sum up."""
    say(f"writing {rollouts} rollouts")
    written = write(problems, rollouts)
    passes = list[Pass]()
    for number in range(rounds):
        passes.append(await _graded(written))
        say(f"round {number + 1}  {_line(len(written), passes[-1])}")
    return {
        "rollouts": len(written),
        "problems": problems,
        "pairs": len({(one.text.rpartition("\n")[2], one.reference) for one in written}),
        "outcomes": dict(passes[-1].outcomes),
        "rollouts_per_core_second": round(
            statistics.median(len(written) / one.core_seconds for one in passes)
        ),
        "rollouts_per_second": round(
            statistics.median(len(written) / one.seconds for one in passes)
        ),
        "target": TARGET,
        "rounds": [
            {"seconds": round(one.seconds, 2), "core_seconds": round(one.core_seconds, 2)}
            for one in passes
        ],
    }


def _line(rollouts: int, one: Pass) -> str:
    return (
        f"{one.seconds:6.1f} s {rollouts / one.seconds:8.0f} rollouts/s"
        f"   of a core {one.core_seconds:6.1f} s {rollouts / one.core_seconds:8.0f} rollouts/s"
    )


async def _graded(written: Sequence[Written]) -> Pass:
    lanes = [written[start::IN_FLIGHT] for start in range(IN_FLIGHT)]
    started, busy = time.perf_counter(), time.process_time()
    async with VerifierPool() as workers:
        counts = await gather_or_cancel(_lane(workers, lane) for lane in lanes)
        seconds, core_seconds = time.perf_counter() - started, time.process_time() - busy
    return Pass(seconds=seconds, core_seconds=core_seconds, outcomes=sum(counts, Counter[str]()))


async def _lane(workers: VerifierPool, lane: Sequence[Written]) -> Counter[str]:
    outcomes = Counter[str]()
    for one in lane:
        graded = await grade(workers, one.text, one.finish_reason, one.reference)
        outcomes[graded.outcome.value] += 1
    return outcomes


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the JSON alone."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grading", description=__doc__)
    parser.add_argument("--problems", type=int, default=500, help="as many as the demo has")
    parser.add_argument("--rollouts", type=int, default=300_000, help="of all problems together")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often all are graded, each time in fresh workers"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; exit status 1 below the target."""
    told = asyncio.run(measure(**vars(_options())))
    say(f"{told['rollouts_per_core_second']} rollouts in a second of a core, target {TARGET}")
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    raise SystemExit(told["rollouts_per_core_second"] < TARGET)


if __name__ == "__main__":
    main()
