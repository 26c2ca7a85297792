"""Queries of users, with bounds on the time and memory of this process."""

import os
import sys
from typing import Any

from stepmark.errors import ConfigError
from storage.queries.limits import MEMORY_MIB, bound_process

__all__ = ["TIMEOUT_S", "bounded_query"]

TIMEOUT_S = 60.0
# The exit status of an error that the user can fix.
USER_ERROR = 2


def bounded_query(
    dataset: str, query: str, *, timeout_s: float = TIMEOUT_S, memory_mib: int = MEMORY_MIB
) -> Any:
    """Return the result of a query on a dataset, as an Arrow table.

    The process must have no other task meanwhile: it ends if the query cannot be interrupted.

    Raises:
        ConfigError: As `storage.queries.sql.query`, or the result does not fit into the memory.
    """
    from storage.dataset.dataset import Dataset
    from storage.queries.sql import query as run_query

    def end() -> None:
        message = f"stepmark: the query failed: it took longer than {timeout_s:g} s\n"
        os.write(sys.stderr.fileno(), message.encode())
        os._exit(USER_ERROR)

    try:
        with bound_process(memory_mib):
            return run_query(
                Dataset(dataset), query, timeout_s, memory_mib=memory_mib, on_overdue=end
            )
    except MemoryError as error:
        raise ConfigError("the answer does not fit into the memory; add a LIMIT") from error
