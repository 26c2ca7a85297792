"""A process that can read some folders, write one, and open no other file: Landlock, a lock that needs no privileges (Linux >= 5.13).

It binds the superuser too. It does not cover what needs no open file (modes, owners, times, `truncate` on old kernels): `seccomp` does.
What is not covered: whether a file exists, and how long it is, can still be asked.
"""

import ctypes
import os
from collections.abc import Iterable

from verifiers.code_sandbox.seccomp import LockError

__all__ = ["lock"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls, by the same numbers on every machine."""
VERSION_QUERY, PATH_BENEATH = 1, 1
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many access rights each version of the interface knows; all of them are taken away. From version 5 on it is 16."""
RIGHTS_NOW = 16
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = (
    1 << 1,
    1 << 2,
    1 << 3,
    1 << 5,
    1 << 8,
    1 << 14,
)
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
OF_FILES = READ_FILE | WRITE_FILE | TRUNCATE
PR_SET_NO_NEW_PRIVS = 38


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def lock(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Leave this thread, and all that it starts, these folders and files (those that exist); `LockError` where the kernel has no Landlock.

    The process can gain no privileges from here on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_QUERY)
    if version < 1:
        raise LockError("the kernel has no Landlock, or does not offer it here")
    handled = (1 << RIGHTS.get(version, RIGHTS_NOW)) - 1
    ruleset = libc.syscall(
        CREATE_RULESET, ctypes.byref(ctypes.c_uint64(handled)), ctypes.c_size_t(8), 0
    )
    _check(ruleset)
    for rights, paths in ((READ, readable), (WRITE, writable)):
        for path in filter(os.path.exists, paths):
            _allow(libc, ruleset, path, rights & handled)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):  # noqa: PTH112 - in the sandbox, the less is loaded the better
        rights &= OF_FILES
    _check(
        libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(_Beneath(rights, beneath)), 0)
    )
    os.close(beneath)


def _check(result: int) -> None:
    if result < 0:
        raise LockError(f"Landlock refused its rules (error {ctypes.get_errno()})")
