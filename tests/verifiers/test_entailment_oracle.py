"""`entailment` and the oracle of the logic problems, which share neither reader nor prover, say the same of every step."""

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

STEPS = 10_000
SPOILT_EACH = 2
LEAST_SHARE = 0.05
FOREIGN = "That is what we need.\n"


def gold(problem: Problem) -> Sequence[str]:
    return problem.metadata["gold"].splitlines(keepends=True)


def written(random: Random) -> Iterator[tuple[Problem, Sequence[str]]]:
    """Right solutions, solutions with a mistake, solutions with a step left out and with a line in other words."""
    kinds = cycle(KINDS)
    for problem in SOURCE.problems():
        assert isinstance(problem, Problem)
        lines = gold(problem)
        yield problem, lines
        for kind in (next(kinds) for _ in range(SPOILT_EACH)):
            changed = with_injected_mistake(
                LogicWorld.of(problem), lines, random.randrange(len(lines)), kind, random
            )
            if changed is not None:
                yield problem, changed
        place = random.randrange(len(lines))
        yield problem, [*lines[:place], *random.choice(((), (FOREIGN,))), *lines[place + 1 :]]


SOURCE = Logic(count=10_000, max_steps=8, seed=11)


def test_the_verifier_agrees_with_the_oracle_on_every_step() -> None:
    said = Counter[Verdict]()
    for problem, lines in written(Random(5)):
        for index, (verdict, reason) in enumerate(SOURCE.judge(problem, lines)):
            claim = StepClaim(
                question=problem.question, previous=tuple(lines[:index]), step=lines[index]
            )
            assert Entailment().verify(claim).verdict is verdict, (
                problem.question,
                lines,
                index,
                reason,
            )
            said[verdict] += 1
        if said.total() >= STEPS:
            break
    assert said.total() >= STEPS
    assert min(said[verdict] for verdict in Verdict) > LEAST_SHARE * STEPS, said
