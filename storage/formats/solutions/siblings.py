"""Pairs of next steps after one prefix, as the view `siblings` has them (`storage.queries`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import NamedTuple

from stepmark.records import Discovered, Verdict
from storage.formats.base import Example

__all__ = ["Continuation", "PartOfSolution", "SiblingPair", "sibling_pairs"]


class PartOfSolution(NamedTuple):
    """A text, and the example of the solution that it is a part of."""

    text: str
    example: Example


@dataclass(slots=True)
class Continuation:
    """A next step after a prefix: a node in the tree of a problem's solutions."""

    steps: Sequence[str]
    """The steps of a solution with this prefix and this step."""
    index: int
    """The index of the step in them."""
    example: Example
    """The example of that solution."""
    verdicts: set[Verdict] = field(default_factory=set)
    outcomes: list[Verdict] = field(default_factory=list)
    """The decided outcomes of the solutions that were free after the step."""
    endings: dict[Verdict, PartOfSolution] = field(default_factory=dict)
    """By outcome, the first solution with it from this step to its end."""
    next_steps: dict[str, "Continuation"] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The step."""
        return self.steps[self.index]

    @property
    def verdict(self) -> Verdict:
        """The verdict of the labels; UNKNOWN where there is none, or where they contradict."""
        if len(self.verdicts) != 1:
            return Verdict.UNKNOWN
        (verdict,) = self.verdicts
        return verdict

    @property
    def value(self) -> float | None:
        """The share of correct outcomes; None without a decided one."""
        if not self.outcomes:
            return None
        return self.outcomes.count(Verdict.CORRECT) / len(self.outcomes)

    @property
    def step(self) -> PartOfSolution:
        """The step alone."""
        return PartOfSolution(self.text, self.example)


class SiblingPair(NamedTuple):
    """Two steps after one prefix, the better one first."""

    chosen: Continuation
    rejected: Continuation

    @property
    def prefix(self) -> Sequence[str]:
        """The steps before."""
        return self.chosen.steps[: self.chosen.index]

    @property
    def gap(self) -> float | None:
        """The difference of their values; None where one is unknown."""
        if self.chosen.value is None or self.rejected.value is None:
            return None
        return self.chosen.value - self.rejected.value


class _Solution(NamedTuple):
    given_steps: int
    steps: Sequence[str]
    outcome: Verdict
    is_truncated: bool


def sibling_pairs(examples: Sequence[Example], but: Sequence[str]) -> Iterator[SiblingPair]:
    """Yield every pair of next steps in the solutions of a problem once.

    Args:
        examples: The traces of the problem, with their rollouts.
        but: The methods whose rollouts are not used.
    """
    first_steps: dict[str, Continuation] = {}
    for example in examples:
        for solution in _solutions(example, but):
            _add_solution(first_steps, example, solution)
        _add_verdicts(first_steps, example)
    remaining = [first_steps]
    while remaining:
        siblings = remaining.pop()
        for chosen, rejected in permutations(siblings.values(), 2):
            if chosen.text.strip() != rejected.text.strip() and _is_better(chosen, rejected):
                yield SiblingPair(chosen, rejected)
        remaining.extend(step.next_steps for step in siblings.values())


def _is_better(step: Continuation, other: Continuation) -> bool:
    if step.verdict is Verdict.INCORRECT:
        return False
    if step.verdict is Verdict.CORRECT and other.verdict is Verdict.INCORRECT:
        return True
    return step.value is not None and other.value is not None and step.value > other.value


def _solutions(example: Example, but: Sequence[str]) -> Iterator[_Solution]:
    trace = example.trace
    # The outcome of a discovered trace is that of its rollout, which is one of those below.
    if not isinstance(trace, Discovered):
        yield _Solution(0, trace.steps, trace.outcome, trace.finish_reason == "length")
    for rollout in example.rollouts:
        if rollout.steps is not None and rollout.method not in but:
            steps = trace.steps[: rollout.prefix_steps] + rollout.steps
            is_truncated = rollout.finish_reason == "length"
            yield _Solution(rollout.prefix_steps, steps, rollout.outcome, is_truncated)


def _add_solution(
    first_steps: dict[str, Continuation], example: Example, solution: _Solution
) -> None:
    siblings = first_steps
    # A truncated solution does not contain the whole of its last step.
    for index in range(len(solution.steps) - solution.is_truncated):
        step = _step_of(siblings, solution.steps, index, example)
        # The solution was free after the last step that it was given.
        if index >= solution.given_steps - 1 and solution.outcome is not Verdict.UNKNOWN:
            step.outcomes.append(solution.outcome)
            if solution.outcome not in step.endings:
                text = "".join(solution.steps[index:])
                step.endings[solution.outcome] = PartOfSolution(text, example)
        siblings = step.next_steps


def _add_verdicts(first_steps: dict[str, Continuation], example: Example) -> None:
    siblings = first_steps
    for index, step_label in enumerate(example.label.steps):
        step = _step_of(siblings, example.trace.steps, index, example)
        if step_label.label is not Verdict.UNKNOWN:
            step.verdicts.add(step_label.label)
        # What follows an error continues no sound prefix.
        if step_label.label is not Verdict.CORRECT:
            break
        siblings = step.next_steps


def _step_of(
    siblings: dict[str, Continuation], steps: Sequence[str], index: int, example: Example
) -> Continuation:
    """Return the node of a step; a new one if no solution has had it."""
    step = siblings.get(steps[index])
    if step is None:
        step = siblings[steps[index]] = Continuation(steps, index, example)
    return step
