"""The work that is timed: a stage of a run, and what it finds in its dataset when it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pipelines.run.job import Job
from pocket.curriculum import corrupted
from problems.sources.word_problems import arithmetic_world_of
from stepmark.final_answers import final_answer
from stepmark.identity import digest
from stepmark.records import Problem, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES

__all__ = ["GENERATION", "TRACES_PER_PROBLEM", "Stage", "gold", "labelling", "spoiled", "writing"]

GENERATION = "generation"
TRACES_PER_PROBLEM = 4
# A search over fewer steps has nothing to halve and asks the engine for nothing.
FEWEST_STEPS = 2
FINGERPRINT = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage over one shard: the writing of traces where there are none, else a method over all of them at once."""

    name: str
    """`GENERATION`, or the method."""
    problems: Sequence[Problem]
    traces: Sequence[Trace] = ()
    in_flight: int
    """How many traces are written, or have rollouts spent on them, together."""

    def write_into(self, dataset: Dataset) -> None:
        """Make it a dataset in which this stage comes next."""
        dataset.write_part(PROBLEMS, 0, self.problems, FINGERPRINT)
        if self.traces:
            dataset.write_part(TRACES, 0, self.traces, FINGERPRINT)

    async def run(self, job: Job) -> None:
        """Do the stage, whole: the engine's answers are graded and the rows written."""
        if self.name == GENERATION:
            await job.make_traces(0)
        else:
            await job.make_annotations(0, self.name)


def writing(problems: Sequence[Problem], traces: int) -> Stage:
    """As many traces of the first problems, to be written."""
    return Stage(
        name=GENERATION, problems=problems[: traces // TRACES_PER_PROBLEM], in_flight=traces
    )


def labelling(method: str, problems: Sequence[Problem], traces: int, *, solved: bool) -> Stage:
    """As many wrong traces of the first problems, to be labelled; beside them, where binary search wants it, a right one a problem."""
    used = problems[: traces // TRACES_PER_PROBLEM]
    wrong = [spoiled(problem, index) for problem in used for index in range(TRACES_PER_PROBLEM)]
    return Stage(
        name=method,
        problems=used,
        traces=[*wrong, *(map(gold, used) if solved else ())],
        in_flight=len(wrong),
    )


def spoiled(problem: Problem, index: int) -> Trace:
    """A solution with mistakes planted in it, as the pocket model was taught to find them, that comes to a wrong answer.

    A model's own cost their tokens, and most of them too many: few solutions are wrong where another of the same problem is right.
    """
    random, world = Random(f"{problem.problem_id}:{index}"), arithmetic_world_of(problem)
    while True:
        steps = tuple(corrupted(random, world))
        if len(steps) >= FEWEST_STEPS and final_answer(steps[-1]) != problem.answer:
            return _trace(problem, steps, Verdict.INCORRECT, f"spoiled {index}")


def gold(problem: Problem) -> Trace:
    """The right solution."""
    return _trace(
        problem, tuple(problem.metadata["gold"].splitlines(keepends=True)), Verdict.CORRECT, "gold"
    )


def _trace(problem: Problem, steps: tuple[str, ...], outcome: Verdict, what: str) -> Trace:
    return Trace(
        trace_id=digest(problem.problem_id, what),
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=final_answer(steps[-1]),
        outcome=outcome,
        outcome_reason=what,
        model=what,
    )
