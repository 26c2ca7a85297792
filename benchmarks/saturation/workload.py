"""The stages that are timed, and the traces that they annotate."""

from collections.abc import Sequence
from random import Random

from benchmarks.common.stage import GENERATION, Stage
from pocket.curriculum import corrupted
from problems.sources.word_problems import arithmetic_world_of
from stepmark.final_answers import final_answer
from stepmark.identity import digest
from stepmark.records import Problem, Trace, Verdict

__all__ = [
    "TRACES_PER_PROBLEM",
    "annotation_stage",
    "generation_stage",
    "gold_trace",
    "wrong_trace",
]

TRACES_PER_PROBLEM = 4
# A search over fewer steps requests no rollouts.
MIN_STEPS = 2


def generation_stage(problems: Sequence[Problem], traces: int) -> Stage:
    """Return a stage that writes `traces` traces of the first problems."""
    used = problems[: traces // TRACES_PER_PROBLEM]
    return Stage(name=GENERATION, problems=used, in_flight=traces)


def annotation_stage(
    method: str, problems: Sequence[Problem], traces: int, *, with_gold: bool
) -> Stage:
    """Return a stage that annotates `traces` wrong traces of the first problems.

    `with_gold` adds one correct trace per problem, which binary search requires: it shows that the
    problem is solvable.
    """
    used = problems[: traces // TRACES_PER_PROBLEM]
    wrong = list[Trace]()
    for problem in used:
        for index in range(TRACES_PER_PROBLEM):
            wrong.append(wrong_trace(problem, index))
    gold = list[Trace]()
    if with_gold:
        gold = [gold_trace(problem) for problem in used]
    return Stage(name=method, problems=used, traces=[*wrong, *gold], in_flight=len(wrong))


def wrong_trace(problem: Problem, index: int) -> Trace:
    """Return a solution with a wrong answer after injected mistakes.

    The mistakes are those of the pocket model's training. Sampling wrong traces from the model
    would take many tokens: few of its solutions are wrong where another one of the same problem is
    correct.
    """
    rng = Random(f"{problem.problem_id}:{index}")
    world = arithmetic_world_of(problem)
    while True:
        steps = tuple(corrupted(rng, world))
        if len(steps) >= MIN_STEPS and final_answer(steps[-1]) != problem.answer:
            # The text "spoiled" is part of the trace id, and so of the seeds of the rollouts.
            return _trace(problem, steps, Verdict.INCORRECT, f"spoiled {index}")


def gold_trace(problem: Problem) -> Trace:
    """Return the gold solution."""
    steps = tuple(problem.metadata["gold"].splitlines(keepends=True))
    return _trace(problem, steps, Verdict.CORRECT, "gold")


def _trace(problem: Problem, steps: tuple[str, ...], outcome: Verdict, name: str) -> Trace:
    return Trace(
        trace_id=digest(problem.problem_id, name),
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=final_answer(steps[-1]),
        outcome=outcome,
        outcome_reason=name,
        model=name,
    )
