"""Bounds on the memory, disk, threads and time of a query.

DuckDB bounds what its operators hold. It does not bound what functions allocate, such as `repeat`,
and does not interrupt the parser or a function. `bound_process` limits the process for these.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MAX_SQL_CHARS", "MEMORY_MIB", "bound_process", "settings", "thread_count"]

MIB = 1 << 20
# The memory that suits a laptop and a dataset of a million traces.
MEMORY_MIB = 2 << 10
"""What DuckDB's operators hold in memory by default. What is more is written to the disk."""
# Parsing and binding a query of this length takes about a second.
MAX_SQL_CHARS = 1 << 18
# More threads hold more memory, and are not faster on parts of a usual size.
MAX_THREADS = 8
MAX_SPILL_MIB = 32 << 10
# What a query holds besides DuckDB's operators: its threads and views, and the result.
QUERY_MIB = 2 << 10


def settings(memory_mib: int, scratch: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return the settings of DuckDB.

    Args:
        memory_mib: What its operators may hold in memory.
        scratch: The folder for what does not fit into the memory. At most half of what is free on
            its disk is used.
    """
    free_mib = shutil.disk_usage(scratch.parent).free // MIB
    return {
        "memory_limit": f"{min(memory_mib, _physical_mib() // 2)}MiB",
        "max_temp_directory_size": f"{min(MAX_SPILL_MIB, free_mib // 2)}MiB",
        "temp_directory": str(scratch),
        "threads": str(thread_count()),
    }


def thread_count() -> int:
    """Return the number of threads of a query."""
    return min(_processors(), MAX_THREADS)


@contextmanager
def bound_process(memory_mib: int) -> Iterator[None]:
    """Limit the memory that this process allocates; it must have no other task than a query.

    An allocation beyond the limit fails, and with it the query. Without effect on other systems
    than Linux.

    Args:
        memory_mib: What DuckDB's operators may hold in memory.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # Without what is allocated already, the start of a thread could fail, for which Python waits.
    limit = _allocated_bytes() + (memory_mib + QUERY_MIB) * MIB
    for existing in (soft, hard):
        if existing != resource.RLIM_INFINITY:
            limit = min(limit, existing)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _allocated_bytes() -> int:
    """Return what `RLIMIT_DATA` limits: the private memory that the process can write."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, kib = line.partition(":")
        if name == "VmData":
            return int(kib.removesuffix("kB")) << 10
    return 0


def _physical_mib() -> int:
    if sys.platform == "win32":
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
