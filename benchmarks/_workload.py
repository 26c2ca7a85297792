"""The work that is timed: wrong traces, of problems that the model can solve, written by the model itself."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.meter import Meter
from pipelines.plan import Plan
from pipelines.stages import Job
from stepmark.errors import InputError
from stepmark.records import Problem, Trace, Verdict
from storage.dataset import Dataset
from storage.tables import PROBLEMS, TRACES

__all__ = ["Workload", "write"]

# A search over fewer steps has nothing to halve and asks the engine for nothing.
FEWEST_STEPS = 2
FINGERPRINT = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The wrong traces to be in flight, their problems, and a right trace of each problem, which shows that it can be solved."""

    problems: Sequence[Problem]
    wrong: Sequence[Trace]
    right: Sequence[Trace]

    def write_into(self, dataset: Dataset) -> None:
        """Make it a dataset that waits to be annotated."""
        dataset.write_part(PROBLEMS, 0, self.problems, FINGERPRINT)
        dataset.write_part(TRACES, 0, [*self.wrong, *self.right], FINGERPRINT)


async def write(plan: Plan, folder: Path, count: int) -> Workload:
    """Have the plan's engine write traces, shard after shard, until `count` can be searched."""
    job = Job(plan=plan, dataset=Dataset(str(folder)), meter=Meter())
    wrong, right = list[Trace](), dict[str, Trace]()
    try:
        for shard in await job.make_problems():
            await job.make_traces(shard)
            for traces in _by_problem(job.dataset, shard):
                solved = [trace for trace in traces if trace.outcome is Verdict.CORRECT]
                if solved:
                    right[solved[0].problem_id] = solved[0]
                    wrong += [trace for trace in traces if _is_searched(trace)]
            if len(wrong) >= count:
                return _workload(job.dataset, wrong[:count], right)
    finally:
        await job.workers.close()
    raise InputError(f"the model wrote {len(wrong)} wrong traces of problems that it can solve, not {count}: give more --problems")


def _by_problem(dataset: Dataset, shard: int) -> Sequence[Sequence[Trace]]:
    groups = defaultdict[str, list[Trace]](list)
    for trace in dataset.read_part(TRACES, shard):
        groups[trace.problem_id].append(trace)
    return list(groups.values())


def _is_searched(trace: Trace) -> bool:
    return trace.outcome is Verdict.INCORRECT and len(trace.steps) >= FEWEST_STEPS


def _workload(dataset: Dataset, wrong: Sequence[Trace], right: dict[str, Trace]) -> Workload:
    used = {trace.problem_id for trace in wrong}
    return Workload(
        problems=[problem for problem in dataset.read(PROBLEMS) if problem.problem_id in used],
        wrong=wrong,
        right=[trace for problem_id, trace in right.items() if problem_id in used],
    )
