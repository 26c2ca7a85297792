"""The job that was prepared before its flow starts, kept outside of the flow's parameters.

Prefect stores and displays parameters, so they must be small keys.

This is a separate module because Prefect pickles the globals of a flow's module when it sends a
scheduled flow to its process. A context variable cannot be pickled.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from pipelines.run.job import Job

__all__ = ["PreparedJob", "get_prepared_job", "set_prepared_job"]


@dataclass(kw_only=True)
class PreparedJob:
    """A job and, after its flow, its summary."""

    job: Job
    rows: Sequence[Mapping[str, str]] | None = None
    """The rows of the summary; None if the flow did not come to its end."""


_PREPARED: ContextVar[PreparedJob | None] = ContextVar("prepared", default=None)


def set_prepared_job(prepared: PreparedJob) -> None:
    """Set the job that the next flow started from this context performs."""
    _PREPARED.set(prepared)


def get_prepared_job() -> PreparedJob | None:
    """Return the prepared job, or None if the flow was started without one."""
    return _PREPARED.get()
