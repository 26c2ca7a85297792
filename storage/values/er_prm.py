"""Entropy-regularized values: the logarithm of the mean exponential of the rollout rewards."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["ErPrm"]


@dataclass(frozen=True, kw_only=True)
class ErPrm:
    """V = ln(mean of exp(eta · r)) / eta over the rollouts from a prefix.

    The formula is that of ER-PRM (Zhang et al. 2024, arXiv 2412.11006, section 3). With r = 1 for
    correct and 0 for incorrect rollouts, the mean is 1 - p + p · exp(eta), where p is the estimate
    of the method `source`. V approaches p for small eta, and 1 for large eta if p > 0.
    """

    eta: Annotated[float, Field(gt=0, le=100)] = 2.0
    """The inverse temperature: a large one weighs correct rollouts more."""
    source: str = "monte_carlo"
    """The method whose estimates are read."""

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index,
          ln(1 - estimates.value + estimates.value * exp(eta)) / eta AS value
        FROM estimates WHERE method = source
    """
