"""Compare speed and labels of Stepmark and distilabel on one vLLM server."""

import argparse
import asyncio
import os
import time
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.cpu_usage import CpuClock
from benchmarks.common.model_server import serve_model
from benchmarks.common.records import problems_by_id
from benchmarks.common.run_files import build_plan, pocket_generation
from benchmarks.common.stage import Stage
from benchmarks.common.targets import MISSED, compare_with_target, median_ratio
from benchmarks.peer.distilabel_process import install_distilabel, run_distilabel
from benchmarks.peer.scores import Labels, Score, Usage, merge_answer, score_labels
from engines.pocket import SHIPPED
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from problems.base import Oracle
from stepmark.records import Problem, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations

__all__ = [
    "DISTILABEL_AT_ONCE",
    "DISTILABEL_IN_TURN",
    "STEPMARK",
    "is_numbered",
    "main",
    "score_table",
    "summarize",
]

METHOD = "monte_carlo"
MODEL = "pocket"
TRACES_PER_PROBLEM = 4
# The compared labellers; keys in the JSON.
STEPMARK = "stepmark"
DISTILABEL_AT_ONCE = "distilabel, K at once"
DISTILABEL_IN_TURN = "distilabel, K in turn"
LABELLERS = (STEPMARK, DISTILABEL_AT_ONCE, DISTILABEL_IN_TURN)
# Different from the problems of the demo, the tests and the benchmark `saturation`.
PROBLEM_SEED = 513
# distilabel fails on a batch of shorter solutions.
MIN_STEPS = 3
# The least ratio of labelled steps per second.
TARGET = 1.0
VERDICTS = {"+": Verdict.CORRECT, "-": Verdict.INCORRECT, "": Verdict.UNKNOWN}
# Only in this mode does vLLM's server empty its prefix cache on request.
SERVER_ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1"}


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Serve the model, sample traces, and label them with each labeller."""
    python = install_distilabel(options.cache)
    print_progress("starting the server")
    with serve_model(SHIPPED, MODEL, folder / "server.log") as url:
        plan = _plan(options, url, folder)
        assert plan.engine is not None
        stage = await _sample_traces(plan, folder / "written")
        print_progress(f"{len(stage.traces)} traces of {len(stage.problems)} problems")
        truths = _oracle_labels(plan, stage)
        rounds = list[Mapping[str, Score]]()
        for number in range(options.rounds):
            labellers = list(LABELLERS)
            # In turn, so that a machine whose speed changes favours no labeller.
            if number % 2 == 1:
                labellers.reverse()
            scores = dict[str, Score]()
            for name in labellers:
                _reset_prefix_cache(url)
                task_input = _distilabel_input(plan, stage, url, at_once=name == DISTILABEL_AT_ONCE)
                clock = CpuClock()
                if name == STEPMARK:
                    labels, usage = await _label_with_stepmark(plan, stage, folder)
                else:
                    output = run_distilabel(python, task_input, folder)
                    labels, usage = _distilabel_labels(output, stage)
                scores[name] = score_labels(labels, truths, usage, clock.read().foreign_cores)
                print_progress(
                    f"round {number + 1}, {name}:"
                    f" {scores[name].labelled_steps} steps in {usage.seconds:.1f} s"
                )
            rounds.append(scores)
        await plan.engine.close()
    return {"traces": len(stage.traces), **summarize(rounds)}


def summarize(rounds: Sequence[Mapping[str, Score]]) -> dict[str, Any]:
    """Return the median ratio to the faster way of distilabel, the verdict, and all scores."""
    ratios = list[float]()
    rows = list[Mapping[str, Any]]()
    for scores in rounds:
        distilabel = max(
            scores[DISTILABEL_AT_ONCE].steps_per_second,
            scores[DISTILABEL_IN_TURN].steps_per_second,
        )
        ratios.append(scores[STEPMARK].steps_per_second / distilabel)
        rows.append({name: asdict(scores[name]) for name in LABELLERS})
    ratio = median_ratio(ratios)
    return {
        "ratio": round(ratio.value, 2),
        "target": TARGET,
        "verdict": compare_with_target(ratio, least=TARGET)["verdict"],
        "rounds": rows,
    }


async def _sample_traces(plan: Plan, folder: Path) -> Stage:
    """Write problems and traces, and return those that both labellers can label."""
    job = Job(plan=plan, dataset=Dataset(str(folder)), meter=Meter())
    try:
        for shard in range(len(await job.make_problems())):
            await job.make_traces(shard)
    finally:
        # Only the workers: the engine labels these traces afterwards.
        await job.workers.close()
    traces = list(filter(is_numbered, job.dataset.read(TRACES)))
    by_id = problems_by_id(job.dataset)
    # Each problem once, in the order of its first trace.
    problems = dict[str, Problem]()
    for trace in traces:
        problems[trace.problem_id] = by_id[trace.problem_id]
    return Stage(
        name=METHOD, problems=list(problems.values()), traces=traces, in_flight=len(traces)
    )


def is_numbered(trace: Trace) -> bool:
    """Return whether a trace has the form that distilabel reads: numbered steps and an answer."""
    *steps, answer = trace.steps
    if len(steps) < MIN_STEPS or not answer.startswith("The answer is "):
        return False
    numbered_steps = enumerate(steps, start=1)
    return all(step.startswith(f"Step {number}: ") for number, step in numbered_steps)


def _oracle_labels(plan: Plan, stage: Stage) -> Sequence[Labels]:
    assert isinstance(plan.source, Oracle)
    labels = dict[str, Labels]()
    for problem in stage.problems:
        for trace in _traces_of(problem, stage):
            judgements = plan.source.judge(problem, trace.steps)
            labels[trace.trace_id] = merge_answer([verdict for verdict, _ in judgements])
    return _in_order(labels, stage)


async def _label_with_stepmark(
    plan: Plan, stage: Stage, folder: Path
) -> tuple[Sequence[Labels], Usage]:
    """Run the stage of a real run, including grading and writing."""
    # A new dataset for each round, since a stage skips what is already written.
    dataset = Dataset(str(folder / str(time.time_ns())))
    job = Job(plan=plan, dataset=dataset, meter=Meter())
    stage.write_inputs(dataset)
    started = time.perf_counter()
    try:
        await stage.run(job)
        seconds = time.perf_counter() - started
    finally:
        await job.workers.close()
    labels = dict[str, Labels]()
    tokens = 0
    for annotation in dataset.read(annotations(METHOD)):
        labels[annotation.trace_id] = merge_answer([step.verdict for step in annotation.steps])
        tokens += annotation.cost.generated_tokens
    return _in_order(labels, stage), Usage(seconds, tokens)


def _distilabel_input(plan: Plan, stage: Stage, url: str, *, at_once: bool) -> Mapping[str, Any]:
    """Return the input of `distilabel_step.py`, one row per problem."""
    rows = list[Mapping[str, Any]]()
    for problem in stage.problems:
        row = {
            "prompt": plan.solve_prompt(problem).user,
            "answer": problem.answer,
            "solutions": [trace.steps for trace in _traces_of(problem, stage)],
        }
        rows.append(row)
    sampling = plan.sampling(n=1, seed=0)
    return {
        "url": url,
        "model": MODEL,
        "rows": rows,
        "rollouts": int(plan.run_file.annotators[0]["rollouts"]),
        "at_once": at_once,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }


def _distilabel_labels(output: Mapping[str, Any], stage: Stage) -> tuple[Sequence[Labels], Usage]:
    """Return the labels in the output of `distilabel_step.py`, in the order of the traces."""
    by_trace = dict[str, Labels]()
    for problem, solutions in zip(stage.problems, output["labels"], strict=True):
        for trace, signs in zip(_traces_of(problem, stage), solutions, strict=True):
            by_trace[trace.trace_id] = [VERDICTS[sign] for sign in signs]
    return _in_order(by_trace, stage), Usage(output["seconds"], output["generated_tokens"])


def _in_order(by_trace: Mapping[str, Labels], stage: Stage) -> Sequence[Labels]:
    """Return the labels in the order of the traces."""
    return [by_trace[trace.trace_id] for trace in stage.traces]


def _traces_of(problem: Problem, stage: Stage) -> Sequence[Trace]:
    return [trace for trace in stage.traces if trace.problem_id == problem.problem_id]


def _reset_prefix_cache(url: str) -> None:
    """Empty the server's prefix cache, so that no labeller benefits from an earlier one."""
    request = urllib.request.Request(url.removesuffix("/v1") + "/reset_prefix_cache", method="POST")
    with urllib.request.urlopen(request):
        pass


