"""Information-theoretic bounds on the number of rollouts, and a search that knows the policy.

The hidden state of a wrong trace is its first error e, the kind of mistake made there, and whether
a second mistake follows. With the probability of every step known, the prior of this state, its
likelihood given the problem's other samples, and the distribution of the end of a rollout from each
prefix are known too. The end is correct, the trace's own wrong answer, or another one. A method
that does not know the probabilities has to learn them as well, and therefore needs more rollouts.

N rollouts give at most N C bits of information on e, where C is the capacity of the channel from
the hidden state to the end of one rollout, at the best of the prefixes (Shannon 1948; computed by
the iteration of Blahut and Arimoto, 1972). Labels that are exact with probability a, with T
possible first errors, contain at least H(e) - h(a) - (1 - a) log2(T - 1) bits (Fano's inequality).
A posterior contains the decrease in the surprisal of the true first error. N is at least the number
of bits in the labels divided by C.

Binary search and Monte Carlo use only whether a rollout is correct, which is a binary channel: a
rollout is correct with probability p from a prefix without an error (here the mean over prefixes),
and with probability epsilon from one with the error. With epsilon = 0 it is a Z-channel, and C is
log2(1 + p (1-p)^((1-p)/p)).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from annotators.context import AnnotationContext
from annotators.failures import abstention
from benchmarks.efficiency.ground_truth import GroundTruth, MethodResults, TraceResult
from benchmarks.efficiency.measures import TraceGroup, wrong_traces
from benchmarks.efficiency.simulated_policy import (
    MISTAKE_PROBABILITIES,
    WRONG_ANSWERS,
    Policy,
)
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict

__all__ = [
    "InformedSearch",
    "PolicyModel",
    "RolloutBound",
    "blahut_arimoto",
    "policy_model",
    "rollout_bound",
    "z_channel_capacity",
]

# The end of a rollout: correct, the same wrong answer as the trace, or another one.
CORRECT = 0
SAME = 1
OTHER = 2
# After these iterations of Blahut and Arimoto, the third digit of the capacity is stable.
CAPACITY_ITERATIONS = 300
# Replaces zero probabilities, so that logarithms are finite.
MIN_PROBABILITY = 1e-12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RolloutBound:
    """Bounds for the labels of one method, as means over wrong traces.

    The aliases are the keys in the JSON.
    """

    initial_entropy: Annotated[float, Field(alias="doubt")]
    """H(e) in bits, given the other samples of the problem."""
    information: Annotated[float, Field(alias="told")]
    """The decrease in this entropy by the method's labels, in bits; a lower bound."""
    rollouts: float
    """The fewest rollouts with this information, by the channel with three ends."""
    rollouts_binary: float
    """The same by the binary channel. A method that uses more than whether a rollout is correct may
    need fewer."""
    binary_from_prior: Annotated[float | None, Field(alias="own")]
    """The fewest rollouts by the binary channel for the information that the method gained after it
    had used the samples of the problem. It is larger if the policy has to be learned. None for
    labels without a posterior."""
    z_channel_from_prior: Annotated[float | None, Field(alias="own_z")]
    """The same by the Z-channel, on which solutions with a mistake are never correct. Its capacity
    is larger, so the bound is lower."""


@dataclass(frozen=True)
class PolicyModel:
    """The probabilities of one problem, given the policy.

    The hidden states (first error, kind of mistake, whether it is the only one) are flattened to
    one axis.
    """

    first_errors: npt.NDArray[np.intp]
    """The first error of each state, array [state]."""
    prior: Floats
    """The prior probability of each state, array [state]."""
    end_probabilities: Floats
    """The distribution of the end of a rollout, array [prefix, state, end]."""
    suffix_correct: Floats
    """The probability that all steps from each prefix on are correct, array [prefix]."""

    def posterior(self, ends: Sequence[tuple[int, int]]) -> Floats:
        """Return the probability of each state, given (prefix, end) of completions."""
        log_likelihood = sum(np.log(self.end_probabilities[prefix, :, end]) for prefix, end in ends)
        logs = np.log(self.prior) + log_likelihood
        # Subtracting the maximum avoids underflow.
        probabilities: Floats = np.exp(logs - logs.max())
        probabilities /= probabilities.sum()
        return probabilities

    def first_error_probabilities(self, states: Floats) -> Floats:
        """Return the probability of each first error, array [step], from those of the states."""
        steps = len(self.suffix_correct)
        sums = np.bincount(self.first_errors, weights=states, minlength=steps)
        return sums.astype(np.float64)

    def information_gains(self, states: Floats) -> Floats:
        """Return the expected information of one rollout on the first error, in bits, by prefix."""
        tables = list[Floats]()
        for by_state in self.end_probabilities:
            rows = [self.first_error_probabilities(states * column) for column in by_state.T]
            tables.append(np.stack(rows))
        joint = np.stack(tables)  # [prefix, end, first error]
        return (
            _entropy(self.first_error_probabilities(states))
            + _entropy(joint.sum(axis=2))
            - _entropy(joint.reshape(len(joint), -1))
        )


