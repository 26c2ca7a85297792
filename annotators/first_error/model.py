"""A generative model of rollouts, given the first error of a trace.

The first error e of a trace of T steps is hidden: one of the steps 0 ... T-1, or T if no step is
wrong. A rollout continues the first t steps of the trace and ends in one of three ways: with the
correct answer, with the trace's own wrong answer, or with another answer.

Symbols:

    symbol   name in the code       meaning
    T        steps                  number of steps of the trace
    e        first_error            index of the first wrong step, T if there is none
    t        start                  number of trace steps that a rollout continues
    q        reliability            probability that the policy gets a step right
    h        passing                probability that the policy gets the step right at which the
                                    trace has its first error
    c        repeating              probability that a failure there repeats the trace's mistake
    lambda   ending                 error rate of the last step, relative to the other steps
    epsilon  harmless               probability of a correct answer although a step is wrong
    k        faithful               probability of repeating the trace's step after its error
    s        LAPSE_RATE             probability of behaviour that no parameter value explains
    v        verbatim_rate          share of the steps that have only one possible wording
    u        SAME_WORDING           probability of the trace's words where several are possible
    rho      rollout_correlation    correlation of two rollouts at the same step
    theta    before point           the point (q, h, c) of `before_grid`
    phi      after point            the point (epsilon, k) of `after_grid`
    w        Weights                mixture weights of the points, which EM estimates

Prior of the first error, for one value of q and lambda:

    P(e)           = q^e (1 - q)                     e < T - 1
    P(e = T - 1)   = q^(T-1) (1 - q) lambda          often the last step only repeats a result
    P(e = T)       = q^(T-1) (1 - (1 - q) lambda)

End of a rollout from prefix t, before lapses:

    t <= e < T     P(correct)    = h q^(T-t-1)       it passes the failed step and all others
                   P(same wrong) = (1 - h) c q^(T-t-1)
    t > e          P(correct)    = epsilon           the error is harmless or gets corrected
                   P(same wrong) = (1 - epsilon) k^(T-t)
    e = T          P(correct)    = q^(T-t)

The remaining probability belongs to another answer. With lapses, a probability P of a rollout from
t <= e becomes (1 - s) P + s / 3. For t > e, P(correct) = epsilon is unchanged, and the probability
x of repeating the rest of the trace becomes (1 - s) x + s / 2. The expected gain applies the first
rule to every t.

Both answers carry information: a correct one shows that the prefix is sound, the
trace's own wrong answer suggests that it is not. Binary search and Monte Carlo use only the former.

A rollout that repeats the wording of the trace for some steps is evidence at each of these steps.
A step has a single possible wording with probability v. There, a rollout that diverges from the
wording has failed the step (or corrected it). Before the error a step is repeated with
probability q, at the error with (1 - h) c, after it with k. After the error, a trace may also make
a second mistake (`SECOND_MISTAKE_RATE`), which a rollout repeats with probability 0.1 or 0.6
(`SECOND_MISTAKE_REPEAT_RATES`). `likelihoods` has the likelihood of a step. The trace counts as a
rollout that never diverges: given e < T, its outcome is correct with probability epsilon.

Rollouts of one model are correlated: a model that fails a correct step once fails it repeatedly.
Therefore n rollouts that visit the same step count as n / (1 + rho (n - 1)), the effective size of
a sample with correlated members (Kish 1965, Survey Sampling, 8.2).

The parameters (q, h, c), lambda and (epsilon, k) of a trace are unknown. Each is a point of a grid,
and the weights of the grid points are estimated from all traces of a shard by EM, which is the
nonparametric estimate of a mixing distribution (Laird 1978); see `em`. Given e, the likelihoods
of theta and of phi factorize, so two tables with T + 1 rows each describe a trace.

What is not covered: steps that differ in difficulty, except the step with the error; rollouts with
an unknown outcome, which are ignored. The correlation rho is the same for all models and is not
estimated. If rollouts are independent, the posterior is underconfident; if they are more
correlated, it is overconfident (`docs/benchmark-efficiency.md`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from annotators.first_error import features
from annotators.first_error.numerics import Floats

__all__ = ["FirstErrorModel", "ParameterGrid", "Weights", "stack", "to_dict"]

# Keeps every likelihood positive, so that a single surprising rollout excludes no first error.
LAPSE_RATE = 0.01
# The next four were set by hand. EM does not estimate them.
SECOND_MISTAKE_RATE = 0.2
"""Probability that the trace makes a second mistake at a given step after its first error."""
SECOND_MISTAKE_REPEAT_RATES = (0.1, 0.6)
"""Probabilities that a rollout repeats a second mistake; both are equally likely."""
SAME_WORDING = 0.05
"""Probability that a rollout has the trace's words at a step with several possible wordings."""
# Chosen on pocket problems of the seeds 47 and 61: there, confidence is closest to accuracy.
ROLLOUT_CORRELATION = 0.2

