"""Restrict a process to computation: every system call that is not listed fails (Linux seccomp).

Not listed, and therefore refused: sockets of any kind, new processes and programs, signals to other
processes, their memory, resource limits, owners, modes and times of files, name spaces, keys, and
io_uring. Threads and what they need are allowed. A refused call fails with EPERM, as it does
without a permission, so a program sees an ordinary `PermissionError`.

The filter is written in the kernel's own instructions (linux/filter.h, linux/seccomp.h), because
the Python bindings of libseccomp need a system library that no wheel includes. It supports x86-64
and ARM 64; other machines raise `SandboxUnavailableError`.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

__all__ = ["SandboxUnavailableError", "restrict_system_calls"]

X86_64 = "x86_64"
ARM64 = "aarch64"
# The kernel's names of the architectures (linux/audit.h). A call through another interface of the
# same machine, such as a 32-bit one, is refused.
AUDIT_ARCHITECTURES = {X86_64: 0xC000003E, ARM64: 0xC00000B7}
# Calls that are allowed with any arguments: their numbers on x86-64 and ARM 64, None where the
# architecture does not have the call.
ALLOWED_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "close": (3, 57),
    "close_range": (436, 436),
    "lseek": (8, 62),
    "ftruncate": (77, 46),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "open": (2, None),
    "openat": (257, 56),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "stat": (4, None),
    "lstat": (6, None),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "getdents64": (217, 61),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "arch_prctl": (158, None),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
FCNTL = (72, 25)
IOCTL = (16, 29)
PRLIMIT = (302, 261)
# CLONE_THREAD. Without this flag, `clone` starts a process.
CLONE_THREAD = 0x10000
# Copies and flags of descriptors. F_SETOWN is left out: with it the kernel would send signals to
# another process.
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)
# TCGETS (is it a terminal?), FIONCLEX and FIOCLEX (close on exec). Commands that change a file are
# left out, because its owner may use them.
IOCTL_COMMANDS = (0x5401, 0x5450, 0x5451)

# Operation codes of the filter's instructions.
LOAD = 0x20
EQUAL = 0x15
ANY_BIT = 0x45
RETURN = 0x06
# Offsets in `struct seccomp_data`. An argument takes eight bytes, the low half first.
NUMBER = 0
ARCHITECTURE = 4
ARGUMENTS = 16
ARGUMENT_BYTES = 8
# Return values. The low 16 bits of the last two are the error numbers EPERM and ENOSYS.
ALLOW = 0x7FFF0000
REFUSE = 0x00050001
NO_SUCH_CALL = 0x00050026
# linux/prctl.h
PR_SET_SECCOMP = 22
MODE_FILTER = 2

Instruction = tuple[int, int, int, int]
"""An operation, the instructions to skip if it is true, those to skip if not, and an operand."""


class SandboxUnavailableError(Exception):
    """This machine does not offer a mechanism that the sandbox needs."""


class _FilterProgram(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def restrict_system_calls() -> None:
    """Install the filter on the current process. It cannot be removed again.

    The process must have one thread and must have given up gaining privileges.

    Raises:
        SandboxUnavailableError: The architecture is not supported, or the kernel rejects the
            filter.
    """
    machine = os.uname().machine
    if machine not in AUDIT_ARCHITECTURES:
        raise SandboxUnavailableError(f"the system calls of {machine} are not supported")
    column = (X86_64, ARM64).index(machine)
    instructions = _instructions(AUDIT_ARCHITECTURES[machine], column)
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _FilterProgram(len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise SandboxUnavailableError(f"seccomp rejects the filter (error {ctypes.get_errno()})")


def _instructions(architecture: int, column: int) -> Sequence[Instruction]:
    """Return the filter; `column` selects the call numbers of the architecture."""
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER),
    ]
    # A filter cannot read the flags of clone3, which are in memory. When the call does not exist,
    # glibc falls back to clone.
    code += _if_call(CLONE3[column], [(RETURN, 0, 0, NO_SUCH_CALL)])
    code += _if_call(CLONE[column], _allow_threads())
    code += _if_call(FCNTL[column], _allow_commands(FCNTL_COMMANDS))
    code += _if_call(IOCTL[column], _allow_commands(IOCTL_COMMANDS))
    code += _if_call(PRLIMIT[column], _allow_limit_queries())
    for numbers in ALLOWED_CALLS.values():
        number = numbers[column]
        if number is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, REFUSE))
    return code


def _if_call(number: int, body: Sequence[Instruction]) -> Sequence[Instruction]:
    """Return instructions that apply `body`, which ends in a return, to one system call."""
    return [(EQUAL, 0, len(body), number), *body]


def _load_argument(index: int) -> Instruction:
    """Return the instruction that loads the low half of an argument."""
    return (LOAD, 0, 0, ARGUMENTS + ARGUMENT_BYTES * index)


def _allow_threads() -> Sequence[Instruction]:
    """Allow a `clone` call whose flags, the first argument, start a thread."""
    return [
        _load_argument(0),
        (ANY_BIT, 0, 1, CLONE_THREAD),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]


def _allow_commands(commands: Sequence[int]) -> Sequence[Instruction]:
    """Allow a call whose second argument is one of the commands.

    The kernel reads only the low half of that argument.
    """
    code = [_load_argument(1)]
    for command in commands:
        code += [(EQUAL, 0, 1, command), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, REFUSE))
    return code


def _allow_limit_queries() -> Sequence[Instruction]:
    """Allow `prlimit64` calls that query the limits of the calling process.

    A superuser could otherwise raise its own limits, and lower those of any process.
    """
    code = list[Instruction]()
    # Both halves of the first argument (the process) and of the third (the new limit) are zero.
    for offset in (0, 4, 16, 20):
        code += [
            (LOAD, 0, 0, ARGUMENTS + offset),
            (EQUAL, 1, 0, 0),
            (RETURN, 0, 0, REFUSE),
        ]
    code.append((RETURN, 0, 0, ALLOW))
    return code
