"""Array helpers shared by the modules of this package."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "normalize", "weighted_logsumexp"]

Floats: TypeAlias = npt.NDArray[np.float64]


def normalize(counts: Floats) -> Floats:
    """Divide by the sum along the last axis, so that every row sums to 1."""
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def weighted_logsumexp(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return log(sum(weights * exp(logs))) and each term's share of that sum.

    Args:
        logs: Log-likelihoods, array [..., point].
        weights: Mixture weights, broadcast against `logs`.

    Returns:
        The log-sums [...] and the responsibilities [..., point], which sum to 1 over the points.
    """
    # Subtract the maximum of a row: likelihoods of long traces underflow as plain numbers.
    top = logs.max(axis=-1, keepdims=True)
    terms = np.exp(logs - top)
    terms *= weights
    sums = terms.sum(axis=-1, keepdims=True)
    return (np.log(sums) + top)[..., 0], terms / sums