def _plan(options: argparse.Namespace, url: str, folder: Path) -> Plan:
    return build_plan(
        {
            "dataset": str(folder),
            "problems": {
                "use": "word_problems",
                "count": options.problems,
                "seed": PROBLEM_SEED,
                "min_steps": 5,
                "max_steps": 6,
            },
            "engine": {
                "use": "openai",
                "model": MODEL,
                "base_urls": [url],
                "api": "completions",
            },
            "generate": pocket_generation(TRACES_PER_PROBLEM),
            "annotators": [{"use": METHOD, "rollouts": options.rollouts}],
        }
    )


def score_table(results: Mapping[str, Any]) -> Table:
    """Return a table with one row per round and labeller."""
    columns = list(results["rounds"][0][STEPMARK])
    table = Table("", *(column.replace("_", " ") for column in columns))
    for scores in results["rounds"]:
        for name, score in scores.items():
            table.add_row(name, *(f"{score[column]:,}" for column in columns))
    return table


def _options() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer", description=__doc__)
    parser.add_argument(
        "--problems", type=int, default=12, help="problems, with 4 traces sampled for each"
    )
    parser.add_argument("--rollouts", type=int, default=8, help="K, the completions per prefix")
    parser.add_argument("--rounds", type=int, default=1, help="how often each labels the traces")
    parser.add_argument(
        "--cache",
        type=Path,
        default=caches / "stepmark",
        help="the folder in which distilabel's environment is kept",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print a table and JSON; the exit status is 1 if the target is missed."""
    warnings.simplefilter("ignore")  # warnings of libraries about each other
    os.environ |= SERVER_ENVIRONMENT
    with TemporaryDirectory(prefix="stepmark-peer-") as folder:
        results = asyncio.run(measure(_options(), Path(folder)))
    # As wide as the table, also if standard error is a file.
    Console(stderr=True, width=160).print(score_table(results))
    print_json(results)
    if results["verdict"] == MISSED:
        raise SystemExit(1)
