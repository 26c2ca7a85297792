"""Inference of the first error: Bayes' rule, expected information gain, EM and method features."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.first_error import em, likelihoods, posterior
from annotators.first_error.features import (
    NO_FEATURE,
    count_features,
    encode,
    log_rates,
    prior_counts,
)
from annotators.first_error.likelihoods import StepLikelihoods, effective_sample_size
from annotators.first_error.model import FirstErrorModel, Weights, to_dict
from annotators.first_error.numerics import Floats
from annotators.first_error.posterior import Inference, SufficientStatistics, posteriors
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence
from stepmark.records import Annotation, StepAnnotation, Verdict

CORRECT, SAME_WRONG, OTHER = RolloutEnd
RARELY_VERBATIM = 0.01
VERDICTS = {"c": Verdict.CORRECT, "i": Verdict.INCORRECT, "u": Verdict.UNKNOWN}

Rollout = tuple[int, int, int]
"""Start, first diverging step, end."""

LIKELIHOODS = StepLikelihoods(FirstErrorModel())
DEFAULT_WEIGHTS = LIKELIHOODS.model.default_weights()
INDEPENDENT = StepLikelihoods(FirstErrorModel(rollout_correlation=0.0))
"""Rollouts without correlation: then likelihoods are probabilities, up to 5 % per rollout (see
`likelihoods`)."""


def trace_evidence(
    steps: int,
    rollouts: Sequence[Rollout] = (),
    *,
    correct_outcome: bool = False,
    verbatim_rate: float = RARELY_VERBATIM,
    verdicts: str = "",
) -> TraceEvidence:
    """Build the evidence on a trace; `verdicts` are those of one evidence method, if any."""
    annotations = []
    if verdicts:
        annotations.append(annotation(verdicts))
    features = encode(steps, annotations)
    evidence = TraceEvidence(features, correct_outcome=correct_outcome, verbatim_rate=verbatim_rate)
    for rollout in rollouts:
        evidence.add(Observation(*rollout))
    return evidence


def annotation(verdicts: str) -> Annotation:
    steps = tuple(StepAnnotation(verdict=VERDICTS[letter]) for letter in verdicts)
    return Annotation(trace_id="t", method="m", first_error=None, steps=steps)


def infer(
    evidence: TraceEvidence,
    weights: Weights = DEFAULT_WEIGHTS,
    step_likelihoods: StepLikelihoods = LIKELIHOODS,
) -> Inference:
    (inference,) = posteriors([evidence], [weights], step_likelihoods)
    return inference


def posterior_of(steps: int, rollouts: Sequence[Rollout] = (), **options: Any) -> Floats:
    return infer(trace_evidence(steps, rollouts, **options)).posterior


def independent(steps: int, rollouts: Sequence[Rollout], correct_outcome: bool) -> Inference:
    """Infer a trace's first error as if rollouts were uncorrelated."""
    evidence = trace_evidence(steps, rollouts, correct_outcome=correct_outcome)
    return infer(evidence, INDEPENDENT.model.default_weights(), INDEPENDENT)


def entropy(probabilities: Floats) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


@st.composite
def rollout_lists(draw: st.DrawFn) -> tuple[int, list[Rollout]]:
    """Draw a number of steps and rollouts of a trace with as many."""
    steps = draw(st.integers(1, 9))
    rollouts = list[Rollout]()
    for _ in range(draw(st.integers(0, 12))):
        start = draw(st.integers(0, steps - 1))
        diverges_at = draw(st.integers(start, steps))
        rollouts.append((start, diverges_at, draw(st.sampled_from(RolloutEnd))))
    return steps, rollouts


@settings(max_examples=60)
@given(rollout_lists(), st.booleans())
def test_posterior_is_a_distribution(
    case: tuple[int, list[Rollout]], correct_outcome: bool
) -> None:
    steps, rollouts = case
    inference = infer(trace_evidence(steps, rollouts, correct_outcome=correct_outcome))
    assert inference.posterior.sum() == pytest.approx(1)
    assert (inference.posterior >= 0).all()
    assert (inference.gains > -1e-9).all()
    assert correct_outcome or inference.posterior[-1] == 0


@settings(max_examples=60)
@given(rollout_lists(), st.booleans())
def test_order_of_rollouts_is_irrelevant(
    case: tuple[int, list[Rollout]], correct_outcome: bool
) -> None:
    steps, rollouts = case
    forwards = posterior_of(steps, rollouts, correct_outcome=correct_outcome)
    backwards = posterior_of(steps, rollouts[::-1], correct_outcome=correct_outcome)
    assert backwards == pytest.approx(forwards, abs=1e-9)


