"""Train heads and verifiers on the labels of each method, for equal tokens, and score them."""

import argparse
import asyncio
import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from annotators.concurrency import gather_or_cancel
from benchmarks.common.console import print_json, print_progress
from benchmarks.training import baselines, heads, labels, measures, reward_model, verifiers
from benchmarks.training.kept_results import KeptResults
from benchmarks.training.measures import ScoredTrace
from benchmarks.training.pool import Pool, Question, open_pool
from benchmarks.training.results import Result, header, row, to_json
from engines.pocket import SHIPPED
from examples import prm_head, verifier_sft
from stepmark.errors import UserError

__all__ = ["main", "measure"]

T = TypeVar("T")
Scores = Sequence[Sequence[float]]
BASELINE = "Math-Shepherd"
"""The method to which the other heads are compared."""
UNTRAINED = "untrained"
"""The verifier to which the trained ones are compared."""
ORACLE = "oracle"
ORACLE_OF_BASELINE = f"oracle, traces of {BASELINE}"
"""Separates the number of traces from the errors in their labels."""
ALL_WEIGHTS = "oracle, all weights"
"""The example `prm_head` on the oracle's labels."""
LOG_PROBABILITY = "log-probability, untrained"
RANDOM = "random"
MAJORITY = "majority"
METHODS: Mapping[str, labels.LabellingMethod] = {**labels.METHODS, ORACLE: labels.BY_ORACLE}


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
    """Generated tokens for the labels of one method, and for its critiques of a verifier."""
    seed: int
    seeds: int
    """Trainings of each head."""
    methods: Sequence[str]
    """Whose labels heads are trained on."""
    verifiers: Sequence[str]
    """Whose critiques verifiers are trained on."""
    head: heads.HeadOptions
    reward_model: prm_head.Options
    verifier: verifier_sft.Options


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The problems, the results of earlier calls, and what trains."""

    options: Options
    kept: KeptResults
    training: Pool
    evaluation: Pool
    threshold: Pool
    processes: ProcessPoolExecutor
    """They train the models whose weights change."""
    features: heads.StepFeatures

    async def train(self, name: str, function: Callable[..., T], *arguments: object) -> T:
        """Return the result of a function in another process, or the kept one of this name."""

        async def run() -> T:
            started = time.monotonic()
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self.processes, partial(function, *arguments))
            print_progress(f"  {name}: {time.monotonic() - started:.0f} s with waiting")
            return result

        return await self.kept.get(name, run)

    def question_sets(self) -> Mapping[str, Sequence[Question]]:
        """Return the traces to score of each set."""
        return {
            "evaluation": self.evaluation.questions(),
            "threshold": self.threshold.questions(),
        }

    def result_of_scores(self, scores: Mapping[str, Scores]) -> Result:
        """Return the measures of scores of both sets."""
        threshold = measures.best_threshold(_scored(self.threshold, scores["threshold"]))
        return self.result(scores["evaluation"], threshold)

    def result(self, scores: Scores, threshold: float) -> Result:
        """Return the measures of scores of the traces to evaluate."""
        evaluated = _scored(self.evaluation, scores)
        return Result(
            auc=measures.step_auc(evaluated),
            f1=measures.first_error_f1(evaluated, threshold),
            best=measures.best_of_samples(evaluated),
        )


async def measure(options: Options, folder: Path) -> tuple[Mapping[str, Result], ...]:
    """Return the measures of heads and baselines, and those of verifiers.

    Stages whose results are in `folder` are not repeated.

    Raises:
        InputError: The folder has results of other options.
    """
    async with _open_benchmark(options, folder) as benchmark:
        heads_by_name = await _measure_heads(benchmark)
        # Two processes train these at the same time.
        verifiers_by_name, all_weights = await asyncio.gather(
            _measure_verifiers(benchmark), _train_reward_model(benchmark)
        )
    return {**heads_by_name, ALL_WEIGHTS: all_weights}, verifiers_by_name


@asynccontextmanager
async def _open_benchmark(options: Options, folder: Path) -> AsyncIterator[Benchmark]:
    kept = KeptResults(folder=folder)
    kept.check_options({**dataclasses.asdict(options), "methods": None, "verifiers": None})
    # Two processes of one thread each. A new process has no threads of this one, unlike a fork.
    processes = ProcessPoolExecutor(
        max_workers=2,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    async with AsyncExitStack() as stack:
        stack.callback(processes.shutdown, cancel_futures=True)

        async def pool(name: str, number: int, problems: int) -> Pool:
            print_progress(f"{name}: {problems} problems")
            # The seeds of the three sets follow each other.
            seed = 3 * options.seed + number
            return await stack.enter_async_context(open_pool(folder / name, seed, problems))

        yield Benchmark(
            options=options,
            kept=kept,
            training=await pool("training", 0, options.problems),
            evaluation=await pool("evaluation", 1, options.held_out),
            threshold=await pool("threshold", 2, options.threshold_problems),
            processes=processes,
            features=heads.StepFeatures(),
        )


async def _measure_heads(benchmark: Benchmark) -> Mapping[str, Result]:
    results = await _measure_baselines(benchmark)
    made = dict[str, Mapping[str, Any]]()
    for name in benchmark.options.methods:
        made[name] = await benchmark.kept.get(f"labels {name}", partial(_label, benchmark, name))
        print_progress(f"labels by {name}: {_describe(made[name])}")
    if {BASELINE, ORACLE} <= made.keys():
        count = made[BASELINE]["traces"]
        limited = labels.label_by_oracle(benchmark.training, count)
        made[ORACLE_OF_BASELINE] = dataclasses.asdict(limited)
    for name, training in made.items():
        results[name] = await _train_heads(benchmark, name, training)
        print_progress(" | ".join(row(name, results, BASELINE)))
    return results


async def _label(benchmark: Benchmark, name: str) -> Mapping[str, Any]:
    if name == ORACLE:
        return dataclasses.asdict(labels.label_by_oracle(benchmark.training))
    budget = benchmark.options.budget
    made = await labels.label_for_budget(benchmark.training, METHODS[name], budget)
    return dataclasses.asdict(made)


async def _train_heads(benchmark: Benchmark, name: str, made: Mapping[str, Any]) -> Result:
    """Train heads with several seeds; the first one has all measures."""
    results = list[Result]()
    for seed in range(benchmark.options.seeds):
        options = replace(benchmark.options.head, seed=seed)

        async def train(options: heads.HeadOptions = options) -> Mapping[str, Scores]:
            head = heads.train_head(made["rows"], benchmark.features, options)
            scores = dict[str, Scores]()
            for key, questions in benchmark.question_sets().items():
                scores[key] = [head.score(benchmark.features.of(item)) for item in questions]
            return scores

        scores = await benchmark.kept.get(f"head {name}, seed {seed}", train)
        results.append(benchmark.result_of_scores(scores))
    others = list[float]()
    for result in results[1:]:
        assert result.f1 is not None
        others.append(result.f1.value)
    return replace(results[0], labels=_without_rows(made), f1_of_seeds=others)


async def _train_reward_model(benchmark: Benchmark) -> Result:
    """Train the example on the oracle's labels."""
    made = dataclasses.asdict(labels.label_by_oracle(benchmark.training))
    scores = await benchmark.train(
        "reward model",
        reward_model.train_and_score,
        made["rows"],
        benchmark.question_sets(),
        benchmark.options.reward_model,
    )
    return replace(benchmark.result_of_scores(scores), labels=_without_rows(made))


