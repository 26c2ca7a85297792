"""Pairs of next steps after one prefix, as the view `siblings` has them (`storage.queries`)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import NamedTuple

from stepmark.records import Discovered, Verdict
from storage.formats.base import Example

__all__ = ["Continuation", "SiblingPair", "sibling_pairs"]

Prefix = tuple[str, ...]


@dataclass(slots=True)
class Continuation:
    """A next step after a prefix, with what is known of it."""

    text: str
    example: Example
    """An example that contains the step, or whose rollout does."""
    verdicts: set[Verdict] = field(default_factory=set)
    outcomes: list[Verdict] = field(default_factory=list)
    """The decided outcomes of the solutions that were free after the step."""
    endings: dict[Verdict, str] = field(default_factory=dict)
    """By outcome, the text of the first solution with it, from this step to its end."""

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


class SiblingPair(NamedTuple):
    """Two steps after one prefix, the better one first."""

    prefix: Prefix
    chosen: Continuation
    rejected: Continuation

    @property
    def gap(self) -> float | None:
        """The difference of their values; None where one is unknown."""
        if self.chosen.value is None or self.rejected.value is None:
            return None
        return self.chosen.value - self.rejected.value


class _Solution(NamedTuple):
    given_steps: int
    steps: Prefix
    outcome: Verdict
    is_truncated: bool
    example: Example


def sibling_pairs(examples: Sequence[Example], but: Sequence[str]) -> Iterator[SiblingPair]:
    """Yield every pair of next steps in the solutions of a problem once.

    Args:
        examples: The traces of the problem, with their rollouts.
        but: The methods whose rollouts are not used.
    """
    for prefix, by_text in _continuations(examples, but).items():
        for chosen, rejected in permutations(by_text.values(), 2):
            if chosen.text.strip() != rejected.text.strip() and _is_better(chosen, rejected):
                yield SiblingPair(prefix, chosen, rejected)


def _is_better(step: Continuation, other: Continuation) -> bool:
    if step.verdict is Verdict.INCORRECT:
        return False
    if step.verdict is Verdict.CORRECT and other.verdict is Verdict.INCORRECT:
        return True
    return step.value is not None and other.value is not None and step.value > other.value


def _continuations(
    examples: Sequence[Example], but: Sequence[str]
) -> dict[Prefix, dict[str, Continuation]]:
    steps_after = defaultdict[Prefix, dict[str, Continuation]](dict)

    def continuation(example: Example, steps: Prefix, place: int) -> Continuation:
        text = steps[place]
        return steps_after[steps[:place]].setdefault(text, Continuation(text, example))

    for example in examples:
        for solution in _solutions(example, but):
            # A truncated solution does not contain the whole of its last step.
            end = len(solution.steps) - solution.is_truncated
            # It was free after the last step that it was given.
            for place in range(max(solution.given_steps - 1, 0), end):
                step = continuation(example, solution.steps, place)
                if solution.outcome is not Verdict.UNKNOWN:
                    step.outcomes.append(solution.outcome)
                    step.endings.setdefault(solution.outcome, "".join(solution.steps[place:]))
        # What follows an error continues no sound prefix.
        for place, step_label in enumerate(example.label.steps):
            if step_label.label is not Verdict.UNKNOWN:
                step = continuation(example, example.trace.steps, place)
                step.verdicts.add(step_label.label)
            if step_label.label is not Verdict.CORRECT:
                break
    return steps_after


def _solutions(example: Example, but: Sequence[str]) -> Iterator[_Solution]:
    trace = example.trace
    # The outcome of a discovered trace is that of its rollout, which is one of those below.
    if not isinstance(trace, Discovered):
        is_truncated = trace.finish_reason == "length"
        yield _Solution(0, trace.steps, trace.outcome, is_truncated, example)
    for rollout in example.rollouts:
        if rollout.steps is None or rollout.method in but:
            continue
        yield _Solution(
            rollout.prefix_steps,
            trace.steps[: rollout.prefix_steps] + rollout.steps,
            rollout.outcome,
            rollout.finish_reason == "length",
            example,
        )
