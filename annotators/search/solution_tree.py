"""The solutions of one problem, as a tree: every prefix of any of them is a state, which knows of all that pass through it.

Solutions that begin with the same steps, to the letter, share the states of these steps, whoever wrote them and whenever: what has been
bought for one is known of all. A state knows two things, and they are kept apart:

    right    how many right solutions pass through it, from wherever they were drawn: one is enough to show that the steps so far can be
             completed, so a state that has one is never probed.
    draws    once it is probed, what a fair sample of continuations came to: the rollouts bought from it, and those bought later from an
             earlier state that came through it of their own accord. Solutions known before are left out: had one been right, the state
             would not have been probed, so with them its value would be too low. Rollouts from a later state were led through it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from annotators.context import ProblemContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.bisection import found
from stepmark.records import Annotation, Rollout, StepAnnotation, Trace, Verdict

__all__ = ["Solution", "State", "Tree"]


@dataclass(eq=False, slots=True)
class State:
    """A prefix of solutions, `depth` steps long."""

    depth: int
    children: dict[str, "State"] = field(default_factory=dict)
    """By the text of the next step."""
    right: int = 0
    draws: list[Verdict] | None = None
    """None until it is probed."""
    visits: int = 0
    """N(s): how many of its rollouts have been selected for a search."""

    def estimate(self) -> StepAnnotation:
        """MC(s), with its counts."""
        return monte_carlo_estimate(self.draws or ())

    @property
    def dead(self) -> bool:
        """Whether a probe has shown that nothing right follows."""
        return not self.right and self.draws is not None and Verdict.INCORRECT in self.draws


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Solution:
    """A rollout r from a state s; the problem's own traces are rollouts from its root."""

    path: tuple[State, ...]
    """From the empty prefix to the whole solution: one state more than steps."""
    start: State
    """The state s that it was drawn from."""
    outcome: Verdict
    tokens: int
    """len(r), of what was drawn; 0 where nobody has counted."""
    fair: bool
    """Whether it is a sample of what rollouts are samples of; it counts for the start alone where it is not."""

    @property
    def length(self) -> int:
        """Its steps."""
        return len(self.path) - 1


class Tree:
    """The states and the solutions, grown from a problem's own traces by rollouts."""

    def __init__(self, context: ProblemContext, traces: Sequence[Trace]) -> None:
        self.root = State(0, draws=[])
        self.sampled_rollouts = 0
        """Rollouts, the traces not among them."""
        self._tools = context
        self._solutions: dict[tuple[State, Verdict], Solution] = {}
        self._traces: dict[Solution, Trace] = {}
        self._rollouts: dict[Solution, tuple[Trace, Rollout]] = {}
        self._own: list[tuple[Trace, Solution]] = []
        for trace in traces:
            solution = self._grown(
                trace.steps,
                0,
                trace.outcome,
                trace.generated_tokens,
                fair=context.is_policy_sample(trace),
            )
            self._traces.setdefault(solution, trace)
            self._own.append((trace, solution))

    def __iter__(self) -> Iterator[Solution]:
        """The solutions, each text once, in the order in which they were first drawn."""
        return iter(self._solutions.values())

    def bracket(self, solution: Solution) -> tuple[int, int | None]:
        """(steps that are known to be sound, the fewest that are known not to be; None where that is not known).

        A right solution is sound as far as another right one goes along with it, and throughout if that is to its last step. One that is
        wrong although the whole of it can be continued to a right end, remains undecided.
        """
        if solution.outcome is not Verdict.INCORRECT:
            return self._bracket_of_right(solution), None
        sound = max(state.depth for state in solution.path if state.right)
        if sound == solution.length:
            return sound - 1, None
        dead = (state.depth for state in solution.path[sound + 1 :] if state.dead)
        return sound, next(dead, solution.length)

    def middle(self, solution: Solution) -> int | None:
        """The state, by its depth, that halves what is not known of a wrong solution; None where nothing is left to ask."""
        sound, unsound = self.bracket(solution)
        return (sound + unsound) // 2 if unsound is not None and unsound - sound > 1 else None

    async def probe(
        self, solution: Solution, depth: int, rollouts: int, budget: int | None
    ) -> bool:
        """Buy `rollouts` draws of the state `depth` steps into a solution, unless it has some; False when the budget does not reach.

        The budget is in rollouts of this tree.
        """
        state = solution.path[depth]
        if state.draws is not None:
            return True
        if budget is not None and self.sampled_rollouts + rollouts > budget:
            return False
        state.draws = []
        self.sampled_rollouts += rollouts
        trace = self._trace_of(solution)
        for rollout in await self._tools.rollouts(trace, depth, rollouts):
            steps = self._tools.steps(trace, rollout)
            drawn = self._grown(steps, depth, rollout.outcome, rollout.generated_tokens, fair=True)
            self._rollouts.setdefault(drawn, (trace, rollout))
        return True

    def annotations(self) -> list[Annotation]:
        """Of the problem's own traces, and of the rollouts that have become traces: those that were continued, and those that are decided.

        The others, of which the tree does not know where they go wrong, remain rollouts.
        """
        for solution in self:
            if solution not in self._traces and self._is_decided(solution):
                self._trace_of(solution)
        own = {trace.trace_id for trace, _ in self._own}
        discovered = [
            (trace, solution)
            for solution, trace in self._traces.items()
            if trace.trace_id not in own
        ]
        return [self._annotation(trace, solution) for trace, solution in (*self._own, *discovered)]

    def _bracket_of_right(self, solution: Solution) -> int:
        itself = int(solution.fair and solution.outcome is Verdict.CORRECT)
        sound = max(
            (state.depth for state in solution.path[:-1] if state.right > itself), default=0
        )
        return solution.length if sound == solution.length - 1 else sound

    def _is_decided(self, solution: Solution) -> bool:
        sound, unsound = self.bracket(solution)
        ends_right = solution.outcome is Verdict.CORRECT and sound == solution.length
        return ends_right or unsound == sound + 1

    def _annotation(self, trace: Trace, solution: Solution) -> Annotation:
        if solution.outcome is Verdict.UNKNOWN:
            return abstention(trace, f"outcome unknown: {trace.outcome_reason}")
        sound, unsound = self.bracket(solution)
        probes = {
            state.depth: state.estimate() for state in solution.path if state.draws is not None
        }
        probes[solution.length] = monte_carlo_estimate([solution.outcome])
        return found(trace, probes, sound=sound, unsound=unsound if unsound == sound + 1 else None)

    def _trace_of(self, solution: Solution) -> Trace:
        if solution not in self._traces:
            self._traces[solution] = self._tools.discover(*self._rollouts[solution])
        return self._traces[solution]

    def _grown(
        self, steps: Sequence[str], start: int, outcome: Verdict, tokens: int, *, fair: bool
    ) -> Solution:
        path = [self.root]
        for step in steps:
            path.append(path[-1].children.setdefault(step, State(len(path))))
        for state in path:
            if fair or state is self.root:
                state.right += outcome is Verdict.CORRECT
                if state.draws is not None and state.depth >= start:
                    state.draws.append(outcome)
        drawn = Solution(
            path=tuple(path), start=path[start], outcome=outcome, tokens=tokens, fair=fair
        )
        return self._solutions.setdefault((path[-1], outcome), drawn)
