"""The job that was prepared before its flow starts, kept outside of the flow's parameters.

Prefect stores and displays parameters, so they must be small keys.

This is a separate module because Prefect pickles the globals of a flow's module when it sends a
scheduled flow to its process. A context variable cannot be pickled.
"""

from contextvars import ContextVar

from pipelines.run.job import Job

__all__ = ["get_prepared_job", "set_prepared_job"]

_PREPARED: ContextVar[Job | None] = ContextVar("prepared", default=None)


def set_prepared_job(job: Job) -> None:
    """Set the job that the next flow started from this context performs."""
    _PREPARED.set(job)


def get_prepared_job() -> Job | None:
    """Return the prepared job, or None if the flow was started without one."""
    return _PREPARED.get()
