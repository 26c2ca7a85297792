"""Answered and missing samples of a request: those that a failed or cancelled one has, and gaps."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

__all__ = ["answered_samples", "keep_answered", "missing_ranges"]


def answered_samples(error: BaseException) -> Mapping[int, Any]:
    """Return the samples of a failed or cancelled request that were answered, by their index."""
    samples: Mapping[int, Any] = vars(error).get("completions", {})
    return samples


def keep_answered(error: BaseException, samples: Mapping[int, Any]) -> None:
    """Let an error carry the samples of its request that were answered all the same.

    A `CancelledError` carries them, too: another class would not pass through `asyncio.timeout`.
    """
    vars(error)["completions"] = samples


def missing_ranges(count: int, present: Container[int]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of consecutive indices below `count` that are not present.

    >>> list(missing_ranges(5, {1, 2}))
    [(0, 1), (3, 5)]
    """
    start: int | None = None
    for index in range(count):
        if index in present:
            if start is not None:
                yield start, index
            start = None
        elif start is None:
            start = index
    if start is not None:
        yield start, count