def test_rollout_ends_move_the_posterior() -> None:
    prior = posterior_of(6)[:3].sum()
    assert posterior_of(6, [(3, 3, CORRECT)])[:3].sum() < prior / 3
    assert posterior_of(6, [(3, 3, SAME_WRONG)])[:3].sum() > 1.15 * prior
    assert abs(posterior_of(6, [(3, 3, OTHER)])[:3].sum() - prior) < 0.2


def test_only_correct_outcomes_have_no_error() -> None:
    assert posterior_of(5)[-1] == 0
    assert posterior_of(5, correct_outcome=True)[-1] > 0.9


def test_rollouts_reveal_harmless_errors() -> None:
    rollouts = [(1, 1, CORRECT)] * 4
    for start in (2, 3, 4):
        rollouts += [(start, start, OTHER)] * 4
    with_rollouts = posterior_of(5, rollouts, correct_outcome=True)
    assert with_rollouts[1] > posterior_of(5, correct_outcome=True)[1]


def test_correct_rollouts_prove_passed_steps() -> None:
    assert posterior_of(6, [(0, 4, CORRECT)] * 3)[:4].sum() < 0.01


def test_error_is_where_rollouts_stop_diverging() -> None:
    """Half of the rollouts diverge at step 4, and those that pass it repeat the trace to its end.

    Hardly any rollout is correct. So step 4 is hard, and the trace failed it.
    """
    rollouts = list[Rollout]()
    for start in range(5):
        rollouts += [(start, 4, OTHER), (start, 6, SAME_WRONG)] * 3
    rollouts += [(5, 6, SAME_WRONG)] * 5
    rollouts += [(5, 6, SAME_WRONG), (0, 4, CORRECT)]
    probabilities = posterior_of(6, rollouts, verbatim_rate=0.9)
    assert probabilities.argmax() == 4
    assert probabilities[4] > 0.5


def test_second_mistake_is_not_first_error() -> None:
    correct_before = [(1, 1, CORRECT)] * 4 + [(2, 2, CORRECT)] * 4
    rarely_repeated = [(3, 4, OTHER)] * 5 + [(3, 6, SAME_WRONG)] + [(5, 6, SAME_WRONG)] * 4
    probabilities = posterior_of(6, correct_before + rarely_repeated, verbatim_rate=0.9)
    assert probabilities.argmax() in (2, 3)


def test_often_repeated_mistake_can_be_first() -> None:
    repeated = [(5, 5, CORRECT)] * 3 + [(5, 7, SAME_WRONG)] * 14
    assert posterior_of(7, repeated, verbatim_rate=0.9)[5] > 0.08


def test_often_failed_step_is_the_error() -> None:
    failed = [(1, 2, CORRECT)] * 4 + [(1, 3, OTHER)] * 9
    assert posterior_of(5, failed, verbatim_rate=0.9).argmax() == 2


@pytest.mark.parametrize(
    "rollouts",
    [
        [],
        [(0, 0, CORRECT)],
        [(2, 2, SAME_WRONG), (1, 1, OTHER)],
        [(3, 3, CORRECT), (3, 3, SAME_WRONG)],
    ],
)
@pytest.mark.parametrize("correct_outcome", [False, True])
def test_gain_is_expected_entropy_reduction(rollouts: list[Rollout], correct_outcome: bool) -> None:
    steps = 5
    inference = independent(steps, rollouts, correct_outcome)
    for prefix in range(steps):
        expected_entropy = 0.0
        for end in RolloutEnd:
            longer = [*rollouts, (prefix, prefix, end)]
            ratio = likelihood(steps, longer, correct_outcome)
            ratio /= likelihood(steps, rollouts, correct_outcome)
            expected_entropy += ratio * entropy(
                independent(steps, longer, correct_outcome).posterior
            )
        reduction = entropy(inference.posterior) - expected_entropy
        assert inference.gains[prefix] == pytest.approx(reduction, abs=0.02)


def likelihood(steps: int, rollouts: Sequence[Rollout], correct_outcome: bool) -> float:
    """Return the probability of all evidence, with the first error summed out."""
    evidence = trace_evidence(steps, rollouts, correct_outcome=correct_outcome)
    statistics = SufficientStatistics.from_traces([evidence], INDEPENDENT)
    return float(np.exp(em.log_likelihood([statistics], INDEPENDENT.model.default_weights())))


