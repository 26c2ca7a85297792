"""Python's search for garbage, which a run wants little of: nearly all that it makes is in no cycle, and goes when its last user does."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["seldom_sought"]

YOUNG = 20_000
"""New objects, less those that have gone, before they are looked through: Python's own 700 are there at every moment of a run."""


@contextmanager
def seldom_sought() -> Iterator[None]:
    """Look for garbage more seldom while the block runs, and never through what was there before: libraries, which stay."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
