"""How few rollouts could do: bounds by information for whoever knows the policy itself, and a search that does know it.

What is hidden of a wrong trace is its first error e, in which way it was made, and whether a second mistake follows. Whoever knows every
step's chance of going right knows its prior, what the problem's other samples say of it, and how a rollout from each prefix ends, given
it: right, in the trace's own wrong answer, in another. A method that knows none of this has to learn it too, and so needs more.

N rollouts tell of e at most N C, C bits being the capacity of the channel from what is hidden to how one rollout ends, at the best of the
prefixes (Shannon 1948; the capacity by Blahut and Arimoto's iteration, 1972). Labels that are exact with chance a, of T places, tell at
least H(e) - h(a) - (1 - a) log2(T - 1) of it (Fano); a posterior tells what it takes from the doubt of the truth. So N is at least the one
by the other. Binary search and Monte Carlo hear of a rollout only whether it is right: theirs is a binary channel, p being how likely a
rollout from a sound prefix is right, here the mean over prefixes, and epsilon from one with the error. Where epsilon is 0 it is a
Z-channel, and C is log2(1 + p (1-p)^((1-p)/p)).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from annotators.context import AnnotationContext
from annotators.failures import abstention
from benchmarks._ground import Found, Ground, Labelled
from benchmarks._measures import Group
from benchmarks._policy import ANSWERS, MISTAKES, Policy
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict

__all__ = ["Knowing", "Limit", "limit"]

RIGHT, SAME, OTHER = range(3)
ROUNDS = 300
"""Of Blahut and Arimoto: by then the third digit stands."""
TINY = 1e-12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Of a wrong trace, on average."""

    doubt: float
    """H(e) in bits, the other samples known."""
    told: float
    """How much of it the method's labels take away at least."""
    rollouts: float
    """The fewest that could, by the channel of three ends."""
    rollouts_binary: float
    """The same by the channel that hears only whether a rollout is right; a method that hears more may need fewer."""
    own: float | None
    """By that channel, for what the method itself did not know before it bought: a policy that it has to learn leaves more doubt. None
    for labels without a posterior."""
    own_z: float | None
    """The same where a mistake is taken never to come right: the Z-channel, which tells more, so that fewer would do."""


@dataclass(frozen=True)
class _Known:
    """A problem as whoever knows the policy sees it; what is hidden has `states` (first error, way, whether alone) in one flat row."""

    errors: npt.NDArray[np.intp]
    prior: Floats
    ends: Floats
    """[prefix, state, end]."""
    reach: Floats
    """By prefix: how likely all steps from it on go right."""

    def posterior(self, seen: Sequence[tuple[int, int]]) -> Floats:
        """Of the states, given how completions from prefixes ended."""
        logs = np.log(self.prior) + sum(np.log(self.ends[prefix, :, end]) for prefix, end in seen)
        chance: Floats = np.exp(logs - logs.max())
        chance /= chance.sum()
        return chance

    def places(self, states: Floats) -> Floats:
        """The chance of every first error."""
        chance: Floats = np.bincount(self.errors, weights=states, minlength=len(self.reach)).astype(
            np.float64
        )
        return chance

    def gains(self, states: Floats) -> Floats:
        """What one rollout from each prefix is expected to tell of the first error, in bits."""
        joint = np.stack(
            [
                np.stack([self.places(states * of_end) for of_end in of_prefix.T])
                for of_prefix in self.ends
            ]
        )
        return (
            _entropy(self.places(states))
            + _entropy(joint.sum(axis=2))
            - _entropy(joint.reshape(len(joint), -1))
        )


def limit(
    ground: Ground,
    policy: Policy,
    group: Group,
    labelled: Labelled,
    unbought: Labelled | None = None,
) -> Limit:
    """The fewest rollouts that could tell as much of a group's wrong traces as these labels do; `unbought`: the method's without any."""
    wrong = _wrong(labelled, group)
    families = _families(ground)
    known = [_known(policy, one.trace.problem_id) for one in wrong]
    doubts = [
        float(
            _entropy(of.places(of.posterior(_siblings(one.trace, families[one.trace.problem_id]))))
        )
        for of, one in zip(known, wrong, strict=True)
    ]
    doubt = float(np.mean(doubts))
    left = _left(wrong, policy.steps)
    told = max(0.0, doubt - left)
    right = [float(of.reach[1:].mean()) for of in known]
    binary = float(np.mean([_binary_capacity(each, policy.harmless) for each in right]))
    own = (
        None if unbought is None else max(0.0, _left(_wrong(unbought, group), policy.steps) - left)
    )
    return Limit(
        doubt=doubt,
        told=told,
        rollouts=told / float(np.mean([_capacity(policy, one.trace.problem_id) for one in wrong])),
        rollouts_binary=told / binary,
        own=None if own is None else own / binary,
        own_z=None if own is None else own / float(np.mean([_z_capacity(each) for each in right])),
    )


