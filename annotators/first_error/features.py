"""Encode the annotations of other methods as features of the steps of a trace.

Relative to the first error, a step is in one of three states: before it, at it, or after it. In
each state, a method emits a feature of the step at a rate that EM estimates. A feature is the
verdict of the step together with the drop of its value since the previous step, in quarters. Given
the first error, features are independent across steps and methods (naive Bayes).

An abstention is a feature as well: it is informative for a checker that can only find errors. The
exception is a last step without verdict and value: it has no feature. A last step often only
repeats a result, whether that is right or wrong. As a feature, the abstention would become evidence
for the latest possible first error.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from annotators.first_error.numerics import Floats
from annotators.suspicions import counts_statements, is_suspected
from stepmark.records import Annotation, StepAnnotation, Verdict

__all__ = [
    "NO_FEATURE",
    "Features",
    "count_features",
    "encode",
    "log_rates",
    "prior_counts",
    "to_dict",
]

Features: TypeAlias = npt.NDArray[np.intp]
"""[method, step]: the index of the feature, or `NO_FEATURE`. Methods use disjoint indices."""

QUARTERS = 4
VERDICTS = (Verdict.CORRECT, Verdict.UNKNOWN, Verdict.INCORRECT)
FEATURES_PER_METHOD = len(VERDICTS) * QUARTERS
# A suspicion of a formal checker, which has no values, uses a feature of its own: its prior rates
# are those of an unknown step, which hardly differ between the states.
SUSPICION_QUARTER = 1
NO_FEATURE = -1
STATES = ("before", "at", "after")
PRIOR_VERDICT_RATES = ((0.70, 0.27, 0.03), (0.25, 0.35, 0.40), (0.40, 0.35, 0.25))
"""[state][verdict]: the rates before EM, for every method."""
# Raised from 10 to hold the estimated rates closer to the prior ones.
PRIOR_STEPS = 30.0
"""Pseudo-count of each state's prior rates, in steps."""


def encode(steps: int, annotations: Sequence[Annotation | None]) -> Features:
    """Return the features of a trace, array [method, step].

    Args:
        steps: The number of steps of the trace.
        annotations: One annotation per method; None counts as an abstention on every step.
    """
    # Most runs use no evidence method; skip the array operations for them.
    if not annotations:
        return np.empty((0, steps), dtype=np.intp)
    rows = list[Sequence[int]]()
    for annotation in annotations:
        if annotation is None:
            rows.append(_features([StepAnnotation()] * steps))
        else:
            is_formal = counts_statements(annotation)
            rows.append(_features(annotation.steps, is_formal=is_formal))
    features = np.array(rows, dtype=np.intp).reshape(len(rows), steps)
    offsets = FEATURES_PER_METHOD * np.arange(len(rows), dtype=np.intp)[:, None]
    return np.where(features == NO_FEATURE, NO_FEATURE, features + offsets)


def prior_counts(methods: int) -> Floats:
    """Return the pseudo-counts of each feature before EM, array [state, feature]."""
    rates = np.repeat(np.array(PRIOR_VERDICT_RATES), QUARTERS, axis=1) / QUARTERS
    counts: Floats = PRIOR_STEPS * np.tile(rates, methods)
    return counts


def log_rates(counts: Floats) -> Floats:
    """Return log-rates [state, feature] from counts of the same shape.

    In each state, the rates of the features of one method sum to 1.
    """
    by_method = counts.reshape(len(STATES), -1, FEATURES_PER_METHOD)
    totals = by_method.sum(axis=2, keepdims=True)
    logs: Floats = np.log(by_method / totals).reshape(counts.shape)
    return logs


def to_dict(
    log_rate_table: Floats, methods: Sequence[str]
) -> Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]:
    """Return rates as {method: {state: {verdict: [rate by quarters of value drop]}}}.

    Args:
        log_rate_table: Log-rates, array [state, feature].
        methods: The names of the methods, in the order of their features.
    """
    shape = (len(STATES), len(methods), len(VERDICTS), QUARTERS)
    table = np.exp(log_rate_table).reshape(shape).round(4)
    result: dict[str, dict[str, dict[str, list[float]]]] = {}
    for method_index, method in enumerate(methods):
        by_state: dict[str, dict[str, list[float]]] = {}
        for state_index, state in enumerate(STATES):
            by_verdict: dict[str, list[float]] = {}
            for verdict_index, verdict in enumerate(VERDICTS):
                by_drop = table[state_index, method_index, verdict_index]
                by_verdict[verdict.value] = by_drop.tolist()
            by_state[state] = by_verdict
        result[method] = by_state
    return result


def count_features(features: Features) -> Floats:
    """Count features by state, for every possible first error.

    Returns:
        Array [first error, state * feature] with T + 1 rows, the last for no error. Its product
        with the log-rates is the log-likelihood of the features. Its product with a posterior over
        the first error is the expected count that the M-step needs.
    """
    # Most runs use no evidence method; skip the array operations for them.
    if not len(features):
        return np.empty((features.shape[1] + 1, 0))
    indices = np.arange(FEATURES_PER_METHOD * len(features))
    at_step = (features[:, :, None] == indices).sum(axis=0)  # [step, feature]
    states = np.zeros((len(at_step) + 1, len(STATES), len(indices)))
    before = states[:, 0]
    at = states[:, 1]
    after = states[:, 2]
    np.cumsum(at_step, axis=0, out=before[1:])
    at[:-1] = at_step
    # The last row of `before` holds the totals: without an error, all steps are before it.
    after[:] = before[-1] - before - at
    return states.reshape(len(states), -1)


def _features(steps: Sequence[StepAnnotation], *, is_formal: bool = False) -> Sequence[int]:
    """Return the feature index of every step of one method, before the method's offset.

    A formal checker gives no verdict on a step whose statements hold, or of which it only suspects
    one. The counts of the statements tell the three kinds of unknown steps apart.
    """
    # A missing value counts as 1, the value of a step that is certainly right.
    previous = 1.0
    features = list[int]()
    for step in steps:
        value = step.value
        if value is None:
            value = 1.0
        drop = max(0.0, previous - value)
        quarter = min(int(QUARTERS * drop), QUARTERS - 1)
        verdict = step.verdict
        if is_formal and is_suspected(step):
            quarter = SUSPICION_QUARTER
        elif is_formal and verdict is Verdict.UNKNOWN and step.trials > 0:
            verdict = Verdict.CORRECT
        features.append(VERDICTS.index(verdict) * QUARTERS + quarter)
        previous = value
    is_abstention = features[-1:] == [VERDICTS.index(Verdict.UNKNOWN) * QUARTERS]
    if is_abstention and steps[-1].value is None:
        features[-1] = NO_FEATURE
    return features
