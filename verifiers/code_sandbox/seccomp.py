"""A process that can compute, and do nothing else: all system calls but these fail, for good (seccomp filter, Linux).

Left out, and so refused: sockets of any kind, new processes and programs, signals to anybody, other processes' memory, limits, owners,
modes and times of files, name spaces, keys, io_uring. Threads are allowed, and what a thread needs. A refused call fails with EPERM, as
it would for want of a permission, so that a program sees an ordinary `PermissionError`.

The filter is written here, in the kernel's own instructions (linux/filter.h, linux/seccomp.h): libseccomp's bindings want a library of
the system that no wheel brings. Only x86-64 and ARM 64 are known; on other machines there is no lock, and `LockError` says so.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

__all__ = ["LockError", "lock"]

X86_64, ARM64 = "x86_64", "aarch64"
ARCHITECTURES = {X86_64: 0xC000003E, ARM64: 0xC00000B7}
"""linux/audit.h: what the kernel calls them; a call made in another machine's way (32 bits) is refused."""
CALLS = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62), "ftruncate": (77, 46), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "open": (2, None), "openat": (257, 56), "unlink": (87, None),
    "unlinkat": (263, 35), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61), "readlink": (89, None),
    "readlinkat": (267, 78), "getcwd": (79, 17),
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "madvise": (28, 233), "brk": (12, 214),
    "futex": (202, 98), "rseq": (334, 293), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "arch_prctl": (158, None),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165), "sysinfo": (99, 179),
    "uname": (63, 160), "getrandom": (318, 278), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72),
}  # fmt: skip
"""Allowed whatever their arguments, with their numbers on x86-64 and ARM 64."""
CLONE, CLONE3, FCNTL, IOCTL, PRLIMIT = (56, 220), (435, 435), (72, 25), (16, 29), (302, 261)
A_THREAD = 0x10000
"""CLONE_THREAD: without it, a new process."""
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)
"""Copies and flags of descriptors; not F_SETOWN, which has the kernel send signals to others."""
IOCTL_COMMANDS = (0x5401, 0x5450, 0x5451)
"""Whether it is a terminal, and what `exec` closes; not what a file's owner may do to it."""

LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`; an argument has eight bytes, the low half first."""
ALLOW, REFUSE, NO_SUCH_CALL = 0x7FFF0000, 0x00050001, 0x00050026
PR_SET_SECCOMP, MODE_FILTER = 22, 2
Instruction = tuple[int, int, int, int]


class LockError(Exception):
    """There is no such lock on this machine."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def lock() -> None:
    """Put the filter on this process, which has one thread and has given up new privileges; nothing takes it off again."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise LockError(f"no list of system calls for {machine}")
    instructions = _instructions(ARCHITECTURES[machine], (X86_64, ARM64).index(machine))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise LockError(f"seccomp refused its filter (error {ctypes.get_errno()})")


def _instructions(architecture: int, machine: int) -> Sequence[Instruction]:
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER),
        *_when(
            CLONE3[machine], [(RETURN, 0, 0, NO_SUCH_CALL)]
        ),  # its flags are out of sight; glibc then takes the older call
        *_when(
            CLONE[machine],
            [*_low(0), (ANY_BIT, 0, 1, A_THREAD), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)],
        ),
        *_when(FCNTL[machine], _one_of(FCNTL_COMMANDS)),
        *_when(IOCTL[machine], _one_of(IOCTL_COMMANDS)),
        *_when(PRLIMIT[machine], _only_asks()),
    ]
    for numbers in CALLS.values():
        if (number := numbers[machine]) is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    return [*code, (RETURN, 0, 0, REFUSE)]


def _when(number: int, then: Sequence[Instruction]) -> Sequence[Instruction]:
    """What is done about one call; it ends in a return."""
    return [(EQUAL, 0, len(then), number), *then]


def _low(argument: int) -> Sequence[Instruction]:
    return [(LOAD, 0, 0, ARGUMENTS + 8 * argument)]


def _one_of(commands: Sequence[int]) -> Sequence[Instruction]:
    """Whether the second argument, of which the kernel reads the low half, is among them."""
    allowed = [
        instruction
        for command in commands
        for instruction in ((EQUAL, 0, 1, command), (RETURN, 0, 0, ALLOW))
    ]
    return [*_low(1), *allowed, (RETURN, 0, 0, REFUSE)]


def _only_asks() -> Sequence[Instruction]:
    """`prlimit64` about this process, with no new limit: a superuser could raise its own, and lower anybody's."""
    checks = [
        check
        for word in (0, 4, 16, 20)
        for check in ((LOAD, 0, 0, ARGUMENTS + word), (EQUAL, 1, 0, 0), (RETURN, 0, 0, REFUSE))
    ]
    return [*checks, (RETURN, 0, 0, ALLOW)]