# With correlation 0.2, n rollouts count as n / (1 + 0.2 * (n - 1)).
@pytest.mark.parametrize(("count", "expected"), [(0, 0.0), (1, 1.0), (2, 2 / 1.2), (6, 6 / 2)])
def test_correlation_shrinks_the_sample_size(count: int, expected: float) -> None:
    assert effective_sample_size(np.array(float(count)), 0.2) == pytest.approx(expected)


def test_repeated_rollouts_gain_less() -> None:
    gains = []
    for count in (0, 2, 8):
        gains.append(infer(trace_evidence(5, [(2, 2, OTHER)] * count)).gains[2])
    assert gains[0] > gains[1] > gains[2]


def test_correlation_leaves_more_uncertainty() -> None:
    rollouts = [(2, 2, OTHER)] * 8
    correlated = entropy(posterior_of(5, rollouts))
    assert entropy(independent(5, rollouts, correct_outcome=False).posterior) < correlated


def fit(traces: Sequence[TraceEvidence], methods: int = 0) -> Weights:
    return em.fit(traces, methods, LIKELIHOODS)


@pytest.mark.parametrize(
    ("rollouts", "parameter", "value", "increase"),
    [
        ([(4, 4, SAME_WRONG)] * 6, "faithful", "0.985", 0.05),
        ([(0, 0, CORRECT)] * 12, "reliability", "0.98", 0.03),
        ([(5, 5, CORRECT)] * 4, "ending", "1", 0.1),
    ],
)
def test_weights_follow_the_evidence(
    rollouts: list[Rollout], parameter: str, value: str, increase: float
) -> None:
    default = to_dict(DEFAULT_WEIGHTS)[parameter][value]
    weights = fit([trace_evidence(6, rollouts) for _ in range(60)])
    assert to_dict(weights)[parameter][value] > default + increase


def test_early_errors_keep_ending_weights() -> None:
    weights = fit([trace_evidence(6, [(4, 4, SAME_WRONG)] * 6) for _ in range(60)])
    default = to_dict(DEFAULT_WEIGHTS)["ending"]["1"]
    assert to_dict(weights)["ending"]["1"] < default + 0.1


def test_fit_without_traces_is_default() -> None:
    assert to_dict(fit([])) == to_dict(DEFAULT_WEIGHTS)


def test_em_never_lowers_the_objective() -> None:
    """No EM iteration decreases the log-likelihood plus the log-prior."""
    traces = list[TraceEvidence]()
    for error in range(4):
        verdicts = "c" * error + "i" + "u" * (3 - error)
        for count in (0, 1, 5):
            rollouts = [(error, error, CORRECT)] * count + [(3, 4, SAME_WRONG)] * count
            traces.append(trace_evidence(4, rollouts, verdicts=verdicts))
            traces.append(trace_evidence(4, rollouts, verdicts=verdicts, correct_outcome=True))
    model = LIKELIHOODS.model
    batches = [SufficientStatistics.from_traces(traces, LIKELIHOODS)]
    prior = em.pseudo_counts(model, methods=1)
    weights = model.default_weights(methods=1)
    objectives = list[float]()
    for _ in range(10):
        objectives.append(em.log_likelihood(batches, weights) + log_prior(weights, prior))
        weights = em.m_step(model, em.e_step(batches, weights), prior)
    assert objectives[-1] > objectives[0] + 0.1
    # The tolerance is for rounding errors.
    assert (np.diff(objectives) > -1e-9).all()


def log_prior(weights: Weights, prior: em.ExpectedCounts) -> float:
    """Return the log-density of the Dirichlet prior, up to a constant."""
    total = (prior.before * np.log(weights.before)).sum()
    total += (prior.ending * np.log(weights.ending)).sum()
    total += (prior.after * np.log(weights.after)).sum()
    total += (prior.features * weights.feature_log_rates).sum()
    return float(total)


@cache
def fitted_weights(steps: int) -> Weights:
    """Fit weights that differ from the default ones, with one evidence method."""
    verdicts = "c" * (steps - 1) + "i"
    traces = list[TraceEvidence]()
    for _ in range(steps):
        traces.append(trace_evidence(steps, verdicts=verdicts, verbatim_rate=0.5))
    return fit(traces, methods=1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(rollout_lists(), st.booleans(), st.integers(1, 3)), min_size=1, max_size=30),
    st.integers(1, 40),
)
def test_batched_inference_equals_single_inference(
    cases: list[tuple[tuple[int, list[Rollout]], bool, int]], batch_steps: int
) -> None:
    """Results are equal to the last bit, even if traces differ in length and weights."""
    traces = list[TraceEvidence]()
    weights = list[Weights]()
    for (steps, rollouts), correct_outcome, weights_index in cases:
        incorrect = min(steps, len(rollouts))
        evidence = trace_evidence(
            steps,
            rollouts,
            correct_outcome=correct_outcome,
            verbatim_rate=0.5,
            verdicts="i" * incorrect + "c" * (steps - incorrect),
        )
        traces.append(evidence)
        weights.append(fitted_weights(weights_index))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(posterior, "BATCH_STEPS", batch_steps)
        batched = posteriors(traces, weights, LIKELIHOODS)
    for trace, trace_weights, inference in zip(traces, weights, batched, strict=True):
        single = infer(trace, trace_weights)
        assert inference.posterior.tolist() == single.posterior.tolist()
        assert inference.gains.tolist() == single.gains.tolist()


