"""Tree search: binary searches for first errors, one after the other in the tree of a problem's solutions (OmegaPRM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, ClassVar

from pydantic import Field

from annotators.base import SampleCount
from annotators.context import ProblemContext
from annotators.failures import abstention
from annotators.search.solution_tree import Solution, Tree
from stepmark.records import Annotation, Problem, Trace, Verdict

__all__ = ["TreeSearch"]

Base = Annotated[float, Field(gt=0, le=1)]
Many = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class TreeSearch:
    """OmegaPRM's Monte Carlo tree search (Luo et al. 2024, arXiv 2406.06592, section 3.3; constants of section 4).

    A search takes the wrong rollout r from a state s, 0 < MC(s) < 1, with the greatest Q(s, r) + U(s), and bisects it with k = `rollouts`
    completions a probe. What it probes are new states, whose wrong rollouts can be taken next: it prefers those that had every prospect
    of going right and are short,

        Q(s, r) = alpha ** (1 - MC(s)) * beta ** (len(r) / length)        U(s) = c_puct * sqrt(sum of all N) / (1 + N(s))

    with len(r) in tokens and N(s) the times that a rollout from s was taken. It ends after `searches`, when no rollout is left to take, or
    before the probe that would cost more than `budget` rollouts in all. Problems whose samples are all right or all wrong are not searched.

    Beyond the paper, nothing is asked that the tree can tell (see `_solutions`): a state with a right rollout is not probed, a state is
    probed once for all solutions that share it, no solution is searched twice, and one whose first error is known already not at all.
    States lie between the run's steps.
    """

    rollouts: SampleCount = 8
    searches: Many = 100
    budget: Many | None = None
    alpha: Base = 0.5
    beta: Base = 0.9
    length: Many = 500
    c_puct: Annotated[float, Field(ge=0)] = 0.125

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate_problem(
        self, problem: Problem, traces: Sequence[Trace], context: ProblemContext
    ) -> Sequence[Annotation]:
        """Grow the tree search by search; then every trace is annotated with what the whole tree knows of its states."""
        if reason := _why_not_searched(problem, traces):
            return [abstention(trace, reason) for trace in traces]
        tree, taken = Tree(context, traces), set[Solution]()
        while len(taken) < self.searches and (chosen := self._selected(tree, taken)):
            chosen.start.visits += 1
            taken.add(chosen)
            if not await self._searched(tree, chosen):
                break
        return tree.annotations()

    def _selected(self, tree: Tree, taken: set[Solution]) -> Solution | None:
        pool = (
            solution for solution in tree if solution not in taken and _can_be_taken(tree, solution)
        )
        return max(
            pool, key=lambda solution: self._worth(solution, visits=len(taken)), default=None
        )

    def _worth(self, solution: Solution, visits: int) -> float:
        """Q(s, r) + U(s)."""
        value = solution.start.estimate().value or 0.0
        q: float = self.alpha ** (1 - value) * self.beta ** (solution.tokens / self.length)
        u: float = self.c_puct * sqrt(visits) / (1 + solution.start.visits)
        return q + u

    async def _searched(self, tree: Tree, solution: Solution) -> bool:
        """Bisect a wrong solution for its first error; False when the budget is spent before."""
        while (middle := tree.middle(solution)) is not None:
            if not await tree.probe(solution, middle, self.rollouts, self.budget):
                return False
            state = solution.path[middle]
            if not (state.right or state.dead):
                return True  # a probe that decides nothing ends the search
        return True


def _why_not_searched(problem: Problem, traces: Sequence[Trace]) -> str:
    outcomes = {trace.outcome for trace in traces}
    if problem.answer is None:
        return "no reference answer to grade rollouts with"
    if Verdict.CORRECT not in outcomes:
        return "no sample solves the problem"
    return "" if Verdict.INCORRECT in outcomes else "no sample is wrong"


def _can_be_taken(tree: Tree, solution: Solution) -> bool:
    if solution.outcome is not Verdict.INCORRECT:
        return False
    state = solution.start.estimate()
    return 0 < state.successes < state.trials and tree.middle(solution) is not None
