"""The sandbox of `code`, attacked: what works without it is refused in it, and nothing outlives it."""

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
WAIT_SECONDS = 60


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """A file and a folder that are none of a program's business, and a port where somebody listens."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(secret), str(tmp_path), server.getsockname()[1]


def judged(program: str, reference: str) -> Finding:
    return Code().verify(AnswerClaim(answer=program, reference=reference))


def test_nothing_is_allowed_that_works_elsewhere(target: tuple[str, str, int]) -> None:
    found = judged(ATTACKS, f"assert allowed(*{target!r}) == []")
    assert found.reason == "tests passed: 1", found
    assert sorted(os.listdir(target[1])) == ["secret"]  # noqa: PTH208


def test_the_attacks_work_without_a_sandbox(target: tuple[str, str, int]) -> None:
    script = f"{ATTACKS}\nprint([name for name in names() if name not in allowed(*{target!r})])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    assert ast.literal_eval(done.stdout) == [], done.stderr


def test_a_program_has_an_empty_environment_and_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    program = (
        "import os, sys, pathlib\n"
        "def seen(): return [dict(os.environ), sys.argv, os.listdir('.')]\n"
        "def kept():\n    open('x', 'w').write('6'); return open('x').read(), pathlib.Path('x').stat().st_size\n"
    )
    tests = (
        "environment, arguments, files = seen()\n"
        "assert 's3cret' not in str(environment) and arguments == [''] and files == []\n"
        "assert kept() == ('6', 1)"
    )
    assert judged(program, tests).verdict is Verdict.CORRECT


def test_the_folder_is_gone_afterwards() -> None:
    with sandbox.Sandbox() as box:
        started = box.start("run", {"code": "open('x', 'w').write('6')"}, writes=True, text="")
        assert box.wait(started) == ""
        assert Path(box.folder, "x").read_text() == "6"
    assert not Path(box.folder).exists()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(): return len(bytearray(2**33))", "the program raises MemoryError"),
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\ndef f():\n    while True: pass",
            "killed",
        ),
        ("import time\ndef f(): time.sleep(1e6)", "timeout"),
        (
            "import os, time\nfor n in range(10**6): open(str(n), 'wb').write(bytes(2**20))",
            "it writes too much",
        ),
        (
            "def f(): open('x', 'wb').write(bytes(2**25))",
            "the program raises OSError: [Errno 27] File too large",
        ),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "the code crashed the process"),
        (
            "def f():\n    import threading, time\n    threading.Thread(target=time.sleep, args=(1e6,)).start()\n    return 1",
            "tests passed: 1",
        ),
        ("def f(): return [0] * 10**7", "the program answers too much data"),
        (
            "def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
            "the program answers too deeply nested",
        ),
    ],
)
def test_what_is_out_of_bounds_is_unknown(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 1.0 if reason == "timeout" else WAIT_SECONDS)
    monkeypatch.setattr(sandbox, "CPU_SECONDS", 1)
    monkeypatch.setattr(
        sandbox, "MAX_FOLDER_BYTES", 2**22 if reason == "it writes too much" else 2**26
    )
    found = judged(program, "assert f() == 1")
    assert found.reason.startswith(reason), found
    assert found.verdict is (Verdict.CORRECT if "passed" in reason else Verdict.UNKNOWN)


def test_a_flood_of_output_is_bounded() -> None:
    found = judged("while True: print('x' * 10**6)", '{"inputs": [""], "outputs": ["x"]}')
    assert (found.verdict, found.reason) == (
        Verdict.UNKNOWN,
        "input 1: raises OSError: [Errno 27] File too large",
    )


def test_processes_die_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = (
        "from verifiers.code_sandbox.sandbox import Sandbox\n"
        "with Sandbox() as box:\n"
        "    started = box.start('run', {'code': 'import time\\nopen(\"up\", \"w\")\\ntime.sleep(1e6)'}, writes=True, text='')\n"
        "    import os, time\n"
        "    while not os.path.exists(box.folder + '/up'): time.sleep(0.01)\n"
        "    print(started.process.pid, flush=True)\n"
        "    time.sleep(1e6)\n"
    )
    here = {**os.environ, "TMPDIR": str(tmp_path)}  # what is left behind is left there
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=here, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _is_alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT_SECONDS
    while _is_alive(child):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.01)


def _is_alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


WITHOUT_LANDLOCK = """
import ctypes, struct
from verifiers.code_sandbox import landlock
code = [(0x20, 0, 0, 0), (0x15, 0, 1, landlock.CREATE_RULESET), (6, 0, 0, 0x00050026), (6, 0, 0, 0x7FFF0000)]
buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), ctypes.addressof(buffer))), 0, 0) == 0
"""
ASKS = """
from verifiers.code import Code
from verifiers.base import AnswerClaim, StepClaim
print(Code().verify(AnswerClaim(answer="def f(): return 1", reference="assert f() == 1")))
print(Code().verify(AnswerClaim(answer="print(1)", reference='{"inputs": [""], "outputs": ["1"]}')))
print(Code().verify(StepClaim(question="", previous=(), step="```python\\nassert f() == 1\\n```")))
"""


def test_without_its_locks_no_code_is_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK + ASKS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    said = done.stdout.splitlines()
    assert len(said) == 3, done.stderr
    for finding in said:
        assert "Verdict.UNKNOWN" in finding
        assert "no sandbox here: the kernel has no Landlock" in finding