def test_row_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihoods, "MAX_CACHED_ROWS", 10)
    cached = StepLikelihoods(FirstErrorModel())
    before_eviction = list[Floats]()
    # More evidence than the cache has rows for.
    for count in range(20):
        evidence = trace_evidence(3, [(1, 1, CORRECT)] * count)
        before_eviction.append(infer(evidence, step_likelihoods=cached).posterior)
        assert len(cached._cache) <= 10
    evicted = trace_evidence(3, [(1, 1, CORRECT)] * 4)
    after_eviction = infer(evicted, step_likelihoods=cached).posterior
    assert after_eviction.tolist() == before_eviction[4].tolist()


def test_fit_is_independent_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def traces() -> list[TraceEvidence]:
        result = list[TraceEvidence]()
        for steps in (1, 2, 5):
            for end in RolloutEnd:
                for count in (0, 1, 3):
                    rollouts: list[Rollout] = [(steps // 2, steps // 2, end)] * count
                    result.append(trace_evidence(steps, rollouts))
                    result.append(trace_evidence(steps, rollouts, correct_outcome=True))
        return result

    large_batches = fit(traces())
    # A batch then has at most one of the longest traces.
    monkeypatch.setattr(posterior, "BATCH_STEPS", 5)
    small_batches = fit(traces())
    for name in ("before", "ending", "after"):
        weights = getattr(small_batches, name)
        assert weights == pytest.approx(getattr(large_batches, name))
        assert weights.sum() == pytest.approx(1)


def test_feature_counts_give_their_likelihood() -> None:
    rates = log_rates(prior_counts(2))
    features = encode(3, [annotation("cci"), None])
    assert features[1, -1] == NO_FEATURE
    logs = count_features(features) @ rates.ravel()
    for first_error in range(4):
        expected = 0.0
        for step in range(3):
            # The states are before, at and after the first error.
            state = int(np.sign(step - first_error)) + 1
            for feature in features[:, step]:
                if feature != NO_FEATURE:
                    expected += rates[state, feature]
        assert logs[first_error] == pytest.approx(expected)
    assert logs.argmax() == 2


def test_abstention_on_last_step_is_neutral() -> None:
    abstaining = encode(4, [annotation("cccu")])
    assert abstaining[0, -1] == NO_FEATURE != encode(4, [annotation("cccc")])[0, -1]
    # With a feature, it would be fitted as typical of steps after an error.
    traces = [trace_evidence(4, verdicts="cccu") for _ in range(40)]
    rates = fit(traces, methods=1).feature_log_rates.ravel()
    with_last_step = count_features(abstaining) @ rates
    without_last_step = count_features(encode(3, [annotation("ccc")])) @ rates
    assert with_last_step[:3] == pytest.approx(without_last_step[:3])


def test_rates_of_reliable_method_are_fitted() -> None:
    traces = list[TraceEvidence]()
    for error in range(4):
        rollouts = [(error, error, CORRECT)] * 2 + [(error + 1, error + 1, SAME_WRONG)] * 2
        verdicts = "c" * error + "i" + "u" * (4 - error)
        for _ in range(40):
            traces.append(trace_evidence(5, rollouts, verdicts=verdicts))
    weights = fit(traces, methods=1)
    default = LIKELIHOODS.model.default_weights(methods=1)
    fitted_rates = to_dict(weights, ["m"])["signs"]["m"]
    default_rates = to_dict(default, ["m"])["signs"]["m"]
    assert sum(fitted_rates["at"]["incorrect"]) > 0.7 > sum(default_rates["at"]["incorrect"])
    total = sum(sum(rates) for rates in fitted_rates["before"].values())
    assert total == pytest.approx(1, abs=1e-3)
    unseen = trace_evidence(5, verdicts="cciuu")
    fitted_probability = infer(unseen, weights).posterior[2]
    default_probability = infer(unseen, default).posterior[2]
    assert fitted_probability > 0.95 > 0.7 > default_probability
