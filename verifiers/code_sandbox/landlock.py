"""Restrict the files that a process can open, with Landlock (Linux >= 5.13).

Landlock needs no privileges and also restricts the superuser. It does not cover operations that
need no open file (modes, owners, times, `truncate` on old kernels); the filter of `seccomp` does.

What is not covered:

- A process can still find out whether a file exists, and how long it is.
"""

import ctypes
import os
from collections.abc import Iterable

from verifiers.code_sandbox.seccomp import SandboxUnavailableError

__all__ = ["restrict_files"]

# System call numbers; they are the same on every architecture.
CREATE_RULESET = 444
ADD_RULE = 445
RESTRICT_SELF = 446
# linux/landlock.h
VERSION_QUERY = 1
PATH_BENEATH = 1
# The number of access rights that each version of the interface defines, and that a ruleset takes
# away. From version 5 on there are 16.
RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
LATEST_RIGHTS = 16
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_FILE = 1 << 5
MAKE_REG = 1 << 8
TRUNCATE = 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
# The rights that a rule for a single file may grant; the kernel rejects the others.
FILE_RIGHTS = READ_FILE | WRITE_FILE | TRUNCATE
# linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


class _PathBeneath(ctypes.Structure):
    """The kernel's `struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Leave the current thread, and everything it starts, access to these paths only.

    Paths that do not exist are skipped. Afterwards the process cannot gain privileges.

    Raises:
        SandboxUnavailableError: The kernel does not offer Landlock, or rejects a rule.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_QUERY)
    if version < 1:
        raise SandboxUnavailableError("the kernel has no Landlock, or does not offer it here")
    # Every right is handled, that is, denied unless a rule grants it.
    handled = (1 << RIGHTS_OF_VERSION.get(version, LATEST_RIGHTS)) - 1
    attributes = ctypes.byref(ctypes.c_uint64(handled))
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(8), 0)
    _check(ruleset)
    for rights, paths in ((READ, readable), (WRITE, writable)):
        for path in filter(os.path.exists, paths):
            _allow(libc, ruleset, path, rights & handled)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):  # noqa: PTH112 - the sandbox loads as little as possible
        rights &= FILE_RIGHTS
    rule = ctypes.byref(_PathBeneath(rights, descriptor))
    _check(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0))
    os.close(descriptor)


def _check(result: int) -> None:
    if result < 0:
        raise SandboxUnavailableError(f"Landlock rejects a rule (error {ctypes.get_errno()})")
