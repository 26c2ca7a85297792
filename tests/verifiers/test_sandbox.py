"""Attacks on the sandbox of `code`: they work without it and fail inside it."""

import ast
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepmark.records import Verdict
from tests.verifiers.attacks import ATTACKS
from verifiers.base import AnswerClaim, Finding
from verifiers.code import Code
from verifiers.code_sandbox import sandbox

ROOT = Path(__file__).parents[2]
# A generous bound for slow machines. Nothing is measured.
WAIT_SECONDS = 60


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """A file and a folder that the program must not access, and a port with a listening server."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    # Port 0 selects a free port.
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(secret), str(tmp_path), server.getsockname()[1]


def verify(program: str, reference: str) -> Finding:
    return Code().verify(AnswerClaim(answer=program, reference=reference))


def test_attacks_fail_in_sandbox(target: tuple[str, str, int]) -> None:
    finding = verify(ATTACKS, f"assert allowed(*{target!r}) == []")
    assert finding.reason == "tests passed: 1", finding
    # No attack created or deleted a file.
    assert sorted(os.listdir(target[1])) == ["secret"]  # noqa: PTH208


def test_attacks_work_without_sandbox(target: tuple[str, str, int]) -> None:
    script = f"{ATTACKS}\nprint([name for name in names() if name not in allowed(*{target!r})])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    assert ast.literal_eval(done.stdout) == [], done.stderr


def test_environment_and_folder_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    program = (
        "import os, sys, pathlib\n"
        "def seen(): return [dict(os.environ), sys.argv, os.listdir('.')]\n"
        "def kept():\n"
        "    open('x', 'w').write('6')\n"
        "    return open('x').read(), pathlib.Path('x').stat().st_size\n"
    )
    tests = (
        "environment, arguments, files = seen()\n"
        "assert 's3cret' not in str(environment) and arguments == [''] and files == []\n"
        "assert kept() == ('6', 1)"
    )
    assert verify(program, tests).verdict is Verdict.CORRECT


def test_folder_is_deleted_on_exit() -> None:
    job = {"code": "open('x', 'w').write('6')"}
    with sandbox.Sandbox() as context:
        process = context.start("run_script", job, writes=True, stdin_text="")
        assert context.wait(process) == ""
        assert Path(context.folder, "x").read_text() == "6"
    assert not Path(context.folder).exists()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        # 8 GiB; the sandbox allows 1 GiB.
        ("def f(): return len(bytearray(2**33))", "the program raises MemoryError"),
        (
            # A program that ignores the soft CPU limit is killed at the hard limit.
            "import signal\n"
            "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
            "def f():\n    while True: pass",
            "killed",
        ),
        # Sleeping uses no CPU time, so only the wall time ends it.
        ("import time\ndef f(): time.sleep(1e6)", "timeout"),
        (
            "import os, time\nfor n in range(10**6): open(str(n), 'wb').write(bytes(2**20))",
            "the code writes too much",
        ),
        (
            # Deleted files take up the disk as long as they are open.
            "import os, time\n"
            "files = [open(str(n), 'wb', buffering=0) for n in range(8)]\n"
            "for n, file in enumerate(files):\n"
            "    file.write(bytes(2**20))\n"
            "    os.unlink(str(n))\n"
            "time.sleep(1e6)",
            "the code writes too much",
        ),
        (
            # Or mapped.
            "import mmap, os, time\n"
            "maps = []\n"
            "for n in range(8):\n"
            "    with open(str(n), 'wb+') as file:\n"
            "        file.truncate(2**20)\n"
            "        maps.append(mmap.mmap(file.fileno(), 2**20))\n"
            "    os.unlink(str(n))\n"
            "time.sleep(1e6)",
            "the code writes too much",
        ),
        (
            "import time\nfor n in range(1100): open(str(n), 'wb').close()\ntime.sleep(1e6)",
            "the code writes too much",
        ),
        (
            # With the default size, their stacks would exceed the memory first.
            "import threading, time\n"
            "threading.stack_size(2**16)\n"
            "for _ in range(100): threading.Thread(target=time.sleep, args=(1e6,)).start()\n"
            "time.sleep(1e6)",
            "the code starts too many threads",
        ),
        (
            # 32 MiB; a file may have 16 MiB.
            "def f(): open('x', 'wb').write(bytes(2**25))",
            "the program raises OSError: [Errno 27] File too large",
        ),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "the code crashed the process"),
        (
            "import threading, time\n"
            "def f():\n"
            "    threading.Thread(target=time.sleep, args=(1e6,)).start()\n"
            "    return 1",
            "tests passed: 1",
        ),
        # More than 2**20 values.
        ("def f(): return [0] * 10**7", "the program returns too much data"),
        (
            "def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
            "the program returns data nested too deeply",
        ),
    ],
)
def test_exceeded_limits_are_unknown(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_seconds: float = WAIT_SECONDS
    max_folder_bytes = 2**26
    # Only the cases that reach these limits get small ones, so that no other case reaches them.
    if reason == "timeout":
        wall_seconds = 1.0
    if reason == "the code writes too much":
        max_folder_bytes = 2**22
    monkeypatch.setattr(sandbox, "WALL_SECONDS", wall_seconds)
    monkeypatch.setattr(sandbox, "CPU_SECONDS", 1)
    monkeypatch.setattr(sandbox, "MAX_FOLDER_BYTES", max_folder_bytes)
    finding = verify(program, "assert f() == 1")
    assert finding.reason.startswith(reason), finding
    # One case is within the limits: a thread that never ends does not delay the report.
    if "passed" in reason:
        assert finding.verdict is Verdict.CORRECT
    else:
        assert finding.verdict is Verdict.UNKNOWN


def test_output_is_limited() -> None:
    # Standard output is a file, so the limit of files holds for it.
    finding = verify("while True: print('x' * 10**6)", '{"inputs": [""], "outputs": ["x"]}')
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason == "input 1: raises OSError: [Errno 27] File too large"


SLEEPING_PARENT = """
import os, time
from verifiers.code_sandbox.sandbox import Sandbox
job = {"code": "import time\\nopen('up', 'w')\\ntime.sleep(1e6)"}
with Sandbox() as context:
    started = context.start("run_script", job, writes=True, stdin_text="")
    while not os.path.exists(context.folder + "/up"):
        time.sleep(0.01)
    print(started.process.pid, flush=True)
    time.sleep(1e6)
