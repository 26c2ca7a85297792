"""The solutions of one problem as a tree of states, as in OmegaPRM (arXiv 2406.06592, section 3.3).

A state is a prefix of solutions. Solutions whose first steps are equal as text share the states of
these steps, so rollouts that were sampled for one solution are evidence for all of them. A state is
sound if rollouts from it can reach the correct answer. A probe samples rollouts from a state, and
each state has two kinds of evidence, which are kept separate:

- `correct_solutions` counts all correct solutions that pass through the state. One of them shows
  that the state is sound, so such states are not probed.
- `sampled_outcomes` is an unbiased sample of continuations and is empty before the probe. It
  contains the rollouts of the probe, and later rollouts from earlier states that pass through this
  state by chance. Solutions from before the probe are left out. All of them are incorrect, since a
  state with a correct one is not probed, so they would bias the value downwards. Rollouts from
  later states are left out because their prefix forces them through this state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from annotators.context import ProblemContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.bisection import bisection_annotation
from stepmark.records import Annotation, Rollout, StepAnnotation, Trace, Verdict

__all__ = ["Bracket", "SolutionPath", "SolutionTree", "State"]


@dataclass(eq=False, slots=True)
class State:
    """A prefix of solutions, `depth` steps long."""

    depth: int
    children: dict[str, "State"] = field(default_factory=dict)
    """The states one step further, by the text of that step."""
    correct_solutions: int = 0
    sampled_outcomes: list[Verdict] | None = None
    """The outcomes of the sampled continuations; None until the state is probed."""
    visits: int = 0
    """N(s): the number of rollouts from this state that were selected for a search."""

    def estimate(self) -> StepAnnotation:
        """Return MC(s) with its counts."""
        return monte_carlo_estimate(self.sampled_outcomes or ())

    @property
    def is_unsound(self) -> bool:
        """Whether a probe sampled incorrect rollouts and no correct solution passes through."""
        if self.correct_solutions or self.sampled_outcomes is None:
            return False
        return Verdict.INCORRECT in self.sampled_outcomes

    @property
    def is_decided(self) -> bool:
        """Whether the state is shown to be sound or unsound."""
        return self.correct_solutions > 0 or self.is_unsound


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SolutionPath:
    """A rollout r from a state s. The sampled traces of the problem are rollouts from the root."""

    states: tuple[State, ...]
    """The states from the empty prefix to the whole solution: one more than steps."""
    start: State
    """The state s that the rollout was sampled from."""
    outcome: Verdict
    generated_tokens: int
    """len(r), the number of sampled tokens; 0 for traces without a token count."""
    is_policy_sample: bool
    """Whether it is distributed like the rollouts; otherwise it is evidence for the root only."""

    @property
    def step_count(self) -> int:
        """The number of steps."""
        return len(self.states) - 1


class Bracket(NamedTuple):
    """The lengths of the two prefixes between which the first error of a solution is."""

    sound: int
    """The longest prefix that is shown to be sound."""
    unsound: int | None
    """The shortest prefix that is shown to be unsound; None if no prefix is."""

    @property
    def is_closed(self) -> bool:
        """Whether the first error is located: the unsound prefix is one step longer."""
        return self.unsound == self.sound + 1


class SolutionTree:
    """The states and solutions of one problem. It starts with its traces and grows by rollouts."""

    def __init__(self, context: ProblemContext, traces: Sequence[Trace]) -> None:
        self.root = State(0, sampled_outcomes=[])
        self.sampled_rollouts = 0
        """The number of sampled rollouts, without the traces that the tree started with."""
        self._context = context
        self._solutions: dict[tuple[State, Verdict], SolutionPath] = {}
        self._trace_of: dict[SolutionPath, Trace] = {}
        self._rollout_of: dict[SolutionPath, tuple[Trace, Rollout]] = {}
        """The rollout of a solution, after the trace that it continues."""
        # Traces with the same text share a path but are annotated separately.
        self._sampled_traces: list[tuple[Trace, SolutionPath]] = []
        for trace in traces:
            solution = self._add(
                trace.steps,
                0,
                trace.outcome,
                trace.generated_tokens,
                is_policy_sample=context.is_policy_sample(trace),
            )
            self._trace_of.setdefault(solution, trace)
            self._sampled_traces.append((trace, solution))

    def __iter__(self) -> Iterator[SolutionPath]:
        """Iterate over the distinct solutions in the order in which they were first sampled."""
        return iter(self._solutions.values())

    def bracket(self, solution: SolutionPath) -> Bracket:
        """Return the prefixes between which the first error of a solution is.

        The unsound prefix is None if the solution is not incorrect, or if it is incorrect but a
        correct solution continues the whole of it.
        """
        if solution.outcome is not Verdict.INCORRECT:
            return Bracket(self._shared_sound_prefix(solution), None)
        # A correct solution passes through all states before its last one, so the states with
        # correct solutions are the first ones of the path.
        sound = 0
        for state in solution.states:
            if state.correct_solutions:
                sound = state.depth
        if sound == solution.step_count:
            return Bracket(sound - 1, None)
        for state in solution.states[sound + 1 :]:
            if state.is_unsound:
                return Bracket(sound, state.depth)
        return Bracket(sound, solution.step_count)

    def next_probe(self, solution: SolutionPath) -> int | None:
        """Return the depth of the state that halves the bracket of an incorrect solution.

        None if the first error is located or the solution has no unsound prefix.
        """
        sound, unsound = self.bracket(solution)
        if unsound is None or unsound - sound <= 1:
            return None
        return (sound + unsound) // 2

    async def probe(
        self, solution: SolutionPath, depth: int, rollouts: int, budget: int | None
    ) -> bool:
        """Sample rollouts from a state of a solution, unless it was probed before.

        Args:
            solution: The solution.
            depth: The depth of the state on the path of the solution.
            rollouts: How many rollouts to sample.
            budget: The maximum number of rollouts for the whole tree; None for no limit.

        Returns:
            False when the probe would exceed the budget, True otherwise.
        """
        state = solution.states[depth]
        if state.sampled_outcomes is not None:
            return True
        if budget is not None and self.sampled_rollouts + rollouts > budget:
            return False
        # From here on `_add` records the outcomes of rollouts that pass through the state.
        state.sampled_outcomes = []
        self.sampled_rollouts += rollouts
        trace = self._ensure_trace(solution)
        for rollout in await self._context.rollouts(trace, depth, rollouts):
            sampled = self._add(
                self._context.steps(trace, rollout),
                depth,
                rollout.outcome,
                rollout.generated_tokens,
                is_policy_sample=True,
            )
            self._rollout_of.setdefault(sampled, (trace, rollout))
        return True

    def annotations(self) -> list[Annotation]:
        """Return the annotations of the sampled traces, followed by those of discovered traces.

        A rollout becomes a discovered trace when it was continued or when the tree decides it. All
        other rollouts stay rollouts, since their first error is unknown.
        """
        for solution in self:
            if solution not in self._trace_of and self._is_decided(solution):
                self._ensure_trace(solution)
        annotations = list[Annotation]()
        sampled_ids = set[str]()
        for trace, solution in self._sampled_traces:
            sampled_ids.add(trace.trace_id)
            annotations.append(self._annotation(trace, solution))
        for solution, trace in self._trace_of.items():
            if trace.trace_id not in sampled_ids:
                annotations.append(self._annotation(trace, solution))
        return annotations

    def _shared_sound_prefix(self, solution: SolutionPath) -> int:
        """Return the length of the longest prefix that another correct solution shares.

        The solution itself does not show that its steps are sound, because it may contain an error
        and still reach the correct answer. When another solution shares all steps but the last, the
        last step is sound as well.
        """
        own_count = 0
        if solution.is_policy_sample and solution.outcome is Verdict.CORRECT:
            own_count = 1
        sound = 0
        for state in solution.states[:-1]:
            if state.correct_solutions > own_count:
                sound = state.depth
        return solution.step_count if sound == solution.step_count - 1 else sound

    def _is_decided(self, solution: SolutionPath) -> bool:
        bracket = self.bracket(solution)
        if solution.outcome is Verdict.CORRECT and bracket.sound == solution.step_count:
            return True
        return bracket.is_closed

    def _annotation(self, trace: Trace, solution: SolutionPath) -> Annotation:
        if solution.outcome is Verdict.UNKNOWN:
            return abstention(trace, f"outcome unknown: {trace.outcome_reason}")
        probes = dict[int, StepAnnotation]()
        for state in solution.states:
            if state.sampled_outcomes is not None:
                probes[state.depth] = state.estimate()
        # The estimate of the whole solution is its outcome, as in Monte Carlo estimation.
        probes[solution.step_count] = monte_carlo_estimate([solution.outcome])
        bracket = self.bracket(solution)
        return bisection_annotation(
            trace,
            probes,
            sound_prefix=bracket.sound,
            unsound_prefix=bracket.unsound if bracket.is_closed else None,
        )

    def _ensure_trace(self, solution: SolutionPath) -> Trace:
        """Return the trace of a solution; create a discovered one for a rollout without a trace."""
        if solution not in self._trace_of:
            trace, rollout = self._rollout_of[solution]
            self._trace_of[solution] = self._context.discover(trace, rollout)
        return self._trace_of[solution]

    def _add(
        self,
        steps: Sequence[str],
        start_depth: int,
        outcome: Verdict,
        generated_tokens: int,
        *,
        is_policy_sample: bool,
    ) -> SolutionPath:
        """Add a solution that was sampled from the state at `start_depth`, and count its outcome.

        Returns:
            The path of the solution: the existing one if the same text has the same outcome.
        """
        states = [self.root]
        for step in steps:
            child = states[-1].children.setdefault(step, State(len(states)))
            states.append(child)
        for state in states:
            # A trace from another distribution does not show that rollouts can complete a prefix.
            # It counts at the root only, as one of the samples of the problem.
            if not is_policy_sample and state is not self.root:
                continue
            if outcome is Verdict.CORRECT:
                state.correct_solutions += 1
            if state.sampled_outcomes is not None and state.depth >= start_depth:
                state.sampled_outcomes.append(outcome)
        solution = SolutionPath(
            states=tuple(states),
            start=states[start_depth],
            outcome=outcome,
            generated_tokens=generated_tokens,
            is_policy_sample=is_policy_sample,
        )
        return self._solutions.setdefault((states[-1], outcome), solution)
