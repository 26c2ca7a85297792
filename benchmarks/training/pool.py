"""Problems with eight traces each by the pocket model, and the oracle's first errors."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.console import print_progress
from benchmarks.common.run_files import build_plan, pocket_generation
from benchmarks.efficiency.ground_truth import GroundTruth
from benchmarks.efficiency.pocket_traces import ENGINES, FORMAL
from benchmarks.efficiency.rollout_cache import RolloutCache
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.oracle import ORACLE
from pipelines.run.plan import Plan
from stepmark.records import Annotation, Problem, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations

__all__ = ["CHECK_TOKENS", "JUDGE", "TRACES_PER_PROBLEM", "Pool", "Question", "open_pool"]

JUDGE = "judge"
TRACES_PER_PROBLEM = 8
PROBLEMS_PER_SHARD = 50
# Tokens of a check of the pocket model, as in the demo.
CHECK_TOKENS = 420


class Question(NamedTuple):
    """A trace without its labels. Other processes score it."""

    question: str
    """The text of its problem."""
    steps: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The problems of one seed with all their traces."""

    problems: Mapping[str, Problem]
    traces: Sequence[Trace]
    """All traces with at least one step, those of a problem next to each other."""
    oracle: Mapping[str, Annotation]
    """The true verdicts by trace id."""
    formal: Mapping[str, Annotation]
    """The annotations by formal checking, which generates no tokens, by trace id."""
    cache: RolloutCache
    job: Job

    @property
    def generated_tokens(self) -> int:
        """The tokens that the traces have."""
        return sum(trace.generated_tokens for trace in self.traces)

    def distinct_traces(self) -> Sequence[tuple[Trace, int]]:
        """Return the first trace of each text of a problem, and how many traces have this text."""
        first_traces = dict[tuple[str, tuple[str, ...]], Trace]()
        counts = Counter[tuple[str, tuple[str, ...]]]()
        for trace in self.traces:
            text = (trace.problem_id, trace.steps)
            first_traces.setdefault(text, trace)
            counts[text] += 1
        return [(trace, counts[text]) for text, trace in first_traces.items()]

    def questions(self) -> Sequence[Question]:
        """Return the distinct traces, in this order, to score their steps."""
        questions = list[Question]()
        for trace, _ in self.distinct_traces():
            problem = self.problems[trace.problem_id]
            questions.append(Question(question=problem.question, steps=trace.steps))
        return questions

    def candidates(self) -> Sequence[Trace]:
        """Return the traces to label: those with a wrong answer, and as many with a right one.

        Copies of a text are left out. The first traces are of different problems, then come their
        second traces, and so on; in each of these rounds, right and wrong answers alternate as far
        as there are both.
        """
        by_outcome: dict[Verdict, dict[str, list[Trace]]] = {
            Verdict.INCORRECT: {},
            Verdict.CORRECT: {},
        }
        for trace, _ in self.distinct_traces():
            if trace.outcome in by_outcome:
                by_outcome[trace.outcome].setdefault(trace.problem_id, []).append(trace)
        wrong = _in_rounds(by_outcome[Verdict.INCORRECT])
        right = _in_rounds(by_outcome[Verdict.CORRECT])
        selected = list[Trace]()
        for pair in zip(wrong, right, strict=False):
            selected += pair
        return selected

    def ground_truth(self, traces: Sequence[Trace]) -> GroundTruth:
        """Return these traces for annotation, with all traces of their problems as siblings."""
        problem_ids = {trace.problem_id for trace in traces}
        siblings = [trace for trace in self.traces if trace.problem_id in problem_ids]
        return GroundTruth(
            services=self.job.services(self.job.plan.annotators[JUDGE]),
            cache=self.cache,
            problems={problem_id: self.problems[problem_id] for problem_id in problem_ids},
            traces=siblings,
            # Only the traces matter here; a label never depends on the true first error.
            first_errors={trace.trace_id: 0 for trace in traces},
            annotations={
                trace.trace_id: {FORMAL: self.formal[trace.trace_id]} for trace in siblings
            },
        )


def _in_rounds(by_problem: Mapping[str, Sequence[Trace]]) -> Sequence[Trace]:
    """Return the first trace of every problem, then the second ones, and so on."""
    ordered = list[Trace]()
    for number in range(TRACES_PER_PROBLEM):
        ordered += [traces[number] for traces in by_problem.values() if number < len(traces)]
    return ordered


@asynccontextmanager
async def open_pool(folder: Path, seed: int, problems: int) -> AsyncIterator[Pool]:
    """Sample the traces of the first problems of a seed, or read them from an earlier call.

    The dataset and the rollouts that methods request later are kept in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(seed, problems)
    plan = plan.with_engines(
        plan.engines.wrap(
            lambda engine: RolloutCache(engine=engine, file=folder / "rollouts.jsonl")
        )
    )
    assert isinstance(plan.engine, RolloutCache)
    plan.engine.load()
    job = Job(plan=plan, dataset=Dataset(str(folder / "dataset")), meter=Meter())
    try:
        yield await _sample(job, plan.engine)
    finally:
        await job.close()


async def _sample(job: Job, cache: RolloutCache) -> Pool:
    shards = range(len(await job.make_problems()))
    traces = list[Trace]()
    oracle = dict[str, Annotation]()
    formal = dict[str, Annotation]()
    for shard in shards:
        await job.make_traces(shard)
        await job.make_oracle(shard)
        await job.make_annotations(shard, FORMAL)
        traces += [trace for trace in job.dataset.read_part(TRACES, shard) if trace.steps]
        for annotation in job.dataset.read_part(annotations(ORACLE), shard):
            oracle[annotation.trace_id] = annotation
        for annotation in job.dataset.read_part(annotations(FORMAL), shard):
            formal[annotation.trace_id] = annotation
        print_progress(f"  {len(traces)} traces")
    return Pool(
        problems={problem.problem_id: problem for problem in job.dataset.read(PROBLEMS)},
        traces=traces,
        oracle=oracle,
        formal=formal,
        cache=cache,
        job=job,
    )


def _plan(seed: int, problems: int) -> Plan:
    return build_plan(
        {
            "dataset": "unused",
            "seed": seed,
            "problems": {
                "use": "word_problems",
                "count": problems,
                "seed": seed,
                "min_steps": 2,
                "max_steps": 6,
            },
            "engine": dict(ENGINES["pocket"]),
            "generate": pocket_generation(TRACES_PER_PROBLEM),
            "annotators": [
                {"use": FORMAL},
                {"use": JUDGE, "prompt": "pocket", "votes": 4, "max_tokens": CHECK_TOKENS},
            ],
            "shards": {"problems_per_shard": PROBLEMS_PER_SHARD},
        }
    )
