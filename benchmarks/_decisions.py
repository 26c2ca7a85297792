"""What a decision of adaptive search takes of a processor: one completion more, the posterior, and what each next one would tell."""

import statistics
import time
from collections.abc import Mapping
from random import Random

from annotators._first_error import OTHER, RIGHT, SAME, Belief, Observation, default, weighed
from annotators._signs import signs_of

__all__ = ["LONGEST", "decisions"]

LENGTHS = (8, 16, 64)
LONGEST = LENGTHS[-1]
"""In steps."""
TRACES, COMPLETIONS = 20, 40
VERBATIM, FARTHEST = 0.5, 8
SEED = 64


def decisions() -> Mapping[int, Mapping[str, float]]:
    """By length of a trace in steps: milliseconds of processor time, in the median and at the 99th percentile."""
    return {steps: _of(steps) for steps in LENGTHS}


def _of(steps: int) -> Mapping[str, float]:
    draws, taken, weights = Random(SEED), list[float](), default()
    for _ in range(TRACES):
        belief = Belief(signs_of(steps, []), right=False, verbatim=VERBATIM)
        for _ in range(COMPLETIONS):
            start = draws.randrange(steps)
            seen = Observation(start, min(steps, start + draws.randrange(FARTHEST)), draws.choice((RIGHT, SAME, OTHER)))
            began = time.process_time()
            belief.see(seen)
            weighed([belief], [weights])
            taken.append(1000 * (time.process_time() - began))
    return {"median_ms": round(statistics.median(taken), 3), "p99_ms": round(statistics.quantiles(taken, n=100)[98], 3)}
