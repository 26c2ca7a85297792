"""A clock that measures how long at least one request is outstanding."""

import time

__all__ = ["WaitClock"]


class WaitClock:
    """The time during which at least one request is outstanding; overlapping requests count once.

    Each `with` block on the clock is a request; blocks may overlap. It is used on one event loop
    only, so it needs no lock.
    """

    def __init__(self) -> None:
        self._outstanding = 0
        self._since = 0.0
        self._finished = 0.0

    @property
    def seconds(self) -> float:
        """Return the time so far, including that of requests that are still outstanding."""
        if not self._outstanding:
            return self._finished
        return self._finished + time.perf_counter() - self._since

    def __enter__(self) -> None:
        """Begin to wait for a request."""
        if not self._outstanding:
            self._since = time.perf_counter()
        self._outstanding += 1

    def __exit__(self, *exception: object) -> None:
        """Stop waiting for a request."""
        self._outstanding -= 1
        if not self._outstanding:
            self._finished += time.perf_counter() - self._since
