"""Run the garbage collector less often during a run.

Nearly all objects of a run are in no reference cycle and are freed by reference counting, so a
collection costs time and frees almost nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["infrequent_gc"]

# New objects, less those freed, before a collection of the youngest generation. Python's default of
# 700 is exceeded at every moment of a run, by the requests in flight alone. This many
# stored completions with texts of 80 characters take 25 MB.
YOUNG_OBJECTS = 100_000


@contextmanager
def infrequent_gc() -> Iterator[None]:
    """Collect garbage less often within the block, and never scan the objects that exist before it.

    Those are mostly imported libraries, which stay until the process ends.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
