"""Estimate the model's weights by expectation maximization.

The hidden variables of a trace are its first error e and the parameters theta, phi and lambda. The
E-step computes the expected number of traces that each parameter value accounts for, and how often
each feature occurs in each state. The M-step normalizes these counts together with pseudo-counts, a
Dirichlet prior (its parameters minus 1), and so returns the MAP estimate. The weights of a grid are
the products of its parameters' weights (see `ParameterGrid.product_of_marginals`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from annotators.first_error import features
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel, Weights
from annotators.first_error.numerics import Floats, normalize
from annotators.first_error.posterior import (
    Joint,
    SufficientStatistics,
    batches_by_length,
    infer,
    joint_log_likelihood,
)
from annotators.first_error.trace_evidence import TraceEvidence

__all__ = ["ExpectedCounts", "e_step", "fit", "log_likelihood", "m_step", "pseudo_counts"]

# Keeps the weights close to the default ones where a shard has little evidence.
PRIOR_TRACES = 150.0
"""Pseudo-count of the default weights, in traces."""
# By then the weights are stable to four digits, which is what the column `learned` stores.
EM_ITERATIONS = 25


class ExpectedCounts(NamedTuple):
    """Expected counts or pseudo-counts of everything that EM estimates."""

    before: Floats
    """[before point], in traces; N(theta) if expected."""
    ending: Floats
    """[ending point], in traces."""
    after: Floats
    """[after point], in traces."""
    features: Floats
    """[state, feature], in steps."""


def fit(traces: Iterable[TraceEvidence], methods: int, likelihoods: StepLikelihoods) -> Weights:
    """Fit the weights by EM, with the default weights as a Dirichlet prior.

    Args:
        traces: The evidence on each trace; without any, the default weights are returned.
        methods: The number of evidence methods.
        likelihoods: The rows of the steps.
    """
    model = likelihoods.model
    weights = model.default_weights(methods)
    batches = list[SufficientStatistics]()
    for batch in batches_by_length(traces):
        batches.append(SufficientStatistics.from_traces(batch, likelihoods))
    if not batches:
        return weights
    prior = pseudo_counts(model, methods)
    for _ in range(EM_ITERATIONS):
        weights = m_step(model, e_step(batches, weights), prior)
    return weights


def e_step(batches: Sequence[SufficientStatistics], weights: Weights) -> ExpectedCounts:
    """Return the expected counts, summed over all traces of the batches."""
    by_batch = [_expected_counts(batch, weights) for batch in batches]
    totals = [np.sum(counts, axis=0) for counts in zip(*by_batch, strict=True)]
    return ExpectedCounts(*totals)


def m_step(model: FirstErrorModel, expected: ExpectedCounts, prior: ExpectedCounts) -> Weights:
    """Return the weights that maximize the expected log-likelihood plus the log-prior."""
    return Weights(
        model=model,
        before=model.before_grid.product_of_marginals(prior.before + expected.before),
        ending=normalize(prior.ending + expected.ending),
        after=model.after_grid.product_of_marginals(prior.after + expected.after),
        feature_log_rates=features.log_rates(prior.features + expected.features),
    )


def log_likelihood(batches: Sequence[SufficientStatistics], weights: Weights) -> float:
    """Return the log-likelihood of all evidence, with the first errors summed out, in nats."""
    total = 0.0
    for batch in batches:
        logs = joint_log_likelihood(batch, weights).logs
        total += float(np.logaddexp.reduce(logs, axis=1).sum())
    return total


def pseudo_counts(model: FirstErrorModel, methods: int) -> ExpectedCounts:
    """Return the Dirichlet prior as counts that are added to the expected ones.

    They are the parameters of the Dirichlet distribution minus 1.
    """
    return ExpectedCounts(
        before=PRIOR_TRACES * model.before_grid.prior,
        ending=PRIOR_TRACES * model.ending_grid.prior,
        after=PRIOR_TRACES * model.after_grid.prior,
        features=features.prior_counts(methods),
    )


def _expected_counts(batch: SufficientStatistics, weights: Weights) -> ExpectedCounts:
    """Return the expected counts of one batch, under weights that all its traces share."""
    posterior, joint = infer(batch, weights)
    # Rows of all traces below each other, so that one product sums over traces and first errors.
    first_error_probabilities = np.concatenate(posterior)  # [trace * first error]
    feature_totals = first_error_probabilities @ np.concatenate(batch.feature_counts)
    return ExpectedCounts(
        before=first_error_probabilities @ np.concatenate(joint.before),
        ending=_ending_counts(posterior, joint, weights),
        after=first_error_probabilities @ np.concatenate(joint.after),
        features=feature_totals.reshape(weights.feature_log_rates.shape),
    )


def _ending_counts(posterior: Floats, joint: Joint, weights: Weights) -> Floats:
    """Return the expected number of traces with each value of lambda, array [ending point].

    Args:
        posterior: The probabilities of the first errors, array [trace, first error].
        joint: The joint of the same traces.
        weights: The weights that all traces share.
    """
    model = weights.model
    error_at_last = posterior[:, -2].sum()
    no_error = posterior[:, -1] @ joint.before[:, -1]  # [before point]
    error_earlier = posterior.sum() - error_at_last - no_error.sum()
    # Lambda affects only the last step. If an earlier step is wrong, its posterior equals its
    # weights. Otherwise it is proportional to weight times lambda (the last step is wrong) or
    # weight times 1 - (1 - q) lambda (no error).
    last_step_right = 1 - np.outer(1 - model.reliability, model.ending)
    counts: Floats = error_earlier * weights.ending
    counts = counts + error_at_last * normalize(weights.ending * model.ending)
    counts = counts + no_error @ normalize(weights.ending * last_step_right)
    return counts