"""


def test_processes_die_with_parent(tmp_path: Path) -> None:
    # A killed parent leaves its folder behind; pytest deletes this one.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPING_PARENT],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        # The parent prints this only after the child has started its code.
        child = int(parent.stdout.readline())
        assert _is_alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT_SECONDS
    while _is_alive(child):
        assert time.monotonic() < deadline, "the process outlived its parent"
        time.sleep(0.01)


def _is_alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    try:
        # A zombie has ended; its parent has only not read its exit status yet.
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# A seccomp filter that makes the first call of Landlock fail as on a kernel without it.
WITHOUT_LANDLOCK = """
import ctypes, struct
from verifiers.code_sandbox import landlock
code = [
    (0x20, 0, 0, 0),
    (0x15, 0, 1, landlock.CREATE_RULESET),
    (6, 0, 0, 0x00050026),
    (6, 0, 0, 0x7FFF0000),
]
packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
buffer = ctypes.create_string_buffer(packed)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), ctypes.addressof(buffer))), 0, 0) == 0
"""
# One claim for each way to run code: functions, scripts and blocks.
PRINT_FINDINGS = """
from verifiers.code import Code
from verifiers.base import AnswerClaim, StepClaim
print(Code().verify(AnswerClaim(answer="def f(): return 1", reference="assert f() == 1")))
print(Code().verify(AnswerClaim(answer="print(1)", reference='{"inputs": [""], "outputs": ["1"]}')))
print(Code().verify(StepClaim(question="", previous=(), step="```python\\nassert f() == 1\\n```")))
"""


def test_no_code_runs_without_landlock() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK + PRINT_FINDINGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    findings = done.stdout.splitlines()
    assert len(findings) == 3, done.stderr
    for finding in findings:
        assert "Verdict.UNKNOWN" in finding
        assert "no sandbox here: the kernel has no Landlock" in finding
