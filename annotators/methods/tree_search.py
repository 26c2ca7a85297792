"""Tree search: binary searches for first errors in the tree of a problem's solutions (OmegaPRM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, ClassVar

from pydantic import Field

from annotators.base import CostBound, SampleCount
from annotators.context import ProblemContext
from annotators.failures import abstention
from annotators.search.solution_tree import SolutionPath, SolutionTree
from stepmark.records import Annotation, Problem, Trace, Verdict

__all__ = ["TreeSearch"]

UnitInterval = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class TreeSearch:
    """OmegaPRM's Monte Carlo tree search (Luo et al. 2024, arXiv 2406.06592, section 3.3).

    A search selects the incorrect rollout r from a state s with 0 < MC(s) < 1 that has the largest
    Q(s, r) + U(s), and bisects it with k = `rollouts` completions per probe. Every probe adds new
    states, whose incorrect rollouts can be selected next. Short rollouts from states that are often
    solved are preferred:

        Q(s, r) = alpha ** (1 - MC(s)) * beta ** (len(r) / length)
        U(s) = c_puct * sqrt(sum of all N) / (1 + N(s))

    len(r) is in tokens, and N(s) counts the selected rollouts from s. The constants are those of
    section 4. The method ends after `searches` searches, when no rollout is left to select, or
    before the probe that would exceed `budget` rollouts in total. It abstains on problems whose
    samples are all correct or all incorrect.

    Beyond the paper, solutions share their rollouts (see `solution_tree`): a state with a correct
    rollout is not probed, a state is probed once for all solutions that share it, no solution is
    searched twice, and a solution whose first error is already located is not searched. States end
    where steps of the run end.
    """

    rollouts: SampleCount = 8
    """k, the completions per probe."""
    searches: PositiveInt = 100
    """Most bisections per problem."""
    budget: PositiveInt | None = None
    """Most rollouts per problem; unset for no limit."""
    alpha: UnitInterval = 0.5
    """Base of the preference for states with a high value."""
    beta: UnitInterval = 0.9
    """Base of the preference for short rollouts."""
    length: PositiveInt = 500
    """Tokens after which a rollout counts as long."""
    c_puct: Annotated[float, Field(ge=0)] = 0.125
    """Weight of exploration."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return the budget, or what all searches need in solutions as long as the longest trace.

        The searches share their probes, so that most problems cost far less.
        """
        del judges
        probes = max(0, max(steps, default=0) - 1).bit_length()
        rollouts = self.searches * probes * self.rollouts
        if self.budget is not None:
            rollouts = min(rollouts, self.budget)
        return CostBound(rollouts=rollouts)

    async def annotate_problem(
        self, problem: Problem, traces: Sequence[Trace], context: ProblemContext
    ) -> Sequence[Annotation]:
        """Grow the tree search by search, then annotate every trace from the whole tree."""
        if reason := _abstention_reason(problem, traces):
            return [abstention(trace, reason) for trace in traces]
        tree = SolutionTree(context, traces)
        selected = set[SolutionPath]()
        while len(selected) < self.searches:
            solution = self._select(tree, selected)
            if solution is None:
                break
            solution.start.visits += 1
            selected.add(solution)
            within_budget = await self._bisect(tree, solution)
            if not within_budget:
                break
        return tree.annotations()

    def _select(self, tree: SolutionTree, selected: set[SolutionPath]) -> SolutionPath | None:
        """Return the candidate with the highest score; the first sampled one among equals."""
        best: SolutionPath | None = None
        best_score = 0.0
        for solution in tree:
            if solution in selected or not _is_candidate(tree, solution):
                continue
            # Every search has selected one rollout, so their number is the sum of all N.
            score = self._selection_score(solution, total_visits=len(selected))
            if best is None or score > best_score:
                best = solution
                best_score = score
        return best

    def _selection_score(self, solution: SolutionPath, total_visits: int) -> float:
        """Return Q(s, r) + U(s)."""
        value = solution.start.estimate().value or 0.0
        relative_length = solution.generated_tokens / self.length
        q: float = self.alpha ** (1 - value) * self.beta**relative_length
        u: float = self.c_puct * sqrt(total_visits) / (1 + solution.start.visits)
        return q + u

    async def _bisect(self, tree: SolutionTree, solution: SolutionPath) -> bool:
        """Bisect an incorrect solution; return False when the budget ends before the search."""
        while (middle := tree.next_probe(solution)) is not None:
            if not await tree.probe(solution, middle, self.rollouts, self.budget):
                return False
            if not solution.states[middle].is_decided:
                # No rollout of the probe was decided, so neither half can be chosen.
                return True
        return True


def _abstention_reason(problem: Problem, traces: Sequence[Trace]) -> str:
    """Return why a problem cannot be searched, or an empty string."""
    outcomes = {trace.outcome for trace in traces}
    if problem.answer is None:
        return "no reference answer to grade rollouts with"
    if Verdict.CORRECT not in outcomes:
        return "no sample solves the problem"
    if Verdict.INCORRECT not in outcomes:
        return "no sample is wrong"
    return ""


def _is_candidate(tree: SolutionTree, solution: SolutionPath) -> bool:
    """Return whether a solution is incorrect, starts at 0 < MC(s) < 1 and has steps to probe."""
    if solution.outcome is not Verdict.INCORRECT:
        return False
    estimate = solution.start.estimate()
    if not 0 < estimate.successes < estimate.trials:
        return False
    # Searches of other solutions may have located its first error.
    return tree.next_probe(solution) is not None
