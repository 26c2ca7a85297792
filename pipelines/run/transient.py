"""Failures with a temporary cause, which `--retry-failed` repeats.

Another attempt can succeed for a completion that was aborted or filtered, for a request that was
rejected, and for a grade that a busy machine prevented. A completion that was cut at its maximum
length would be cut again, so the cause is not temporary.
"""

from stepmark.errors import EngineError, EngineUnavailableError
from stepmark.records import Critique, Rollout, Trace
from verifiers.isolation.pool import PASSING_REASONS

__all__ = ["SCORED", "is_final", "is_transient", "may_repeat_stage"]

SCORED = "scored"
"""The finish reason of a stored text that was scored and not generated."""
FINAL_REASONS = frozenset({"stop", "length", SCORED})


def is_final(finish_reason: str) -> bool:
    """Return whether another request would give a completion that ends in the same way."""
    return finish_reason in FINAL_REASONS


def may_repeat_stage(error: Exception) -> bool:
    """Return whether a stage is repeated after an error.

    Only for engines that do not repeat their requests themselves: one that does has waited as long
    as the user wants.
    """
    if isinstance(error, EngineUnavailableError):
        return False
    return isinstance(error, EngineError) and error.retryable


def is_transient(row: Trace | Rollout | Critique) -> bool:
    """Return whether a row failed, or has no outcome, with a temporary cause."""
    if not is_final(row.finish_reason):
        return True
    return not isinstance(row, Critique) and row.outcome_reason in PASSING_REASONS
