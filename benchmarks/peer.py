"""The same labels from distilabel and from Stepmark, on one vLLM server: `python -m benchmarks.peer` (see `README.md`)."""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import venv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks._cores import Clock
from benchmarks._targets import MISSED, beside, of_rounds
from benchmarks._workload import Stage
from engines.pocket import SHIPPED
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from problems.base import Oracle
from stepmark.records import Problem, Trace, Verdict, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations
from tests.engines.serving import serving

__all__ = ["main"]

HERE = Path(__file__).parent
LOCK, SCRIPT = HERE / "distilabel.lock", HERE / "_distilabel.py"
METHOD, MODEL = "monte_carlo", "pocket"
OURS, AT_ONCE, IN_TURN = "stepmark", "distilabel, K at once", "distilabel, K in turn"
WAYS = (OURS, AT_ONCE, IN_TURN)
PROBLEM_SEED = 513
# distilabel fails on a batch of shorter solutions.
FEWEST_STEPS = 3
TARGET = 1.0
"""The least ratio of labelled steps per second."""
SIGNS = {"+": Verdict.CORRECT, "-": Verdict.INCORRECT, "": Verdict.UNKNOWN}

# vLLM's server empties its prefix cache for developers only.
SERVER = {"VLLM_SERVER_DEV_MODE": "1"}
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}

Labels = Sequence[Verdict]


class Spent(NamedTuple):
    """What one way has taken."""

    seconds: float
    generated_tokens: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one way has labelled, against the oracle."""

    seconds: float
    generated_tokens: int
    labelled_steps: int
    steps_per_second: float
    steps_right: float
    """Of the labelled steps that the oracle knows."""
    first_errors_right: float
    """Of the traces whose first error, or freedom of errors, the oracle knows; an undecided trace is a miss."""
    foreign_cores: float
    """Cores that other programs kept busy meanwhile."""


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Serve the model, write traces, have both label them."""
    python = environment(options.cache)
    say("starting the server")
    with serving(SHIPPED, MODEL, folder / "server.log") as url:
        plan = _plan(options, url, folder)
        assert plan.engine is not None
        stage = await _written(plan, folder / "written")
        say(f"{len(stage.traces)} traces of {len(stage.problems)} problems")
        truths = [_truth(plan, problem, trace) for problem, trace in _pairs(stage)]
        rounds = list[dict[str, Score]]()
        for number in range(options.rounds):
            ways = dict[str, Score]()
            for name in WAYS if number % 2 == 0 else reversed(WAYS):
                _forget_prefixes(url)
                given = _given(plan, stage, url, name)
                clock = Clock()
                labels, spent = (
                    await _ours(plan, stage, folder)
                    if name == OURS
                    else _theirs(python, given, stage, folder)
                )
                ways[name] = score(labels, truths, spent, clock.read().foreign_cores)
                say(
                    f"round {number + 1}, {name}: {ways[name].labelled_steps} steps in {spent.seconds:.1f} s"
                )
            rounds.append(ways)
        await plan.engine.close()
    return {"traces": len(stage.traces), **summary(rounds)}


def summary(rounds: Sequence[Mapping[str, Score]]) -> dict[str, Any]:
    """The ratio to the faster way of distilabel is taken within a round; told is the median."""
    ratios = [
        ways[OURS].steps_per_second
        / max(ways[name].steps_per_second for name in (AT_ONCE, IN_TURN))
        for ways in rounds
    ]
    scores = [{name: asdict(ways[name]) for name in WAYS} for ways in rounds]
    ratio = of_rounds(ratios)
    return {
        "ratio": round(ratio.value, 2),
        "target": TARGET,
        "verdict": beside(ratio, least=TARGET)["verdict"],
        "rounds": scores,
    }


def environment(cache: Path) -> Path:
    """The Python of distilabel's own environment, made on the first call and whole when its last file is there."""
    folder = cache / f"distilabel-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]}"
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        say(f"installing distilabel in {folder}")
        venv.create(folder, clear=True, with_pip=True)
        install = [
            str(python),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "install",
            "--quiet",
            "--requirement",
            str(LOCK),
        ]
        subprocess.run(install, check=True, stdout=sys.stderr)
        whole.touch()
    return python


