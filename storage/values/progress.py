"""Progress: how much likelier a step makes a right answer, in the hands of a prover."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Progress"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A = Q(s_t, a_t) - Q(s_t-1, a_t-1) under the policy of a prover (PAV; Setlur et al. 2024, arXiv 2410.08146, section 3), in [-1, 1].

    The prover is not the model that wrote the trace: `prover` names the Monte Carlo method that asked it (`engine = "prover_engine"`). What
    it makes of the question alone nobody asked it, so the first step has no value.
    """

    prover: str = "prover"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, estimates.value - before AS value
        FROM estimates WHERE method = prover
    """
