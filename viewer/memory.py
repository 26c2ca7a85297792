"""A small cache of results that requests in several threads need."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Memory"]

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """The results that were used last. One thread makes a result at a time.

    Args:
        size: The number of results that are remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._results = OrderedDict[Hashable, Value]()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the result of a key, which `make` returns if it is not remembered."""
        with self._lock:
            if key not in self._results:
                self._results[key] = make()
                if len(self._results) > self._size:
                    self._results.popitem(last=False)
            self._results.move_to_end(key)
            return self._results[key]
