"""What a decision of adaptive search takes of a processor: one completion more, the posterior, and what each next one would tell."""

import statistics
import time
from collections.abc import Mapping, Sequence
from random import Random

from annotators._first_error import OTHER, RIGHT, SAME, Belief, Observation, default, weighed
from annotators._signs import signs_of

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
    draws, taken, weights = Random(SEED), list[float](), [default()] * at_once
    for _ in range(traces // at_once):
        beliefs = [
            Belief(signs_of(steps, []), right=False, verbatim=VERBATIM) for _ in range(at_once)
        ]
        for _ in range(COMPLETIONS):
            seen = [_drawn(draws, steps) for _ in beliefs]
            began = time.process_time()
            for belief, one in zip(beliefs, seen, strict=True):
                belief.see(one)
            weighed(beliefs, weights)
            taken.append(1000 * (time.process_time() - began) / at_once)
    return taken


def _drawn(draws: Random, steps: int) -> Observation:
    start = draws.randrange(steps)
    return Observation(
        start, min(steps, start + draws.randrange(FARTHEST)), draws.choice((RIGHT, SAME, OTHER))
    )
