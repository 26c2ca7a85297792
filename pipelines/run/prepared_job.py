"""A job that was prepared before its flow starts, handed past Prefect, which gets small keys only.

A module of its own: Prefect sends a scheduled flow to its process together with what its module names, and a context variable stays behind.
"""

from contextvars import ContextVar

from pipelines.run.job import Job

__all__ = ["hand_over", "handed_over"]

_PREPARED: ContextVar[Job | None] = ContextVar("prepared", default=None)


def hand_over(job: Job) -> None:
    """Let the flow that is called next from here do this job."""
    _PREPARED.set(job)


def handed_over() -> Job | None:
    """The job that was handed over, if any."""
    return _PREPARED.get()
