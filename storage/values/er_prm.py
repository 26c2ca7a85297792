"""Entropy-regularized values: the logarithm of the mean exponential of the rollouts' rewards."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["ErPrm"]


@dataclass(frozen=True, kw_only=True)
class ErPrm:
    """V = ln(mean of exp(eta · r)) / eta over the rollouts from a prefix (ER-PRM; Zhang et al. 2024, arXiv 2412.11006, section 3).

    With r = 1 for right rollouts and 0 for wrong ones, the mean is 1 - p + p · exp(eta), where p is the share of right ones that `source`
    has measured. Near eta = 0 it is p; the larger eta, the nearer to 1 is whatever any rollout can still make right.
    """

    eta: Annotated[float, Field(gt=0, le=100)] = 2.0
    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, ln(1 - estimates.value + estimates.value * exp(eta)) / eta AS value
        FROM estimates WHERE method = source
    """