async def _written(plan: Plan, folder: Path) -> Stage:
    """Problems and traces that both can label: numbered steps, then the answer."""
    job = Job(plan=plan, dataset=Dataset(str(folder)), meter=Meter())
    try:
        for shard in await job.make_problems():
            await job.make_traces(shard)
    finally:
        await job.workers.close()
    traces = [trace for trace in job.dataset.read(TRACES) if _is_numbered(trace)]
    used = {trace.problem_id for trace in traces}
    problems = [problem for problem in job.dataset.read(PROBLEMS) if problem.problem_id in used]
    return Stage(name=METHOD, problems=problems, traces=traces, in_flight=len(traces))


def _is_numbered(trace: Trace) -> bool:
    *steps, answer = trace.steps
    numbered = all(
        step.startswith(f"Step {number}: ") for number, step in enumerate(steps, start=1)
    )
    return len(steps) >= FEWEST_STEPS and numbered and answer.startswith("The answer is ")


def _pairs(stage: Stage) -> Sequence[tuple[Problem, Trace]]:
    problems = {problem.problem_id: problem for problem in stage.problems}
    return [(problems[trace.problem_id], trace) for trace in stage.traces]


async def _ours(plan: Plan, stage: Stage, folder: Path) -> tuple[Sequence[Labels], Spent]:
    """The stage of a real run, its grading and writing included."""
    job = Job(plan=plan, dataset=Dataset(str(folder / str(time.time_ns()))), meter=Meter())
    stage.write_into(job.dataset)
    started = time.perf_counter()
    try:
        await stage.run(job)
        seconds = time.perf_counter() - started
    finally:
        await job.workers.close()
    said = {annotation.trace_id: annotation for annotation in job.dataset.read(annotations(METHOD))}
    labels = [
        merged([step.verdict for step in said[trace.trace_id].steps]) for trace in stage.traces
    ]
    return labels, Spent(
        seconds, sum(annotation.cost.generated_tokens for annotation in said.values())
    )


def _theirs(
    python: Path, asked: Mapping[str, Any], stage: Stage, folder: Path
) -> tuple[Sequence[Labels], Spent]:
    """Distilabel's step, in a process of its own that has started before the clock does."""
    given, told = folder / "given.json", folder / "told.json"
    given.write_text(json.dumps(asked), encoding="utf-8")
    command = [str(python), "-W", "ignore", str(SCRIPT), str(given), str(told)]
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | QUIET)
    done = json.loads(told.read_text(encoding="utf-8"))
    labels = {
        trace.trace_id: [SIGNS[sign] for sign in signs]
        for problem, rows in zip(stage.problems, done["labels"], strict=True)
        for trace, signs in zip(_of(problem, stage), rows, strict=True)
    }
    return [labels[trace.trace_id] for trace in stage.traces], Spent(
        done["seconds"], done["generated_tokens"]
    )


def _given(plan: Plan, stage: Stage, url: str, way: str) -> Mapping[str, Any]:
    sampling = plan.sampling(n=1, seed=0)
    rows = [
        {
            "prompt": plan.solve_prompt(problem).user,
            "answer": problem.answer,
            "solutions": [trace.steps for trace in _of(problem, stage)],
        }
        for problem in stage.problems
    ]
    asked = {
        "rollouts": _rollouts(plan),
        "at_once": way == AT_ONCE,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }
    return {"url": url, "model": MODEL, "rows": rows, **asked}


def _of(problem: Problem, stage: Stage) -> Sequence[Trace]:
    return [trace for trace in stage.traces if trace.problem_id == problem.problem_id]


def _truth(plan: Plan, problem: Problem, trace: Trace) -> Labels:
    assert isinstance(plan.source, Oracle)
    return merged([verdict for verdict, _ in plan.source.judge(problem, trace.steps)])


