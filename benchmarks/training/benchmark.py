"""Train a head on the labels of each method, for equal tokens, and score it on other problems."""

import argparse
import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.targets import Interval
from benchmarks.training import baselines, heads, labels, measures
from benchmarks.training.kept_results import KeptResults
from benchmarks.training.measures import Comparison, ScoredTrace
from benchmarks.training.pool import Pool, open_pool
from stepmark.errors import UserError
from stepmark.records import Trace

__all__ = ["main", "measure"]

Scores = Sequence[Sequence[float]]
BASELINE = "Math-Shepherd"
"""The method to which the others are compared."""
ORACLE = "oracle"
ORACLE_OF_BASELINE = f"oracle, traces of {BASELINE}"
"""Separates the number of traces from the errors in their labels."""
LOG_PROBABILITY = "log-probability, untrained"
CHECK = "generative verifier, untrained"
RANDOM = "random"
MAJORITY = "majority"
COLUMNS = (
    "labels by",
    "tokens",
    "traces",
    "rows",
    "exact",
    "step AUC",
    "F1",
    "best of 8",
    f"F1 beyond {BASELINE}",
)
NO_CELL = ""
METHODS = (*labels.METHODS, ORACLE)
Scorer = Callable[[Pool, Sequence[Trace]], Awaitable[Scores]]
"""Returns the scores of the steps of each trace."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The sizes of the benchmark."""

    problems: int
    """Problems to train on."""
    held_out: int
    """Problems to evaluate on."""
    threshold_problems: int
    """Problems that determine the score below which a step is called incorrect."""
    budget: int
    """Generated tokens for the labels of one method."""
    seed: int
    methods: Sequence[str]
    head: heads.HeadOptions


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Three sets of problems."""

    training: Pool
    evaluation: Pool
    threshold: Pool


@dataclass(frozen=True, kw_only=True)
class Result:
    """The measures of one method."""

    labels: Mapping[str, Any] | None
    """The fields of `Labels` without the rows; None for a method without labels."""
    auc: Comparison | None
    f1: Comparison | None
    best: Comparison


async def measure(options: Options, folder: Path) -> Mapping[str, Result]:
    """Return the measures of all methods and baselines; stages that `folder` has are not repeated.

    Raises:
        InputError: The folder has results of other options.
    """
    kept = KeptResults(folder=folder)
    kept.check_options({**dataclasses.asdict(options), "methods": None})
    async with AsyncExitStack() as stack:

        async def pool(name: str, number: int, problems: int) -> Pool:
            print_progress(f"{name}: {problems} problems")
            # The seeds of the three sets follow each other.
            seed = 3 * options.seed + number
            return await stack.enter_async_context(open_pool(folder / name, seed, problems))

        pools = Pools(
            training=await pool("training", 0, options.problems),
            evaluation=await pool("evaluation", 1, options.held_out),
            threshold=await pool("threshold", 2, options.threshold_problems),
        )
        results = await _measure_baselines(pools, kept)
        made = dict[str, Mapping[str, Any]]()
        for name in options.methods:
            made[name] = await kept.get(f"labels {name}", partial(_label, pools, options, name))
            print_progress(f"{name}: {_describe(made[name])}")
        if {BASELINE, ORACLE} <= made.keys():
            count = made[BASELINE]["traces"]
            made[ORACLE_OF_BASELINE] = dataclasses.asdict(
                labels.label_by_oracle(pools.training, count)
            )
        for name, training in made.items():
            scores = await kept.get(
                f"scores {name}", partial(_train, pools, options, training["rows"])
            )
            without_rows = {**training, "rows": len(training["rows"])}
            results[name] = _result(pools, scores, without_rows)
            print_progress(" | ".join(_cells(name, results)))
    return results


async def _label(pools: Pools, options: Options, name: str) -> Mapping[str, Any]:
    if name == ORACLE:
        return dataclasses.asdict(labels.label_by_oracle(pools.training))
    method = labels.METHODS[name]
    made = await labels.label_for_budget(pools.training, method, options.budget)
    return dataclasses.asdict(made)


def _describe(made: Mapping[str, Any]) -> str:
    return f"{made['tokens']} tokens, {made['traces']} traces, {len(made['rows'])} rows"


async def _train(
    pools: Pools, options: Options, rows: Sequence[Mapping[str, Any]]
) -> Mapping[str, Scores]:
    """Train a head on rows, and return its scores of the traces to evaluate and of the others."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder:
        losses = heads.train_head(rows, Path(folder), options.head)
        tenth = max(1, len(losses) // 10)
        first = sum(losses[:tenth]) / tenth
        last = sum(losses[-tenth:]) / tenth
        seconds = time.monotonic() - started
        print_progress(f"  {len(losses)} updates, loss {first:.3f} to {last:.3f}, {seconds:.0f} s")
        return await _score_both(pools, partial(_score_with, Path(folder)))


async def _score_with(model: Path, pool: Pool, traces: Sequence[Trace]) -> Scores:
    return heads.score_traces(model, pool, traces)


async def _measure_baselines(pools: Pools, kept: KeptResults) -> dict[str, Result]:
    async def log_probability(pool: Pool, traces: Sequence[Trace]) -> Scores:
        return baselines.log_probability_scores(pool, traces)

    async def check(pool: Pool, traces: Sequence[Trace]) -> Scores:
        return await baselines.check_traces(pool.cache, pool, traces)

    async def at_random(pool: Pool, traces: Sequence[Trace]) -> Scores:
        return baselines.random_scores(traces)

    results = dict[str, Result]()
    scorers = {RANDOM: at_random, LOG_PROBABILITY: log_probability, CHECK: check}
    for name, scorer in scorers.items():
        scores = await kept.get(f"scores {name}", partial(_score_both, pools, scorer))
        results[name] = _result(pools, scores, None)
        print_progress(" | ".join(_cells(name, results)))
    constant = [[0.0]] * len(scores["evaluation"])
    evaluated = _scored(pools.evaluation, constant)
    # The expected share, instead of the result of one draw.
    results[RANDOM] = replace(results[RANDOM], best=measures.best_of_samples(evaluated))
    results[MAJORITY] = Result(
        labels=None, auc=None, f1=None, best=measures.majority_of_samples(evaluated)
    )
    return results


async def _score_both(pools: Pools, scorer: Scorer) -> Mapping[str, Scores]:
    scores = dict[str, Scores]()
    for name, pool in {"evaluation": pools.evaluation, "threshold": pools.threshold}.items():
        traces = [trace for trace, _ in pool.distinct_traces()]
        scores[name] = await scorer(pool, traces)
    return scores


def _result(pools: Pools, scores: Mapping[str, Scores], made: Mapping[str, Any] | None) -> Result:
    threshold = measures.best_threshold(_scored(pools.threshold, scores["threshold"]))
    evaluated = _scored(pools.evaluation, scores["evaluation"])
    return Result(
        labels=made,
        auc=measures.step_auc(evaluated),
        f1=measures.first_error_f1(evaluated, threshold),
        best=measures.best_of_samples(evaluated),
    )


def _scored(pool: Pool, scores: Scores) -> Sequence[ScoredTrace]:
    scored = list[ScoredTrace]()
    for (trace, copies), trace_scores in zip(pool.distinct_traces(), scores, strict=True):
        item = ScoredTrace(
            problem_id=trace.problem_id,
            first_error=pool.oracle[trace.trace_id].first_error,
            outcome=trace.outcome,
            answer=trace.final_answer,
            scores=trace_scores,
            copies=copies,
        )
        scored.append(item)
    return scored


def table(results: Mapping[str, Result]) -> Sequence[Sequence[str]]:
    """Return the rows of the table in the documentation, baselines first."""
    return [_cells(name, results) for name in results]


def _cells(name: str, results: Mapping[str, Result]) -> Sequence[str]:
    result = results[name]
    costs = [NO_CELL] * 4
    if result.labels is not None:
        exact = result.labels["exact"]
        costs = [
            f"{result.labels['tokens']:,}",
            f"{result.labels['traces']:,}",
            f"{result.labels['rows']:,}",
            NO_CELL if exact is None else f"{exact:.1%}",
        ]
    beyond = NO_CELL
    baseline = results.get(BASELINE)
    if name != BASELINE and result.labels and baseline and result.f1 and baseline.f1:
        beyond = _format(result.f1.minus(baseline.f1), sign="+")
    measured = [_format_measure(item) for item in (result.auc, result.f1, result.best)]
    return [name, *costs, *measured, beyond]


def _format_measure(measure: Comparison | None) -> str:
    return NO_CELL if measure is None else _format(measure.interval)


def _format(interval: Interval, sign: str = "") -> str:
    low = f"{interval.low:{sign}.3f}"
    high = f"{interval.high:{sign}.3f}"
    return f"{interval.value:{sign}.3f} [{low}, {high}]"


def _to_json(results: Mapping[str, Result]) -> Mapping[str, Any]:
    dumped = dict[str, Any]()
    for name, result in results.items():
        fields: dict[str, Any] = {"labels": result.labels}
        for measure in ("auc", "f1", "best"):
            comparison: Comparison | None = getattr(result, measure)
            fields[measure] = None
            if comparison is not None:
                fields[measure] = dataclasses.asdict(comparison.interval)
        dumped[name] = fields
    return dumped


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    add = parser.add_argument
    add("--problems", type=int, default=500, help="problems to train on, with 8 traces each")
    add("--held-out", type=int, default=150, help="problems to evaluate on")
    add("--threshold-problems", type=int, default=60, help="problems that determine thresholds")
    add("--budget", type=int, default=100_000, help="generated tokens for the labels of a method")
    add("--seed", type=int, default=14, help="of the problems; the sets of a seed share none")
    add("--threads", type=int, default=1, help="of PyTorch; texts are too short to gain by two")
    head = heads.HeadOptions()
    add("--updates", type=int, default=head.updates, help="updates of a head")
    add("--weight-decay", type=float, default=head.weight_decay, help="of a head")
    add("--learning-rate", type=float, default=head.learning_rate, help="of a head")
    add("--keep", type=Path, help="a folder that keeps the results of all stages for a next call")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="whose labels to train on")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table to standard error and JSON to standard output."""
    arguments = _options()
    torch.set_num_threads(arguments.threads)
    options = Options(
        problems=arguments.problems,
        held_out=arguments.held_out,
        threshold_problems=arguments.threshold_problems,
        budget=arguments.budget,
        seed=arguments.seed,
        methods=arguments.methods,
        head=heads.HeadOptions(
            learning_rate=arguments.learning_rate,
            updates=arguments.updates,
            weight_decay=arguments.weight_decay,
        ),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder:
        try:
            results = asyncio.run(measure(options, arguments.keep or Path(folder)))
        except UserError as error:
            raise SystemExit(str(error)) from None
    for row in (COLUMNS, ["---"] * len(COLUMNS), *table(results)):
        print_progress("| " + " | ".join(row) + " |")
    print_json({"seconds": round(time.monotonic() - started), "results": _to_json(results)})