def rollout_bound(
    ground_truth: GroundTruth,
    policy: Policy,
    group: TraceGroup,
    results: MethodResults,
    without_rollouts: MethodResults | None = None,
) -> RolloutBound:
    """Return the fewest rollouts that could give as much information as the labels of a method.

    Args:
        ground_truth: The traces that were annotated.
        policy: The policy that wrote them.
        group: Selects the traces.
        results: The labels of the method.
        without_rollouts: The labels of the same method without any rollouts, if it has a posterior.
    """
    wrong = wrong_traces(results, group)
    samples = _samples_by_problem(ground_truth)
    entropies = list[float]()
    capacities = list[float]()
    binary_capacities = list[float]()
    z_capacities = list[float]()
    for result in wrong:
        problem_id = result.trace.problem_id
        model = policy_model(policy, problem_id)
        states = model.posterior(_sibling_ends(result.trace, samples[problem_id]))
        entropies.append(float(_entropy(model.first_error_probabilities(states))))
        # Monte Carlo and binary search sample from prefixes of at least one step.
        correct = float(model.suffix_correct[1:].mean())
        capacities.append(_rollout_capacity(policy, problem_id))
        binary_capacities.append(_binary_capacity(correct, policy.harmless))
        z_capacities.append(z_channel_capacity(correct))
    initial_entropy = float(np.mean(entropies))
    remaining = _remaining_entropy(wrong, policy.steps)
    information = max(0.0, initial_entropy - remaining)
    binary_capacity = float(np.mean(binary_capacities))
    binary_from_prior = None
    z_channel_from_prior = None
    if without_rollouts is not None:
        before = _remaining_entropy(wrong_traces(without_rollouts, group), policy.steps)
        gained = max(0.0, before - remaining)
        binary_from_prior = gained / binary_capacity
        z_channel_from_prior = gained / float(np.mean(z_capacities))
    return RolloutBound(
        initial_entropy=initial_entropy,
        information=information,
        rollouts=information / float(np.mean(capacities)),
        rollouts_binary=information / binary_capacity,
        binary_from_prior=binary_from_prior,
        z_channel_from_prior=z_channel_from_prior,
    )


