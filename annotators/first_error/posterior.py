"""Infer the posterior over the first error, and the expected information gain of one more rollout.

With x all evidence on a trace: x_to_error, the rollouts at steps up to and including the error;
x_after, the rollouts at later steps and the outcomes; and features:

    log P(x, e) = log sum_theta w(theta) P(x_to_error, e | theta)
                + log sum_phi w(phi) P(x_after | e, phi)
                + log P(features | e)

P(e | theta) has lambda summed out. It is linear in lambda, so the mean sum_lambda w(lambda) lambda
replaces lambda.

The posterior p(e) = P(e | x) follows by Bayes' rule. The sums over theta and phi also give the
responsibilities P(theta | x, e) and P(phi | x, e), which the E-step and the gain need. The expected
information gain of a rollout with end r (Lindley 1956) is its mutual information with e:

    I(e; r) = H(r) - H(r | e),  in nats,

scaled by the growth of the effective sample size that one more rollout at that step brings.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from annotators.first_error.likelihoods import (
    StepLikelihoods,
    effective_sample_size,
    end_probabilities,
)
from annotators.first_error.model import FirstErrorModel, Weights, stack
from annotators.first_error.numerics import Floats, normalize, weighted_logsumexp
from annotators.first_error.trace_evidence import RolloutEnd, TraceEvidence

__all__ = [
    "Inference",
    "Joint",
    "SufficientStatistics",
    "batches_by_length",
    "expected_gains",
    "infer",
    "joint_log_likelihood",
    "posteriors",
]

# Smaller batches slow fitting down, larger ones slow inference down.
BATCH_STEPS = 256
"""Steps per batch, summed over its traces."""


class Inference(NamedTuple):
    """What is inferred about one trace of T steps."""

    posterior: Floats
    """[first error]: T + 1 probabilities; the last belongs to e = T."""
    gains: Floats
    """[prefix]: the expected information gain of one rollout from prefix 0 ... T-1, in nats."""


class SufficientStatistics(NamedTuple):
    """All that the posterior of a batch of traces depends on, besides the weights.

    All traces of a batch have T steps. A first-error axis has T + 1 entries; the last one belongs
    to e = T.
    """

    model: FirstErrorModel
    before: Floats
    """[trace, first error, before point]: log-likelihood of the steps up to the error and of the
    position of the error, except the prior of the last step, which depends on lambda."""
    after: Floats
    """[trace, first error, after point]: log-likelihood of the steps after the error and of the
    outcome of the trace."""
    feature_counts: Floats
    """[trace, first error, state * feature]: see `features.count_features`."""
    no_error: Floats
    """[trace]: log-likelihood of the outcome if no step is wrong; a wrong outcome excludes this."""
    repeats: Floats
    """[trace, prefix, after point]: see `StepTable.repeats`."""
    novelty: Floats
    """[trace, prefix]: growth of the effective sample size by one more rollout, at most 1."""

    @classmethod
    def from_traces(
        cls, traces: Sequence[TraceEvidence], likelihoods: StepLikelihoods
    ) -> "SufficientStatistics":
        """Collect the statistics of traces that have the same number of steps."""
        model = likelihoods.model
        steps = traces[0].steps
        table = likelihoods.table(traces)
        correct_outcome = np.array([trace.correct_outcome for trace in traces])

        before = np.zeros((len(traces), steps + 1, len(model.reliability)))
        np.cumsum(table.before[:, :-1], axis=1, out=before[:, 1:-1])
        before[:, :-1] += table.at
        before[:, -1] = table.no_error.sum(axis=1)

        # Sums over the steps behind each error: cumulative from the last step backwards.
        after = np.zeros((len(traces), steps + 1, len(model.harmless)))
        after[:, : steps - 1] = np.cumsum(table.after[:, :0:-1], axis=1)[:, ::-1]
        completed = np.array([trace.completed for trace in traces])
        after[:, :-1] += _outcome_logs(model, completed, correct_outcome)[:, None]

        visits = np.array([trace.visits for trace in traces])  # [trace, step]
        correlation = model.rollout_correlation
        size_now = effective_sample_size(visits, correlation)
        size_next = effective_sample_size(visits + 1, correlation)
        return cls(
            model=model,
            before=before,
            after=after,
            feature_counts=np.array([trace.feature_counts for trace in traces]),
            no_error=np.where(correct_outcome, 0.0, -np.inf),
            repeats=table.repeats,
            novelty=size_next - size_now,
        )


def _outcome_logs(
    model: FirstErrorModel, completed: npt.NDArray[np.int_], correct_outcome: npt.NDArray[np.bool_]
) -> Floats:
    """Return the log-likelihoods of outcomes after an error, array [trace, after point].

    Args:
        model: The model.
        completed: Rollouts that repeat the trace to its end, array [trace, rollout end].
        correct_outcome: Whether the trace's own answer is correct, array [trace].
    """
    # The trace itself counts like a rollout that never diverges.
    correct = completed[:, RolloutEnd.CORRECT] + correct_outcome
    same_wrong = completed[:, RolloutEnd.SAME_WRONG]
    wrong = same_wrong + completed[:, RolloutEnd.OTHER] + ~correct_outcome
    log_correct = np.log(model.harmless)
    log_wrong = np.log(1 - model.harmless)
    logs: Floats = correct[:, None] * log_correct + wrong[:, None] * log_wrong
    return logs


class Joint(NamedTuple):
    """The joint log-likelihood of the evidence and each first error, and the responsibilities."""

    logs: Floats
    """[trace, first error]: log P(x, e)."""
    before: Floats
    """[trace, first error, before point]: P(theta | x, e)."""
    after: Floats
    """[trace, first error, after point]: P(phi | x, e)."""


def joint_log_likelihood(statistics: SufficientStatistics, weights: Weights) -> Joint:
    """Sum the parameters of each trace out, under these weights."""
    before_logs = statistics.before.copy()
    # Only these two rows depend on the last step's state: it is the error, or none is.
    before_logs[:, -2:] += weights.last_step_log_prior
    log_before, before = weighted_logsumexp(before_logs, weights.before[..., None, :])
    log_after, after = weighted_logsumexp(statistics.after, weights.after[..., None, :])
    rates = weights.feature_log_rates
    flat_rates = rates.reshape(*rates.shape[:-2], -1, 1)
    logs = log_before + log_after + (statistics.feature_counts @ flat_rates)[..., 0]
    logs[:, -1] += statistics.no_error
    return Joint(logs, before, after)


def infer(statistics: SufficientStatistics, weights: Weights) -> tuple[Floats, Joint]:
    """Return the posterior over the first error, array [trace, first error], and the joint."""
    joint = joint_log_likelihood(statistics, weights)
    top = joint.logs.max(axis=1, keepdims=True)
    return normalize(np.exp(joint.logs - top)), joint


def expected_gains(statistics: SufficientStatistics, posterior: Floats, joint: Joint) -> Floats:
    """Return the expected information gain of one rollout from each prefix.

    Args:
        statistics: Of a batch of traces.
        posterior: Array [trace, first error].
        joint: Of the same batch; its responsibilities weight the parameters.

    Returns:
        Array [trace, prefix], in nats.
    """
    probabilities = _end_probabilities(statistics, joint)
    information = _mutual_information(probabilities, posterior)
    gains: Floats = statistics.novelty * information
    return gains


def _end_probabilities(statistics: SufficientStatistics, joint: Joint) -> Floats:
    """Return the probabilities of the ends of one more rollout from each prefix.

    They are averaged over the parameters with the responsibilities of the joint.

    Returns:
        Array [end, trace, prefix, first error].
    """
    model = statistics.model
    # [trace, first error, reliability value]
    passes_next = joint.before @ model.passes_failed_step
    repeats_next = joint.before @ model.repeats_mistake
    # For e = T, the next step is like all others, and there exists no mistake to repeat.
    passes_next[:, -1:] = joint.before[:, -1:] @ model.passes_step
    repeats_next[:, -1:] = 0

    others_pass, contains_error = _prefixes(model, statistics.novelty.shape[1])
    correct_after = (joint.after @ model.harmless)[:, None]
    # [trace, prefix, first error], like the three arrays below
    correct_before = others_pass @ passes_next.swapaxes(1, 2)
    correct = np.where(contains_error, correct_after, correct_before)
    same_after = statistics.repeats @ joint.after.swapaxes(1, 2)
    same_before = others_pass @ repeats_next.swapaxes(1, 2)
    same_wrong = np.where(contains_error, same_after, same_before)
    return end_probabilities(correct, same_wrong)


def _mutual_information(ends: Floats, posterior: Floats) -> Floats:
    """Return the mutual information of rollout end and first error, array [trace, prefix], in nats.

    Args:
        ends: Probabilities, array [end, trace, prefix, first error]; overwritten.
        posterior: Array [trace, first error].
    """
    # Matrix products average over the first error.
    column = posterior[..., None]
    marginal = (ends @ column)[..., 0]
    ends *= np.log(ends)
    negative_conditional_entropy = (ends.sum(axis=0) @ column)[..., 0]
    negative_entropy = (marginal * np.log(marginal)).sum(axis=0)
    information: Floats = negative_conditional_entropy - negative_entropy
    return information


def posteriors(
    traces: Sequence[TraceEvidence], weights: Sequence[Weights], likelihoods: StepLikelihoods
) -> Sequence[Inference]:
    """Infer the first errors of many traces at once.

    Results are equal to the last bit to those of each trace alone, so that the choice of the next
    rollout does not depend on which traces share a batch.

    Args:
        traces: Distinct traces of any length.
        weights: The weights of each trace.
        likelihoods: The rows of the steps.
    """
    weights_of = dict(zip(traces, weights, strict=True))
    results: dict[TraceEvidence, Inference] = {}
    for batch in batches_by_length(traces):
        statistics = SufficientStatistics.from_traces(batch, likelihoods)
        posterior, joint = infer(statistics, stack([weights_of[trace] for trace in batch]))
        gains = expected_gains(statistics, posterior, joint)
        for trace, probabilities, trace_gains in zip(batch, posterior, gains, strict=True):
            results[trace] = Inference(probabilities, trace_gains)
    return [results[trace] for trace in traces]


def batches_by_length(traces: Iterable[TraceEvidence]) -> Iterator[Sequence[TraceEvidence]]:
    """Yield batches of traces with equal numbers of steps, of about `BATCH_STEPS` steps each.

    Equal lengths need no padding, which would change the order of floating-point sums.
    """
    length = attrgetter("steps")
    for steps, group in groupby(sorted(traces, key=length), key=length):
        size = max(1, BATCH_STEPS // steps)
        while batch := list(islice(group, size)):
            yield batch


@lru_cache(maxsize=256)
def _prefixes(model: FirstErrorModel, steps: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return what depends on the prefix alone.

    Returns:
        The probability of passing all steps after the next one, array [prefix, reliability value],
        and whether the prefix contains the error, array [prefix, first error].
    """
    prefix = np.arange(steps)[:, None]
    others_pass = model.reliability_values ** (steps - 1 - prefix)
    return others_pass, prefix > np.arange(steps + 1)