@dataclass(frozen=True, kw_only=True)
class Knowing:
    """The search of someone who knows the policy: exact Bayes, and the rollout that tells most, until `confidence` is reached."""

    policy: Policy
    confidence: float
    budget: int = 64

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Search a wrong trace; a right one is taken to be free of errors, as most are."""
        if trace.outcome is Verdict.CORRECT:
            return replace(abstention(trace, "right answer, not searched"), first_error=NO_ERROR)
        known = _known(self.policy, problem.problem_id)
        seen = list(_siblings(trace, list(context.group.traces.values())))
        while True:
            states = known.posterior(seen)
            chance = known.places(states)
            if chance.max() >= self.confidence or len(context.sampled_rollouts) >= self.budget:
                break
            prefix = int(known.gains(states).argmax())
            for rollout in await context.rollouts(prefix, 1):
                seen.append((prefix, _end(trace, rollout.outcome, rollout.final_answer)))
        best, steps = int(chance.argmax()), abstention(trace, "").steps
        posterior = (*map(float, chance), 0.0)
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=best,
            confidence=posterior[best],
            steps=steps,
            posterior=posterior,
        )


def _wrong(labelled: Labelled, group: Group) -> Sequence[Found]:
    return [one for one in labelled.found if one.truth != NO_ERROR and group(one)]


def _left(wrong: Sequence[Found], steps: int) -> float:
    """The doubt that labels leave at most, in bits: by their posterior, or by Fano from how often they are exact."""
    if all(one.said.posterior for one in wrong):
        return float(np.mean([-np.log2(max(one.said.posterior[one.truth], TINY)) for one in wrong]))
    missed = float(np.mean([one.said.first_error != one.truth for one in wrong]))
    return float(_entropy(np.array([missed, 1 - missed]))) + missed * float(
        np.log2(max(1, steps - 1))
    )


def _families(ground: Ground) -> Mapping[str, Sequence[Trace]]:
    families: dict[str, list[Trace]] = {problem_id: [] for problem_id in ground.problems}
    for trace in ground.traces:
        families[trace.problem_id].append(trace)
    return families


def _siblings(trace: Trace, family: Sequence[Trace]) -> Sequence[tuple[int, int]]:
    return [
        (0, _end(trace, other.outcome, other.final_answer))
        for other in family
        if other.trace_id != trace.trace_id
    ]


def _end(trace: Trace, outcome: Verdict, answer: str | None) -> int:
    return RIGHT if outcome is Verdict.CORRECT else SAME if answer == trace.final_answer else OTHER


@lru_cache(maxsize=4096)
def _known(policy: Policy, problem_id: str) -> _Known:
    chances = np.array(policy.chances(problem_id))
    reach = np.cumprod(chances[::-1])[::-1]
    onward = np.append(reach[1:], 1.0)  # all steps behind this one go right
    made = np.append(1.0, np.cumprod(chances)[:-1]) * (
        1 - chances
    )  # by place: the first mistake is made here
    errors, ways, alone = (
        each.ravel()
        for each in np.meshgrid(
            np.arange(policy.steps),
            np.arange(len(MISTAKES)),
            np.array([True, False]),
            indexing="ij",
        )
    )
    share = np.array(MISTAKES)[ways]
    prior = made[errors] * share * np.where(alone, onward[errors], 1 - onward[errors])
    ends = np.empty((policy.steps, len(errors), 3))
    for prefix in range(policy.steps):
        sound = prefix <= errors
        ends[prefix, :, RIGHT] = np.where(
            sound, reach[prefix] + (1 - reach[prefix]) * policy.harmless, policy.harmless
        )
        # From a sound prefix: right up to the error, wrong there in the same way, right from there on; behind it: right from there on.
        before = np.append(1.0, np.cumprod(chances))
        again = (before[errors] / before[prefix]) * (1 - chances[errors]) * share * onward[errors]
        same = (1 - policy.harmless) * np.where(sound, again, reach[prefix])
        ends[prefix, :, SAME] = np.where(alone, same, 1 / ANSWERS)
    ends[:, :, OTHER] = np.maximum(TINY, 1 - ends[:, :, RIGHT] - ends[:, :, SAME])
    return _Known(
        errors=errors,
        prior=np.maximum(TINY, prior) / prior.sum(),
        ends=np.maximum(TINY, ends),
        reach=reach,
    )


@lru_cache(maxsize=4096)
def _capacity(policy: Policy, problem_id: str) -> float:
    """Of the channel from what is hidden to how one rollout ends, in bits, at the best prefix; whatever is believed by then."""
    return max(_blahut_arimoto(channel) for channel in _known(policy, problem_id).ends)


def _blahut_arimoto(channel: Floats) -> float:
    """The capacity of a channel [input, output], in bits."""
    channel = np.unique(np.maximum(TINY, channel.round(9)), axis=0)
    inputs = np.full(len(channel), 1 / len(channel))
    for _ in range(ROUNDS):
        told = (channel * np.log2(channel / (inputs @ channel))).sum(axis=1)
        inputs = inputs * np.exp2(told)
        inputs /= inputs.sum()
    return float(inputs @ told)


def _binary_capacity(right: float, harmless: float) -> float:
    """Of hearing whether a rollout is right, which it is with chance `harmless` even behind an error, in bits."""
    chances = np.array([right + (1 - right) * harmless, harmless])
    return _blahut_arimoto(np.stack([chances, 1 - chances], axis=1))


def _z_capacity(right: float) -> float:
    """Of the Z-channel that crosses over with chance 1 - `right`."""
    return float(np.log2(1 + right * (1 - right) ** ((1 - right) / right)))


def _entropy(chance: Floats) -> Floats:
    """In bits, along the last axis."""
    entropy: Floats = -(chance * np.log2(np.maximum(chance, TINY))).sum(axis=-1)
    return entropy
