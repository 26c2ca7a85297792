"""Estimate the rates of the Dawid-Skene model by expectation maximization.

The E-step computes the posterior over the first error of each pattern, and from it the expected
count of each answer. The M-step divides these counts, together with the pseudo-counts of the prior
(Dirichlet parameters minus 1), by their sum over the answers of the question. Patterns with a gold
first error have a single latent state, so that the same algorithm covers supervised,
semi-supervised and unsupervised estimation.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from annotators.label_fusion.model import (
    Question,
    Response,
    ResponseRates,
    TracePattern,
    first_errors,
    prior_counts,
    responses_of,
)

__all__ = ["LatentStates", "e_step", "fit", "log_likelihood", "m_step"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Fits of 50 to 3,000 simulated traces converge after 8 to 57 iterations.
MAX_ITERATIONS = 100
# EM stops when no rate changes by more than this.
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentStates:
    """The latent states of all patterns as arrays, for vectorized E- and M-steps.

    A latent state is a possible first error of a pattern. A parameter is the rate of an answer to a
    question. The responses of all states are concatenated. Every pattern has at least one step.
    """

    parameters: Mapping[tuple[Question, Hashable], int]
    """The index of each parameter."""
    responses: Indices
    """[response]: its parameter."""
    first_response: Indices
    """[state]: the index of its first response."""
    pattern_of: Indices
    """[state]: its pattern."""
    log_choices: Floats
    """[state]: log of the product of its responses' `choices`."""
    first_state: Indices
    """[pattern]: its first state."""
    traces: Floats
    """[state]: the number of traces with its pattern."""
    question_of: Indices
    """[parameter]: its question."""
    prior: Floats
    """[parameter]: its pseudo-count, in traces."""

    @classmethod
    def from_patterns(cls, patterns: Mapping[TracePattern, int]) -> "LatentStates":
        """Build the arrays from patterns and the number of traces with each."""
        parameters: dict[tuple[Question, Hashable], int] = {}
        responses: list[int] = []
        first_response: list[int] = []
        pattern_of: list[int] = []
        log_choices: list[float] = []
        for pattern_index, pattern in enumerate(patterns):
            states: Sequence[int] = first_errors(pattern)
            if pattern.gold is not None:
                states = (pattern.gold,)
            for first_error in states:
                chain = list(responses_of(pattern, first_error))
                first_response.append(len(responses))
                pattern_of.append(pattern_index)
                log_choices.append(sum(log(response.choices) for response in chain))
                for response in chain:
                    responses.append(_parameter(parameters, response))

        question_of, prior = _questions_and_prior(list(parameters))
        trace_counts = np.array(list(patterns.values()), dtype=float)
        return cls(
            parameters=parameters,
            responses=np.array(responses),
            first_response=np.array(first_response),
            pattern_of=np.array(pattern_of),
            log_choices=np.array(log_choices),
            first_state=np.flatnonzero(np.diff(np.array(pattern_of), prepend=-1)),
            traces=trace_counts[np.array(pattern_of)],
            question_of=question_of,
            prior=prior,
        )


def fit(patterns: Mapping[TracePattern, int]) -> ResponseRates:
    """Fit the rates by EM.

    Args:
        patterns: The number of traces with each pattern. Without any, all rates are prior rates.
    """
    if not patterns:
        return ResponseRates({})
    states = LatentStates.from_patterns(patterns)
    # Start at the prior rates: an M-step without any observed response.
    rates = m_step(states, np.zeros(len(states.parameters)))
    for _ in range(MAX_ITERATIONS):
        previous = rates
        rates = m_step(states, e_step(states, rates))
        if np.abs(rates - previous).max() < TOLERANCE:
            break
    shares: dict[Question, dict[Hashable, float]] = defaultdict(dict)
    for (question, answer), rate in zip(states.parameters, rates, strict=True):
        shares[question][answer] = float(rate)
    return ResponseRates(shares)


def e_step(states: LatentStates, rates: Floats) -> Floats:
    """Return the expected count of each parameter's answer, array [parameter], in traces.

    Args:
        states: The latent states.
        rates: Array [parameter].
    """
    logs = _joint_logs(states, rates)
    top = np.maximum.reduceat(logs, states.first_state)
    weights = np.exp(logs - top[states.pattern_of])
    totals = np.add.reduceat(weights, states.first_state)
    state_counts = states.traces * weights / totals[states.pattern_of]  # [state]
    response_numbers = np.diff(states.first_response, append=len(states.responses))  # [state]
    counts: Floats = np.bincount(
        states.responses,
        weights=np.repeat(state_counts, response_numbers),
        minlength=len(states.parameters),
    ).astype(float)
    return counts


def m_step(states: LatentStates, counts: Floats) -> Floats:
    """Return the rates [parameter] that maximize the posterior, given the counts [parameter]."""
    counts = counts + states.prior
    totals = np.bincount(states.question_of, weights=counts)
    rates: Floats = counts / totals[states.question_of]
    return rates


def log_likelihood(states: LatentStates, rates: Floats) -> float:
    """Return the log-likelihood of all reports, in nats.

    The first errors are summed out; a gold first error is not.

    Args:
        states: The latent states.
        rates: Array [parameter].
    """
    logs = _joint_logs(states, rates)
    by_pattern = np.logaddexp.reduceat(logs, states.first_state)
    return float(by_pattern @ states.traces[states.first_state])


def _joint_logs(states: LatentStates, rates: Floats) -> Floats:
    """Return log P(first error, reports | outcome), array [state].

    Args:
        states: The latent states.
        rates: Array [parameter].
    """
    logs: Floats = np.add.reduceat(np.log(rates)[states.responses], states.first_response)
    return logs - states.log_choices


def _questions_and_prior(
    parameters: Sequence[tuple[Question, Hashable]],
) -> tuple[Indices, Floats]:
    """Return the index of each parameter's question, and its pseudo-count; arrays [parameter]."""
    questions: dict[Question, int] = {}
    question_of = list[int]()
    prior = list[float]()
    for question, answer in parameters:
        question_of.append(questions.setdefault(question, len(questions)))
        prior.append(prior_counts(question)[answer])
    return np.array(question_of), np.array(prior)


def _parameter(parameters: dict[tuple[Question, Hashable], int], response: Response) -> int:
    """Return the index of a response's parameter.

    New questions get parameters for all their answers at once: rates of one question must sum to 1
    even if some answers are never observed.
    """
    key = (response.question, response.answer)
    if key not in parameters:
        for answer in prior_counts(response.question):
            parameters.setdefault((response.question, answer), len(parameters))
    return parameters[key]
