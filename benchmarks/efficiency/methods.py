"""The methods that the benchmark compares."""

from collections.abc import Mapping, Sequence

from annotators.base import Annotator
from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from benchmarks.efficiency.information_bounds import InformedSearch
from benchmarks.efficiency.parts import (
    ADAPTIVE_PREFIX,
    INFORMED_PREFIX,
    MATH_SHEPHERD,
    MATH_SHEPHERD_EARLY,
    OMEGA_PRM,
    OMEGA_PRM_EARLY,
)
from benchmarks.efficiency.simulated_policy import Policy

__all__ = [
    "DEFAULT",
    "FIXED_RULES",
    "NO_ROLLOUTS",
    "POCKET_WORTHS",
    "WORTHS",
    "adaptive_methods",
    "informed_searches",
]

FIXED_RULES: Mapping[str, Annotator] = {
    MATH_SHEPHERD: MonteCarlo(rollouts=8),
    MATH_SHEPHERD_EARLY: MonteCarlo(rollouts=8, stop_early=True),
    OMEGA_PRM: BinarySearch(rollouts=8, right_answers="search"),
    OMEGA_PRM_EARLY: BinarySearch(rollouts=8, right_answers="search", stop_early=True),
}
DEFAULT_WORTH = AdaptiveSearch().worth
# The least information, in nats per 1,000 tokens, for which adaptive search samples a rollout. The
# targets are for the default.
WORTHS = (4.0, 2.0, 1.0, DEFAULT_WORTH, 0.25, 0.1)
# Without the last, which takes ten rollouts per trace of the pocket model and is not more exact.
POCKET_WORTHS = WORTHS[:-1]
# The confidences at which a search that knows the policy stops.
CONFIDENCES = (0.6, 0.8, 0.9, 0.95)


def _name(variant: str, evidence: Sequence[str]) -> str:
    return " + ".join([f"{ADAPTIVE_PREFIX}{variant}", *evidence])


# Names in stored results, so their wording stays.
NO_ROLLOUTS = _name("nothing bought", ())
DEFAULT = _name(f"worth {DEFAULT_WORTH:g}", ())


def adaptive_methods(worths: Sequence[float], *evidence: str) -> Mapping[str, Annotator]:
    """Return adaptive search without rollouts and with each value of `worth`, by name."""
    methods: dict[str, Annotator] = {
        _name("nothing bought", evidence): AdaptiveSearch(budget=0, evidence=evidence)
    }
    for worth in worths:
        name = _name(f"worth {worth:g}", evidence)
        methods[name] = AdaptiveSearch(worth=worth, evidence=evidence)
    return methods


def informed_searches(policy: Policy) -> Mapping[str, Annotator]:
    """Return searches that know the policy, by name."""
    methods = dict[str, Annotator]()
    for confidence in CONFIDENCES:
        name = f"{INFORMED_PREFIX}to {confidence:g}"
        methods[name] = InformedSearch(policy=policy, confidence=confidence)
    return methods
