"""CPU time of one decision of adaptive search.

A decision adds one completion to the evidence of a trace, computes the posterior, and computes the
information gain of a rollout from every prefix.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from random import Random

from annotators.first_error.features import encode
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel
from annotators.first_error.posterior import posteriors
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence

__all__ = ["MAX_STEPS", "measure_decisions"]

# Steps of the traces. The target is for the longest.
LENGTHS = (8, 16, 64)
MAX_STEPS = LENGTHS[-1]
TRACES = 20
COMPLETIONS = 40
# Traces in one batch of the posterior, as in a run.
BATCH_SIZE = 40
# The share of the steps that have only one possible wording.
VERBATIM_RATE = 0.5
# A completion diverges from its trace after less than this many steps.
MAX_COMMON_STEPS = 8
SEED = 64


def measure_decisions() -> Mapping[int, Mapping[str, float]]:
    """Return the CPU time of a decision in milliseconds, by the number of steps of a trace.

    `median_ms` and `p99_ms` are for a single trace. `among_others_ms` is the median time per trace
    in batches of `BATCH_SIZE` traces.
    """
    return {steps: _measure(steps) for steps in LENGTHS}


def _measure(steps: int) -> Mapping[str, float]:
    single = _decision_times(steps, TRACES, 1)
    batched = _decision_times(steps, BATCH_SIZE, BATCH_SIZE)
    return {
        "median_ms": round(statistics.median(single), 3),
        "p99_ms": round(statistics.quantiles(single, n=100)[98], 3),
        "among_others_ms": round(statistics.median(batched), 3),
    }


def _decision_times(steps: int, traces: int, batch_size: int) -> Sequence[float]:
    """Return the milliseconds per trace of each decision on batches of traces."""
    random = Random(SEED)
    times = list[float]()
    likelihoods = StepLikelihoods(FirstErrorModel())
    weights = [likelihoods.model.default_weights()] * batch_size
    for _ in range(traces // batch_size):
        batch = list[TraceEvidence]()
        for _ in range(batch_size):
            features = encode(steps, [])
            evidence = TraceEvidence(features, correct_outcome=False, verbatim_rate=VERBATIM_RATE)
            batch.append(evidence)
        for _ in range(COMPLETIONS):
            observations = [_random_observation(random, steps) for _ in batch]
            started = time.process_time()
            for evidence, observation in zip(batch, observations, strict=True):
                evidence.add(observation)
            posteriors(batch, weights, likelihoods)
            times.append(1000 * (time.process_time() - started) / batch_size)
    return times


def _random_observation(random: Random, steps: int) -> Observation:
    start = random.randrange(steps)
    diverges_at = min(steps, start + random.randrange(MAX_COMMON_STEPS))
    return Observation(start, diverges_at, random.choice(list(RolloutEnd)))
