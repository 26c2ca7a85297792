"""What a decision of adaptive search takes of a processor: one completion more, the posterior, and what each next one would tell."""

import statistics
import time
from collections.abc import Mapping, Sequence
from random import Random

from annotators.first_error.evidence import encode
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel
from annotators.first_error.posterior import posteriors
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence

__all__ = ["LONGEST", "decisions"]

LENGTHS = (8, 16, 64)
LONGEST = LENGTHS[-1]
"""In steps."""
TRACES, COMPLETIONS = 20, 40
TOGETHER = 40
"""Traces that are weighed at once, as a run does it."""
VERBATIM, FARTHEST = 0.5, 8
SEED = 64


def decisions() -> Mapping[int, Mapping[str, float]]:
    """By length of a trace in steps: milliseconds of processor time, in the median and at the 99th percentile, and one's among others."""
    return {steps: _of(steps) for steps in LENGTHS}


def _of(steps: int) -> Mapping[str, float]:
    alone, among = _taken(steps, TRACES, 1), _taken(steps, TOGETHER, TOGETHER)
    return {
        "median_ms": round(statistics.median(alone), 3),
        "p99_ms": round(statistics.quantiles(alone, n=100)[98], 3),
        "among_others_ms": round(statistics.median(among), 3),
    }


def _taken(steps: int, traces: int, at_once: int) -> Sequence[float]:
    """What each decision took, so many traces deciding at once."""
    draws, taken = Random(SEED), list[float]()
    likelihoods = StepLikelihoods(FirstErrorModel())
    weights = [likelihoods.model.default_weights()] * at_once
    for _ in range(traces // at_once):
        evidence = list[TraceEvidence]()
        for _ in range(at_once):
            features = encode(steps, [])
            evidence.append(TraceEvidence(features, correct_outcome=False, verbatim_rate=VERBATIM))
        for _ in range(COMPLETIONS):
            observations = [_drawn(draws, steps) for _ in evidence]
            began = time.process_time()
            for trace, observation in zip(evidence, observations, strict=True):
                trace.add(observation)
            posteriors(evidence, weights, likelihoods)
            taken.append(1000 * (time.process_time() - began) / at_once)
    return taken


def _drawn(draws: Random, steps: int) -> Observation:
    start = draws.randrange(steps)
    diverges_at = min(steps, start + draws.randrange(FARTHEST))
    return Observation(start, diverges_at, draws.choice(list(RolloutEnd)))