Axis = Mapping[float, float]
"""Values of a parameter, and the weight of each value before EM; weights need not sum to 1."""

RELIABILITY: Axis = {0.5: 1, 0.7: 2, 0.85: 4, 0.93: 5, 0.98: 6, 0.998: 2}
PASSING: Axis = {0.03: 2, 0.25: 3, 0.6: 3, 0.95: 3}
REPEATING: Axis = {0.15: 1, 0.65: 1, 0.97: 1}
# At 1.0 the last step is like all others. At 0.05 it only repeats a result that is already there.
ENDING: Axis = {0.05: 1, 1.0: 1}
HARMLESS: Axis = {0.003: 12, 0.03: 8, 0.1: 4, 0.3: 1, 0.8: 0.1}
FAITHFUL: Axis = {0.4: 1, 0.7: 1, 0.85: 2, 0.94: 3, 0.985: 3}


@dataclass(frozen=True, eq=False)
class ParameterGrid:
    """All combinations of the values of some parameters.

    Instances compare by identity, so that `functools.lru_cache` can use them as cheap keys.
    """

    axes: tuple[Axis, ...]

    @cached_property
    def points(self) -> Floats:
        """Return the parameter values, array [parameter, point]."""
        points: Floats = np.array(list(product(*self.axes))).T
        return points

    def values(self, parameter: int) -> Floats:
        """Return one parameter's value at each point, array [point]."""
        values: Floats = self.points[parameter]
        return values

    @cached_property
    def prior(self) -> Floats:
        """Return the weight of each point before EM, array [point], which sums to 1."""
        axis_weights = [axis.values() for axis in self.axes]
        products = [np.prod(combination) for combination in product(*axis_weights)]
        weights = np.array(products, dtype=float)
        prior: Floats = weights / weights.sum()
        return prior

    def product_of_marginals(self, counts: Floats) -> Floats:
        """Return point weights [point] that factorize over the parameters.

        This is the maximum-likelihood estimate, given expected counts [point], if parameters are
        independent. It has one degree of freedom per value instead of one per point, so that it can
        be estimated from fewer traces.
        """
        table = counts.reshape([len(axis) for axis in self.axes]) / counts.sum()
        weights: Floats = np.ones(())
        for axis in range(len(self.axes)):
            other_axes = tuple(other for other in range(len(self.axes)) if other != axis)
            weights = np.multiply.outer(weights, table.sum(axis=other_axes))
        return weights.reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstErrorModel:
    """The model's parameter grids and what follows from the grids alone.

    Every array is computed on first use. Instances compare by identity (see `ParameterGrid`).
    """

    rollout_correlation: float = ROLLOUT_CORRELATION

    @cached_property
    def before_grid(self) -> ParameterGrid:
        """Return the grid of theta = (q, h, c): behaviour from prefixes without an error."""
        return ParameterGrid((RELIABILITY, PASSING, REPEATING))

    @cached_property
    def after_grid(self) -> ParameterGrid:
        """Return the grid of phi = (epsilon, k): behaviour from prefixes with an error."""
        return ParameterGrid((HARMLESS, FAITHFUL))

    @cached_property
    def ending_grid(self) -> ParameterGrid:
        """Return the grid of lambda: the relative error rate of the last step."""
        return ParameterGrid((ENDING,))

    @cached_property
    def reliability(self) -> Floats:
        """Return q, array [before point]."""
        return self.before_grid.values(0)

    @cached_property
    def passing(self) -> Floats:
        """Return h, array [before point]."""
        return self.before_grid.values(1)

    @cached_property
    def repeating(self) -> Floats:
        """Return c, array [before point]."""
        return self.before_grid.values(2)

    @cached_property
    def ending(self) -> Floats:
        """Return lambda, array [ending point]."""
        return self.ending_grid.values(0)

    @cached_property
    def harmless(self) -> Floats:
        """Return epsilon, array [after point]."""
        return self.after_grid.values(0)

    @cached_property
    def faithful(self) -> Floats:
        """Return k, array [after point]."""
        return self.after_grid.values(1)

    @cached_property
    def reliability_values(self) -> Floats:
        """Return the distinct values of q, array [reliability value]."""
        return np.array(list(RELIABILITY))

    @cached_property
    def passes_failed_step(self) -> Floats:
        """Return h, array [before point, reliability value].

        Zero outside the column of the point's own q. What happens after the next step depends on q
        only, so the expected information gain sums over points with the same q first.
        """
        return self._by_reliability(self.passing)

    @cached_property
    def passes_step(self) -> Floats:
        """Return q in the layout of `passes_failed_step`."""
        return self._by_reliability(self.reliability)

    @cached_property
    def repeats_mistake(self) -> Floats:
        """Return (1 - h) c in the layout of `passes_failed_step`."""
        return self._by_reliability((1 - self.passing) * self.repeating)

    def _by_reliability(self, probabilities: Floats) -> Floats:
        own_column = self.reliability[:, None] == self.reliability_values
        table: Floats = own_column * probabilities[:, None]
        return table

    def default_weights(self, methods: int = 0) -> "Weights":
        """Return the weights before EM, with the prior rates of `methods` evidence methods."""
        return Weights(
            model=self,
            before=self.before_grid.prior,
            ending=self.ending_grid.prior,
            after=self.after_grid.prior,
            feature_log_rates=features.log_rates(features.prior_counts(methods)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Everything that EM estimates. `stack` adds a leading trace axis to every array."""

    model: FirstErrorModel
    before: Floats
    """[before point]: the mixture weights of theta."""
    ending: Floats
    """[ending point]: the mixture weights of lambda."""
    after: Floats
    """[after point]: the mixture weights of phi."""
    feature_log_rates: Floats
    """[state, feature]: log-rates of the features of evidence methods (see `features`)."""

    @cached_property
    def last_step_log_prior(self) -> Floats:
        """Return the log-probabilities that the last step is wrong, and that it is right.

        Array [wrong or right, before point], given that all earlier steps are right. Lambda is
        already summed out: its likelihood depends on nothing else.
        """
        relative_rate = (self.ending @ self.model.ending)[..., None]
        wrong = (1 - self.model.reliability) * relative_rate
        logs: Floats = np.log(np.stack([wrong, 1 - wrong], axis=-2))
        return logs


def stack(weights: Sequence[Weights]) -> Weights:
    """Return one `Weights` whose arrays have a leading trace axis.

    If all traces share the same object, it is returned as it is: NumPy broadcasts it, and its
    cached property is not computed again.
    """
    first = weights[0]
    if all(other is first for other in weights):
        return first
    return Weights(
        model=first.model,
        before=np.stack([trace_weights.before for trace_weights in weights]),
        ending=np.stack([trace_weights.ending for trace_weights in weights]),
        after=np.stack([trace_weights.after for trace_weights in weights]),
        feature_log_rates=np.stack([trace_weights.feature_log_rates for trace_weights in weights]),
    )


def to_dict(weights: Weights, methods: Sequence[str] = ()) -> Mapping[str, Mapping[str, Any]]:
    """Return the weights for the JSON column `learned`, rounded to four digits.

    Args:
        weights: Weights without a leading trace axis.
        methods: The names of the evidence methods, in the order of their features.

    Returns:
        For each parameter, the total weight of each of its values; under "signs", if there are
        evidence methods, the rates of their features (see `features.to_dict`).
    """
    model = weights.model
    parameters = {
        "reliability": (model.reliability, weights.before),
        "passing": (model.passing, weights.before),
        "repeating": (model.repeating, weights.before),
        "ending": (model.ending, weights.ending),
        "harmless": (model.harmless, weights.after),
        "faithful": (model.faithful, weights.after),
    }
    result: dict[str, Mapping[str, Any]] = {}
    for name, (values, point_weights) in parameters.items():
        marginal: dict[str, float] = {}
        for value in np.unique(values):
            marginal[f"{value:g}"] = round(float(point_weights[values == value].sum()), 4)
        result[name] = marginal
    if methods:
        result["signs"] = features.to_dict(weights.feature_log_rates, methods)
    return result