@dataclass(frozen=True, kw_only=True)
class InformedSearch:
    """A search that knows the policy.

    It computes the exact posterior and samples the rollout with the largest expected information
    gain, until a first error has the probability `confidence` or `budget` rollouts are sampled.
    """

    policy: Policy
    confidence: float
    budget: int = 64

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Search a wrong trace. A correct one is labelled without errors, as most have none."""
        if trace.outcome is Verdict.CORRECT:
            return replace(abstention(trace, "right answer, not searched"), first_error=NO_ERROR)
        model = policy_model(self.policy, problem.problem_id)
        ends = list(_sibling_ends(trace, list(context.group.traces.values())))
        while True:
            states = model.posterior(ends)
            probabilities = model.first_error_probabilities(states)
            if probabilities.max() >= self.confidence:
                break
            if len(context.sampled_rollouts) >= self.budget:
                break
            prefix = int(model.information_gains(states).argmax())
            for rollout in await context.rollouts(prefix, 1):
                ends.append((prefix, _end(trace, rollout.outcome, rollout.final_answer)))
        first_error = int(probabilities.argmax())
        # The last entry is the probability that the trace has no error.
        posterior = (*map(float, probabilities), 0.0)
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=first_error,
            confidence=posterior[first_error],
            steps=abstention(trace, "").steps,
            posterior=posterior,
        )


def _remaining_entropy(wrong: Sequence[TraceResult], steps: int) -> float:
    """Return an upper bound on the entropy of the first error given the labels, in bits.

    It is the surprisal of the true first error if all labels have a posterior, otherwise Fano's
    bound from the share of exact labels.
    """
    if all(result.annotation.posterior for result in wrong):
        surprisals = list[float]()
        for result in wrong:
            probability = result.annotation.posterior[result.first_error]
            surprisals.append(-float(np.log2(max(probability, MIN_PROBABILITY))))
        return float(np.mean(surprisals))
    missed = float(
        np.mean([result.annotation.first_error != result.first_error for result in wrong])
    )
    entropy = float(_entropy(np.array([missed, 1 - missed])))
    return entropy + missed * float(np.log2(max(1, steps - 1)))


def _samples_by_problem(ground_truth: GroundTruth) -> Mapping[str, Sequence[Trace]]:
    samples: dict[str, list[Trace]] = {problem_id: [] for problem_id in ground_truth.problems}
    for trace in ground_truth.traces:
        samples[trace.problem_id].append(trace)
    return samples


def _sibling_ends(trace: Trace, samples: Sequence[Trace]) -> Sequence[tuple[int, int]]:
    """Return the other samples as (prefix, end) of rollouts from the empty prefix."""
    ends = list[tuple[int, int]]()
    for sibling in samples:
        if sibling.trace_id != trace.trace_id:
            ends.append((0, _end(trace, sibling.outcome, sibling.final_answer)))
    return ends


def _end(trace: Trace, outcome: Verdict, answer: str | None) -> int:
    if outcome is Verdict.CORRECT:
        return CORRECT
    if answer == trace.final_answer:
        return SAME
    return OTHER


# Many traces share a problem, and every method uses the same problems.
@lru_cache(maxsize=4096)
def policy_model(policy: Policy, problem_id: str) -> PolicyModel:
    """Return the probabilities of a problem."""
    probabilities = np.array(policy.step_probabilities(problem_id))
    harmless = policy.harmless
    suffix_correct = np.cumprod(probabilities[::-1])[::-1]
    # The probability that all steps after each one are correct.
    rest_correct = np.append(suffix_correct[1:], 1.0)
    # The probability that the first `i` steps are correct, array [i].
    prefix_correct = np.append(1.0, np.cumprod(probabilities))
    first_mistake = prefix_correct[:-1] * (1 - probabilities)
    grids = np.meshgrid(
        np.arange(policy.steps),
        np.arange(len(MISTAKE_PROBABILITIES)),
        np.array([True, False]),
        indexing="ij",
    )
    first_errors, kinds, is_only = (grid.ravel() for grid in grids)
    kind_probability = np.array(MISTAKE_PROBABILITIES)[kinds]
    rest = rest_correct[first_errors]
    prior = first_mistake[first_errors] * kind_probability * np.where(is_only, rest, 1 - rest)
    ends = np.empty((policy.steps, len(first_errors), 3))
    for prefix in range(policy.steps):
        is_sound = prefix <= first_errors
        all_correct = suffix_correct[prefix]
        ends[prefix, :, CORRECT] = np.where(
            is_sound, all_correct + (1 - all_correct) * harmless, harmless
        )
        # The trace's own answer, from a sound prefix: correct steps up to the error, the same
        # mistake there, and correct steps after it. From a prefix with the error: correct steps.
        repeated = (
            (prefix_correct[first_errors] / prefix_correct[prefix])
            * (1 - probabilities[first_errors])
            * kind_probability
            * rest
        )
        same = (1 - harmless) * np.where(is_sound, repeated, all_correct)
        ends[prefix, :, SAME] = np.where(is_only, same, 1 / WRONG_ANSWERS)
    remainder = 1 - ends[:, :, CORRECT] - ends[:, :, SAME]
    ends[:, :, OTHER] = np.maximum(MIN_PROBABILITY, remainder)
    return PolicyModel(
        first_errors=first_errors,
        prior=np.maximum(MIN_PROBABILITY, prior) / prior.sum(),
        end_probabilities=np.maximum(MIN_PROBABILITY, ends),
        suffix_correct=suffix_correct,
    )


# The iteration is the slowest part of the bounds, and all methods use the same problems.
@lru_cache(maxsize=4096)
def _rollout_capacity(policy: Policy, problem_id: str) -> float:
    """Return the capacity of the channel with three ends at the best prefix, in bits."""
    channels = policy_model(policy, problem_id).end_probabilities
    return max(blahut_arimoto(channel) for channel in channels)


def blahut_arimoto(channel: Floats) -> float:
    """Return the capacity of a channel, array [input, output] of probabilities, in bits."""
    # Equal inputs add nothing to the capacity.
    channel = np.unique(np.maximum(MIN_PROBABILITY, channel.round(9)), axis=0)
    inputs = np.full(len(channel), 1 / len(channel))
    for _ in range(CAPACITY_ITERATIONS):
        information = (channel * np.log2(channel / (inputs @ channel))).sum(axis=1)
        inputs = inputs * np.exp2(information)
        inputs /= inputs.sum()
    return float(inputs @ information)


def _binary_capacity(correct: float, harmless: float) -> float:
    """Return the capacity of the binary channel, in bits.

    `correct` is the probability of correct steps from a sound prefix, `harmless` the probability of
    a correct answer after an error.
    """
    probabilities = np.array([correct + (1 - correct) * harmless, harmless])
    return blahut_arimoto(np.stack([probabilities, 1 - probabilities], axis=1))


def z_channel_capacity(correct: float) -> float:
    """Return the capacity in bits of the Z-channel with crossover probability 1 - `correct`."""
    return float(np.log2(1 + correct * (1 - correct) ** ((1 - correct) / correct)))


def _entropy(probabilities: Floats) -> Floats:
    """Return the entropy along the last axis, in bits."""
    logs = np.log2(np.maximum(probabilities, MIN_PROBABILITY))
    entropy: Floats = -(probabilities * logs).sum(axis=-1)
    return entropy