async def _measure_verifiers(benchmark: Benchmark) -> Mapping[str, Result]:
    options = benchmark.options
    made = dict[str, Mapping[str, Any]]()
    for name in options.verifiers:
        critiques = partial(_critiques, benchmark, METHODS[name])
        made[name] = await benchmark.kept.get(f"critiques {name}", critiques)
        print_progress(f"critiques by {name}: {_describe(made[name])}")
    questions = benchmark.evaluation.questions()
    checks = [
        benchmark.train(
            f"verifier {UNTRAINED}", verifiers.check_steps, SHIPPED, questions, options.verifier
        )
    ]
    for name, training in made.items():
        checks.append(
            benchmark.train(
                f"verifier {name}",
                verifiers.train_and_check,
                training["rows"],
                questions,
                options.verifier,
            )
        )
    untrained, *trained = await gather_or_cancel(checks)
    results = {UNTRAINED: benchmark.result(untrained, verifiers.VERDICT_THRESHOLD)}
    for (name, training), scores in zip(made.items(), trained, strict=True):
        result = benchmark.result(scores, verifiers.VERDICT_THRESHOLD)
        results[name] = replace(result, labels=_without_rows(training))
    return results


async def _critiques(benchmark: Benchmark, method: labels.LabellingMethod) -> Mapping[str, Any]:
    budget = benchmark.options.budget
    made = await labels.critiques_for_budget(benchmark.training, method, budget)
    return dataclasses.asdict(made)


