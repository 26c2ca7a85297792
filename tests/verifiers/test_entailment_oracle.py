"""`entailment` agrees with the oracle of the logic problems; they share no parser and no prover."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random

from problems.logic_domain.language import LogicWorld
from problems.logic_domain.mistakes import KINDS, with_injected_mistake
from problems.sources.logic import Logic
from stepmark.records import Problem, Verdict
from verifiers.base import StepClaim
from verifiers.entailment import Entailment

MIN_STEPS = 10_000
MISTAKES_PER_PROBLEM = 2
# Every verdict must occur, or the agreement would prove little.
MIN_VERDICT_SHARE = 0.05
FOREIGN_LINE = "That is what we need.\n"
SOURCE = Logic(count=10_000, max_steps=8, seed=11)


def gold_lines(problem: Problem) -> Sequence[str]:
    return problem.metadata["gold"].splitlines(keepends=True)


def solutions(random: Random) -> Iterator[tuple[Problem, Sequence[str]]]:
    """Yield correct solutions, solutions with a mistake, and solutions with one line changed.

    The changed line is either left out or replaced by a sentence outside the language.
    """
    kinds = cycle(KINDS)
    for problem in SOURCE.problems():
        assert isinstance(problem, Problem)
        lines = gold_lines(problem)
        yield problem, lines
        for _ in range(MISTAKES_PER_PROBLEM):
            index = random.randrange(len(lines))
            corrupted = with_injected_mistake(
                LogicWorld.of(problem), lines, index, next(kinds), random
            )
            if corrupted is not None:
                yield problem, corrupted
        index = random.randrange(len(lines))
        replacement = random.choice(((), (FOREIGN_LINE,)))
        yield problem, [*lines[:index], *replacement, *lines[index + 1 :]]


def test_verifier_agrees_with_oracle() -> None:
    verdicts = Counter[Verdict]()
    for problem, lines in solutions(Random(5)):
        for index, (verdict, reason) in enumerate(SOURCE.judge(problem, lines)):
            claim = StepClaim(
                question=problem.question, previous=tuple(lines[:index]), step=lines[index]
            )
            details = (problem.question, lines, index, reason)
            assert Entailment().verify(claim).verdict is verdict, details
            verdicts[verdict] += 1
        if verdicts.total() >= MIN_STEPS:
            break
    assert verdicts.total() >= MIN_STEPS
    for verdict in Verdict:
        assert verdicts[verdict] > MIN_VERDICT_SHARE * MIN_STEPS, verdicts
