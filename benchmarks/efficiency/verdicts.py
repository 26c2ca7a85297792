"""The targets of the benchmark, and whether the results meet them."""

from collections.abc import Mapping
from typing import Any

from benchmarks.common.targets import Interval, compare_with_target
from benchmarks.efficiency.decision_times import MAX_STEPS
from benchmarks.efficiency.methods import DEFAULT, POCKET_WORTHS, adaptive_methods
from benchmarks.efficiency.parts import MATH_SHEPHERD, OMEGA_PRM, Part
from benchmarks.efficiency.pocket_traces import FORMAL

__all__ = ["POCKET", "SIMULATED", "target_verdicts"]

# The names of the parts begin with one of these.
POCKET = "pocket"
SIMULATED = "simulated"
# CPU time of a decision on the longest traces, so that the search never delays an engine.
MAX_DECISION_MS = 1.0
# The largest share of the tokens of the fixed rules, at no lower exactness.
MAX_SHARES = {OMEGA_PRM: 1 / 4, MATH_SHEPHERD: 1 / 15}
# The largest distance between the mean confidence and the exact share.
MAX_GAP = 0.03
# With evidence, no lower exactness for this share of the tokens without it.
MAX_SHARE_WITH_EVIDENCE = 1 / 2
# The largest number of rollouts, as a multiple of the bound.
MAX_TIMES_BOUND = 2.0


def target_verdicts(
    parts: Mapping[str, Part], decision_times: Mapping[int, Mapping[str, float]]
) -> Mapping[str, Mapping[str, Any]]:
    """Return by part and target the value, its interval, the limits and the verdict."""
    verdicts = dict[str, Mapping[str, Any]]()
    for name, part in parts.items():
        if name.startswith(POCKET):
            verdicts[name] = _pocket_verdicts(part)
        else:
            verdicts[name] = _simulated_verdicts(part)
    decision = compare_with_target(decision_times[MAX_STEPS]["median_ms"], most=MAX_DECISION_MS)
    verdicts["a decision"] = {f"milliseconds at {MAX_STEPS} steps": decision}
    return verdicts


def _pocket_verdicts(part: Part) -> Mapping[str, Any]:
    verdicts = dict[str, Any]()
    for rule, share in MAX_SHARES.items():
        exact, tokens = part.comparisons[DEFAULT][rule]
        verdicts[f"tokens of {rule}"] = compare_with_target(tokens, most=share)
        verdicts[f"exact beyond {rule}"] = compare_with_target(exact, least=0)
    gap = part.measures[DEFAULT].gap
    assert gap is not None, "adaptive search always states a confidence"
    verdicts["confidence less exactness"] = compare_with_target(gap, least=-MAX_GAP, most=MAX_GAP)
    name = (
        f"exact with {FORMAL} beyond without, for at most {MAX_SHARE_WITH_EVIDENCE} of the tokens"
    )
    verdicts[name] = compare_with_target(_best_with_evidence(part), least=0)
    return verdicts


def _best_with_evidence(part: Part) -> Interval:
    """Return the largest gain in the exact share for at most half of the tokens."""
    gains = list[Interval]()
    for method in adaptive_methods(POCKET_WORTHS, FORMAL):
        exact, tokens = part.comparisons[method][DEFAULT]
        if tokens.value <= MAX_SHARE_WITH_EVIDENCE:
            gains.append(exact)
    return max(gains, key=lambda exact: exact.value)


def _simulated_verdicts(part: Part) -> Mapping[str, Any]:
    rollouts = part.measures[DEFAULT].rollouts
    bound = part.bounds[DEFAULT]
    assert bound.binary_from_prior is not None, "adaptive search always states a posterior"
    assert bound.z_channel_from_prior is not None
    times_bound = rollouts / bound.binary_from_prior
    return {
        "rollouts, times the least": {
            **compare_with_target(times_bound, most=MAX_TIMES_BOUND),
            # By the Z-channel. It has no target: no search reaches this bound if solutions with a
            # mistake can be correct.
            "were no mistake to come right": rollouts / bound.z_channel_from_prior,
        }
    }