def _describe(made: Mapping[str, Any]) -> str:
    return f"{made['tokens']} tokens, {made['traces']} traces, {len(made['rows'])} rows"


def _without_rows(made: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**made, "rows": len(made["rows"])}


async def _measure_baselines(benchmark: Benchmark) -> dict[str, Result]:
    results = dict[str, Result]()
    scorers: Mapping[str, Callable[[Sequence[Question]], Scores]] = {
        RANDOM: baselines.random_scores,
        LOG_PROBABILITY: partial(baselines.log_probability_scores, benchmark.features),
    }
    for name, scorer in scorers.items():
        scores = dict[str, Scores]()
        for key, questions in benchmark.question_sets().items():
            scores[key] = scorer(questions)
        results[name] = benchmark.result_of_scores(scores)
    constant = [[0.0]] * len(benchmark.evaluation.questions())
    evaluated = _scored(benchmark.evaluation, constant)
    # The expected share, instead of the result of one draw.
    results[RANDOM] = replace(results[RANDOM], best=measures.best_of_samples(evaluated))
    results[MAJORITY] = Result(best=measures.majority_of_samples(evaluated))
    return results


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    add = parser.add_argument
    add("--problems", type=int, default=500, help="problems to train on, with 8 traces each")
    add("--held-out", type=int, default=150, help="problems to evaluate on")
    add("--threshold-problems", type=int, default=60, help="problems that determine thresholds")
    add("--budget", type=int, default=100_000, help="generated tokens for the labels of a method")
    add("--seed", type=int, default=14, help="of the problems; the sets of a seed share none")
    add("--seeds", type=int, default=3, help="trainings of each head")
    head = heads.HeadOptions()
    add("--updates", type=int, default=head.updates, help="updates of a head")
    add("--weight-decay", type=float, default=head.weight_decay, help="of a head")
    add("--learning-rate", type=float, default=head.learning_rate, help="of a head")
    model = reward_model.default_options()
    add("--model-updates", type=int, default=model.updates, help="updates of all weights")
    verifier = verifiers.default_options()
    add("--verifier-updates", type=int, default=verifier.updates, help="updates of a verifier")
    add("--verifier-rate", type=float, default=verifier.learning_rate, help="of a verifier")
    add("--keep", type=Path, help="a folder that keeps the results of all stages for a next call")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="labels to train heads on")
    add(
        "--verifiers",
        nargs="+",
        choices=METHODS,
        default=METHODS,
        help="methods whose critiques to train verifiers on; each takes about a minute",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables to standard error and JSON to standard output."""
    arguments = _options()
    # The texts are too short to gain by more threads.
    torch.set_num_threads(1)
    options = Options(
        problems=arguments.problems,
        held_out=arguments.held_out,
        threshold_problems=arguments.threshold_problems,
        budget=arguments.budget,
        seed=arguments.seed,
        seeds=arguments.seeds,
        methods=list(arguments.methods),
        verifiers=list(arguments.verifiers),
        head=heads.HeadOptions(
            learning_rate=arguments.learning_rate,
            updates=arguments.updates,
            weight_decay=arguments.weight_decay,
        ),
        reward_model=replace(reward_model.default_options(), updates=arguments.model_updates),
        verifier=replace(
            verifiers.default_options(),
            updates=arguments.verifier_updates,
            learning_rate=arguments.verifier_rate,
        ),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder:
        try:
            results = asyncio.run(measure(options, arguments.keep or Path(folder)))
        except UserError as error:
            raise SystemExit(str(error)) from None
    for by_name, reference in zip(results, (BASELINE, UNTRAINED), strict=True):
        _print_table(by_name, reference)
    heads_json, verifiers_json = [to_json(by_name) for by_name in results]
    seconds = round(time.monotonic() - started)
    print_json({"seconds": seconds, "heads": heads_json, "verifiers": verifiers_json})


def _print_table(results: Mapping[str, Result], reference: str) -> None:
    names = header(reference)
    rows = [row(name, results, reference) for name in results]
    for cells in (names, ["---"] * len(names), *rows):
        print_progress("| " + " | ".join(cells) + " |")