def merged(steps: Labels) -> Labels:
    """The verdicts with the last step and the answer after it as one step, which is how distilabel labels them."""
    *before, last, answer = steps
    both = (last, answer)
    for verdict in (Verdict.INCORRECT, Verdict.UNKNOWN):
        if verdict in both:
            return [*before, verdict]
    return [*before, Verdict.CORRECT]


def score(
    labels: Sequence[Labels], truths: Sequence[Labels], spent: Spent, foreign_cores: float
) -> Score:
    """Speed, and agreement with the oracle."""
    labelled = sum(label is not Verdict.UNKNOWN for steps in labels for label in steps)
    known = [
        label is truth
        for steps, told in zip(labels, truths, strict=True)
        for label, truth in zip(steps, told, strict=True)
        if Verdict.UNKNOWN not in (label, truth)
    ]
    firsts = [
        (first_error_of(steps), first_error_of(told))
        for steps, told in zip(labels, truths, strict=True)
    ]
    decided = [said == truth for said, truth in firsts if truth is not None]
    return Score(
        seconds=round(spent.seconds, 1),
        generated_tokens=spent.generated_tokens,
        labelled_steps=labelled,
        steps_per_second=round(labelled / spent.seconds, 2),
        steps_right=round(sum(known) / len(known), 3),
        first_errors_right=round(sum(decided) / len(decided), 3),
        foreign_cores=round(foreign_cores, 2),
    )


def _forget_prefixes(url: str) -> None:
    """Empty the server's prefix cache, so that who comes second finds nothing of who came first."""
    request = urllib.request.Request(url.removesuffix("/v1") + "/reset_prefix_cache", method="POST")
    with urllib.request.urlopen(request):
        pass


def _plan(options: argparse.Namespace, url: str, folder: Path) -> Plan:
    problems = {
        "use": "word_problems",
        "count": options.problems,
        "seed": PROBLEM_SEED,
        "min_steps": 5,
        "max_steps": 6,
    }
    return planning.build(
        parse(
            {
                "dataset": str(folder),
                "problems": problems,
                "engine": {
                    "use": "openai",
                    "model": MODEL,
                    "base_urls": [url],
                    "api": "completions",
                },
                "generate": {
                    "prompt": "pocket",
                    "traces_per_problem": 4,
                    "temperature": 1.0,
                    "max_tokens": 320,
                    "split": "line",
                },
                "annotators": [{"use": METHOD, "rollouts": options.rollouts}],
            },
            "the benchmark's run file",
        )
    )


def _rollouts(plan: Plan) -> int:
    return int(plan.run_file.annotators[0]["rollouts"])


def table(told: Mapping[str, Any]) -> Table:
    """One row a way and round."""
    names = list(told["rounds"][0][OURS])
    drawn = Table("", *(name.replace("_", " ") for name in names))
    for way, says in (row for ways in told["rounds"] for row in ways.items()):
        drawn.add_row(way, *(f"{says[name]:,}" for name in names))
    return drawn


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the JSON alone."""
    sys.stderr.write(text + "\n")


def _options() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer", description=__doc__)
    parser.add_argument(
        "--problems", type=int, default=12, help="that 4 traces each are written and labelled for"
    )
    parser.add_argument("--rollouts", type=int, default=8, help="K, completions a prefix")
    parser.add_argument("--rounds", type=int, default=1, help="how often each labels")
    parser.add_argument(
        "--cache",
        type=Path,
        default=caches / "stepmark",
        help="where distilabel's environment is kept",
    )
    return parser.parse_args()


def main() -> None:
    """Label both ways, print a table and JSON; exit status 1 where distilabel was faster, by more than so few rounds may be off."""
    warnings.simplefilter("ignore")  # of libraries, of each other
    os.environ |= SERVER
    with TemporaryDirectory(prefix="stepmark-peer-") as folder:
        told = asyncio.run(measure(_options(), Path(folder)))
    Console(stderr=True, width=160).print(table(told))
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    raise SystemExit(told["verdict"] == MISSED)


if __name__ == "__main__":
    main()
