"""Slices of a dataset: several processes, also of several machines, each write every N-th shard.

Slice 2 of 8 has the shards 2, 10, 18 and so on. The writer lock of a slice (see `lease`) excludes a
second process with the same slice, slices of another division, since they have shards in common,
and every process that writes the whole dataset. Slices of one division do not exclude each other.

A local folder, which can be on a network file system with `flock`, has the file `.lock`: whole
writers lock it exclusively, and slices lock it for shared use. Each slice also locks its own file
`.slices/2-of-8.lock`. In a bucket, a slice holds a lease in the folder `.slices/2-of-8`. A whole
writer takes over slices whose leases have expired, and slices take over the expired lease of a
whole writer: a process that was suspended meanwhile finds that its lease is lost.

Each process first acquires its own lock and then looks for others. Of two that start at the same
moment, at least one is therefore refused.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stepmark.errors import ConfigError
from storage.dataset.lease import (
    HeldLease,
    Owner,
    check_unlocked,
    ensure_free,
    is_locked,
    local_lock,
)

__all__ = ["FOLDER", "Slice", "acquire_slice_lease", "local_slice_lock", "slice_owner", "take_over"]

FOLDER = ".slices"
# More processes than this need other means than a shared folder.
MAX_SLICES = 100_000
_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
_NAME = re.compile(r"(\d+)-of-(\d+)(\.lock)?", re.ASCII)


@dataclass(frozen=True)
class Slice:
    """Every `count`-th shard of a dataset, from the shard `index` on."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the slice that a text such as "2/8" names.

        >>> 10 in Slice.parse("2/8")
        True

        Raises:
            ConfigError: It names none.
        """
        match = _TEXT.fullmatch(text)
        if match is None or not int(match[1]) < int(match[2]) <= MAX_SLICES:
            raise ConfigError(
                f"{text[:20]!a} is no slice of the shards: write INDEX/COUNT, from 0/8 to 7/8"
            )
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, shard: int) -> bool:
        return shard % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """The name of its lock."""
        return f"{self.index}-of-{self.count}"


@contextmanager
def local_slice_lock(root: Path, part: Slice, shared: int) -> Iterator[tuple[int, ...]]:
    """Hold the lock of a slice of a local folder, and yield the descriptors of the locked files.

    Args:
        root: The folder, with an empty or filled folder `FOLDER`.
        part: The slice.
        shared: The lock file of the folder, open for reading and writing.

    Raises:
        DatasetError: Another process holds the lock, or one that excludes it.
    """
    location = f"{root} (shards {part})"
    with local_lock(shared, str(root), is_shared=True):
        folder = root / FOLDER
        own = os.open(folder / f"{part.name}.lock", os.O_RDWR | os.O_CREAT)
        with local_lock(own, location):
            for path in sorted(folder.iterdir()):
                if _is_other_division(path.name, part):
                    check_unlocked(path, str(root))
            yield (shared, own)


def slice_owner(root: Path) -> Owner | None:
    """Return the owner of a slice whose lock is held; None if no lock names one."""
    for path in sorted((root / FOLDER).glob("*.lock")):
        # The lock file of a killed slice still names its owner.
        owner = Owner.parse(path.read_bytes()) if is_locked(path) else None
        if owner is not None:
            return owner
    return None


def acquire_slice_lease(fs: Any, root: str, part: Slice) -> HeldLease:
    """Acquire the lease on a slice of a bucket.

    Raises:
        DatasetError: Another process holds it, or one that excludes it.
        OSError: The file system failed.
    """
    lease = HeldLease.acquire(fs, f"{root}/{FOLDER}/{part.name}")
    try:
        ensure_free(fs, root)
        for name in _slices(fs, root):
            if _is_other_division(name, part):
                ensure_free(fs, f"{root}/{FOLDER}/{name}")
    except BaseException:
        lease.release()
        raise
    return lease


def take_over(fs: Any, root: str) -> None:
    """Take over the expired leases of all slices, for a process that writes the whole dataset.

    Raises:
        DatasetError: A process holds the lease of a slice.
        OSError: The file system failed.
    """
    for name in _slices(fs, root):
        ensure_free(fs, f"{root}/{FOLDER}/{name}")


def _slices(fs: Any, root: str) -> list[str]:
    fs.invalidate_cache()
    try:
        paths = fs.ls(f"{root}/{FOLDER}", detail=False)
    except FileNotFoundError:
        return []
    names = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
    return [name for name in names if _NAME.fullmatch(name)]


def _is_other_division(name: str, part: Slice) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and int(match[2]) != part.count
