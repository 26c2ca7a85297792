"""Progress: the change of the probability of a correct answer under a prover policy."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Progress"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A = Q(s_t, a_t) - Q(s_t-1, a_t-1) under the policy of a prover, in [-1, 1].

    The formula is that of process advantage verifiers (PAV; Setlur et al. 2024, arXiv 2410.08146,
    section 3). The prover is another model than the one that wrote the trace: `prover` names the
    Monte Carlo method that samples from it (`engine = "prover_engine"`). The first step has no
    value, because the method does not sample from the question alone.
    """

    prover: str = "prover"
    """The Monte Carlo method that samples from the prover."""

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, estimates.value - before AS value
        FROM estimates WHERE method = prover
    """
