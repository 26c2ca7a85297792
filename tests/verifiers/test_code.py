"""`code`: verdicts on programs and steps, and programs that try to cheat."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.hostile import EXECUTION_MARKER, texts
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim, StepClaim
from verifiers.code import MAX_CHARS, Code
from verifiers.code_sandbox import reference_tests
from verifiers.code_sandbox.output_comparison import compare_output
from verifiers.isolation.pool import VerifierPool

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN

GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
TESTS = "assert gcd(12, 18) == 6\nassert gcd(7, 3) == 1\n"
SORT = (
    "assert_sorted = [3, 1, 2]\n"
    "alias = assert_sorted\n"
    "f(assert_sorted)\n"
    "assert alias == [1, 2, 3]\n"
    "assert f(alias) is None"
)
MBPP = json.dumps(
    {
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(f(2), 4.0)", "assert f(3) == 9"],
    }
)
HUMAN_EVAL = json.dumps(
    {"test": "def check(candidate):\n    assert candidate(2) == 4\n", "entry_point": "f"}
)
APPS = json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]})
CALLS = json.dumps({"inputs": [[[1, 2]], [[3, 4]]], "outputs": [[2, 1], [[4, 3]]], "fn_name": "f"})
SUM = "print(sum(map(int, input().split())))"

PROGRAMS: Mapping[str, tuple[str, str, Verdict, str]] = {
    "right": (GCD, TESTS, C, "tests passed: 2"),
    "wrong": (GCD.replace("return a", "return a + (a == 1)"), TESTS, I, "a test fails in line 2"),
    "fenced tests": (GCD, f"Tests:\n```python\n{TESTS}```\n", C, "tests passed: 2"),
    "functions called test": (
        GCD,
        "def test_it():\n    assert gcd(12, 18) == 6\n    assert gcd(2, 3) == 6\n",
        I,
        "a test fails in line 3",
    ),
    "an expected error": (
        "def f(x):\n    if x < 0: raise ValueError('no')\n    return 1",
        "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass\nassert f(1) == 1",
        C,
        "tests passed: 2",
    ),
    "IndexError": (
        "def gcd(a, b): return [][a]",
        TESTS,
        I,
        "the program raises IndexError: list index out of range",
    ),
    "subclass of KeyError": (
        "class E(KeyError): pass\ndef gcd(a, b): raise E",
        TESTS,
        I,
        "the program raises KeyError: ",
    ),
    "missing function": (
        "def lcm(a, b): return 1",
        TESTS,
        U,
        "the tests cannot be run in line 1: NameError: name 'gcd' is not defined",
    ),
    "undefined name": (
        "def gcd(a, b): return missing",
        TESTS,
        U,
        "the program raises NameError: name 'missing' is not defined",
    ),
    "SyntaxError": ("def gcd(a, b:", TESTS, U, "the program raises SyntaxError"),
    "NUL character": (
        f"{GCD}\0",
        TESTS,
        U,
        "the program raises SyntaxError: source code string cannot contain null bytes",
    ),
    "lone surrogate": (f"{GCD}# \ud800", TESTS, U, "the program raises SyntaxError"),
    "missing package": (
        "import numpy",
        TESTS,
        U,
        "the program raises ModuleNotFoundError: No module named 'numpy'",
    ),
    "RecursionError": (
        "def gcd(a, b): return gcd(a, b)",
        TESTS,
        U,
        "the program raises RecursionError",
    ),
    "own class": (
        "class A: pass\ndef gcd(a, b): return A()",
        TESTS,
        U,
        "the program returns a A, which is not plain data",
    ),
    "generator": (
        "def gcd(a, b): yield 6",
        TESTS,
        U,
        "the program returns a generator, which is not plain data",
    ),
    "refused and wrong": (
        "def gcd(a, b):\n    try: open('/etc/hosts')\n    except OSError: return 0",
        TESTS,
        U,
        "the sandbox refused /etc/hosts",
    ),
    "refused and right": (
        f"try: open('/etc/hosts')\nexcept OSError: pass\n{GCD}",
        TESTS,
        C,
        "tests passed: 2",
    ),
    "sorts in place": ("def f(x): x.sort()", SORT, C, "tests passed: 2"),
    "does not sort in place": ("def f(x): sorted(x)", SORT, I, "a test fails in line 4"),
    "returns the same list": (
        "def f(x): return x",
        "x = [1, {2: (3, b'4', 5.5, 1j)}]\nassert f(x) is x and f(x)[1][2][1] == b'4'",
        C,
        "tests passed: 1",
    ),
    "constant": (
        "import math\nN = [1]\ndef f(): return N",
        "assert N == f() and math.pi > 3",
        C,
        "tests passed: 1",
    ),
    "method of Solution": (
        "class Solution:\n    def f(self, x): return x * x",
        "assert f(3) == 9",
        C,
        "tests passed: 1",
    ),
    "guarded main": (
        f"{GCD}\nif __name__ == '__main__':\n    input()",
        TESTS,
        C,
        "tests passed: 2",
    ),
    "MBPP": ("def f(x): return x * x", MBPP, C, "tests passed: 2"),
    "HumanEval": ("def f(x): return x * x", HUMAN_EVAL, C, "tests passed: 1"),
    "HumanEval, wrong": ("def f(x): return x + x + 1", HUMAN_EVAL, I, "a test fails in line 2"),
    "APPS": (SUM, APPS, C, "tests passed: 2"),
    "APPS, wrong": (SUM.replace("sum", "max"), APPS, I, "input 1: the output differs"),
    "APPS, IndexError": (
        "print([][1])",
        APPS,
        I,
        "input 1: raises IndexError: list index out of range",
    ),
    "APPS, exit": (f"import sys\n{SUM}\nsys.exit(0)", APPS, C, "tests passed: 2"),
    "APPS, exit with an error": (
        f"import sys\n{SUM}\nsys.exit('no')",
        APPS,
        U,
        "input 1: the program exits with an error",
    ),
    "APPS, functions": ("def f(x): return x[::-1]", CALLS, C, "tests passed: 2"),
    "tests do not parse": (GCD, "assert gcd(", U, "the tests do not parse: SyntaxError"),
    "tests do not call the program": (GCD, "assert 1 == 1", U, "the tests never call the program"),
    "broken tests": (
        GCD,
        "assert gcd(12, 18).missing",
        U,
        "the tests cannot be run in line 1: AttributeError",
    ),
    "test passes a function": (
        "def f(g): return g(1)",
        "assert f(abs) == 1",
        U,
        "a test passes a builtin_function_or_method",
    ),
}

STRICT = "assert all(map(lambda case: gcd(*case[0]) == case[1], [((12, 18), 6), ((7, 3), 1)]))"
CHEATS: Mapping[str, str] = {
    "exits when called": "import sys\ndef gcd(a, b): sys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits without cleanup": "import os\ndef gcd(a, b): os._exit(0)",
    "returns a value equal to everything": """
class Equal(int):
    def __eq__(self, other): return True
def gcd(a, b): return Equal(5)
""",
    "replaces built-in names": (
        "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.len = None\n"
        "def gcd(a, b): return 5"
    ),
    "shadows built-in names": (
        "def all(x): return True\ndef map(f, x): return []\ndef gcd(a, b): return 5"
    ),
    "prints a verdict": 'print(\'["correct", "2"]\')\ndef gcd(a, b): return 5',
    "writes a verdict to all files": """
import os
def gcd(a, b):
    for n in range(64):
        try: os.write(n, b'["correct", "2"]\\n')
        except OSError: pass
    return 5
""",
    "sends replies without requests": """
import os
for n in range(3, 64):
    try: os.write(n, b'["ended"]\\n["callable"]\\n["known",0]\\n{[}\\n')
    except OSError: pass
def gcd(a, b): return 5
""",
    "searches for the tests": """
import gc, sys
def gcd(a, b):
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(str(frame.f_locals))
        frame = frame.f_back
    seen += [str(found) for found in gc.get_objects() if isinstance(found, (dict, list, tuple))]
    return 6 if any("assert " + "all(map" in text for text in seen) else 5
""",
    "raises StopIteration": "def gcd(a, b): raise StopIteration",
    "raises when loaded": "raise AssertionError",
}


def verify(claim: Claim) -> Finding:
    return Code().verify(claim)


@pytest.mark.parametrize("case", PROGRAMS)
def test_program_verdict(case: str) -> None:
    program, reference, verdict, reason = PROGRAMS[case]
    finding = verify(AnswerClaim(answer=program, reference=reference))
    assert finding.verdict is verdict, finding
    assert finding.reason.startswith(reason), finding


def test_correct_program_passes_strict_tests() -> None:
    assert verify(AnswerClaim(answer=GCD, reference=STRICT)).verdict is C


@pytest.mark.parametrize("case", CHEATS)
def test_cheating_program_never_passes(case: str) -> None:
    assert verify(AnswerClaim(answer=CHEATS[case], reference=STRICT)).verdict is not C


@pytest.mark.parametrize(
    ("reference", "verdict", "reason"),
    [
        (TESTS, C, "2"),
        (APPS, C, "2"),
        ("assert gcd(", U, "the tests do not parse: SyntaxError"),
        ("assertions are below", U, "the tests do not parse: SyntaxError"),
        ("# assert", U, "no tests: there is no assertion"),
        ("18", U, "the reference: no tests: there is no assertion"),
        (
            '{"inputs": [], "outputs": []}',
            U,
            "the reference: inputs and outputs are not non-empty lists of equal length",
        ),
        ('{"test_list": [1]}', U, "the reference: tests that are not texts"),
        (
            '{"test": "assert f(1)", "entry_point": "f()"}',
            U,
            "the reference: the name of the function is not an identifier",
        ),
        (
            '{"answer": 1}',
            U,
            "the reference: an object without test, test_list, or inputs and outputs",
        ),
        ("{" * 5000, U, "the reference: the object is not valid JSON"),
        ("assert " + "(" * 50_000, U, "the tests do not parse"),
        ("assert x\n" * MAX_CHARS, U, "too long"),
    ],
)
def test_reference_verdict(reference: str, verdict: Verdict, reason: str) -> None:
    finding = verify(ReferenceClaim(reference=reference))
    assert finding.verdict is verdict, finding
    assert finding.reason.startswith(reason), finding


def _block(code: str) -> str:
    return f"So:\n```python\n{code}\n```\n"


DOUBLE = "def double(x):\n    return 2 * x"
STEPS: Mapping[str, tuple[tuple[str, ...], str, Verdict, str]] = {
    "holds": (
        (),
        _block(
            f"{DOUBLE}\nassert double(2) == 4\nfor n in range(3):\n    assert double(n) == n + n"
        ),
        C,
        "assertions that hold: 2",
    ),
    "fails": (
        (),
        _block(f"{DOUBLE}\nassert double(2) == 5"),
        I,
        "does not hold: double(2) == 5",
    ),
    "uses an earlier block": (
        (_block(DOUBLE), "text\n"),
        _block("assert double(2) == 4"),
        C,
        "assertions that hold: 1",
    ),
    "misses an earlier block": (
        (),
        _block("assert double(2) == 4"),
        U,
        "the block raises NameError",
    ),
    "line by line": (
        ("```python\n", f"{DOUBLE}\n", "assert double(1) == 3\n"),
        "```\n",
        I,
        "does not hold: double(1) == 3",
    ),
    "block is not closed": (
        ("```python\n",),
        "assert 1 + 1 == 3\n",
        U,
        "no block of Python ends in the step",
    ),
    "earlier block fails": (
        (_block("assert 1 + 1 == 3"),),
        _block("assert 1 + 1 == 2"),
        U,
        "an earlier block raises AssertionError",
    ),
    "another language": (
        (),
        "```ruby\nassert 1 == 1\n```\n",
        U,
        "no block of Python ends in the step",
    ),
    "no assertion": ((), _block(DOUBLE), U, "the block asserts nothing"),
    "only constants": (
        (),
        _block("assert True\nassert (1 == 2, 'a tuple is true')"),
        U,
        "the block asserts nothing",
    ),
    "failure is caught": (
        (),
        _block("try:\n    assert 1 + 1 == 3\nexcept AssertionError:\n    pass"),
        U,
        "an assertion failed, and the block went on: 1 + 1 == 3",
    ),
    "not reached": (
        (),
        _block("if 1 + 1 == 3:\n    assert 1 + 1 == 3"),
        U,
        "1 of 1 assertions were not reached",
    ),
    "test function": (
        (),
        _block("def test_it():\n    assert 1 + 1 == 3\ntest_it()"),
        I,
        "does not hold: 1 + 1 == 3",
    ),
    "guard in a function": (
        (),
        _block("def f(x):\n    assert x > 0\n    return x\nf(-1)\nassert f(1) == 1"),
        U,
        "the block raises AssertionError",
    ),
    "exits": (
        (),
        _block("import collections\nassert 1 + 1 == 2\nraise SystemExit"),
        U,
        "the block raises SystemExit",
    ),
    "randomness": (
        (),
        _block("import random\nassert random.random() < 2"),
        U,
        "the block depends on more than its text: random",
    ),
    "process state": (
        (),
        _block("assert hash('a') == hash('a')"),
        U,
        "the block depends on more than its text: hash",
    ),
    "files": (
        (),
        _block("assert open('/etc/passwd')"),
        U,
        "the block depends on more than its text: open",
    ),
    "SyntaxError": ((), _block("assert 1 +"), U, "a block does not parse: SyntaxError"),
    "session": (
        (),
        _block(">>> x = 3\n>>> x + 1\n4\n>>> [x, 's']\n[3,  's']"),
        C,
        "assertions that hold: 2",
    ),
    "session after an empty line": ((), _block("\n>>> 2 + 2\n4"), C, "assertions that hold: 1"),
    "wrong session": ((), _block(">>> 3 * 3\n6"), I, "does not hold: 3 * 3"),
    "session of floats": (
        (),
        _block(">>> 1 / 3\n0.33"),
        U,
        "the output differs from the expected text: 1 / 3",
    ),
    "session of texts": (
        (),
        _block(">>> print('Hello')\nhello"),
        U,
        "the output differs from the expected text: print('Hello')",
    ),
    "docstring example": (
        (),
        _block('def f(x):\n    """Doubles.\n\n    >>> f(2)\n    5\n    """\n    return 2 * x'),
        I,
        "does not hold: f(2)",
    ),
    "session with a set": ((), _block(">>> {2, 1}\n{2, 1}"), C, "assertions that hold: 1"),
}


@pytest.mark.parametrize("case", STEPS)
def test_step_verdict(case: str) -> None:
    previous, step, verdict, reason = STEPS[case]
    finding = verify(StepClaim(question="", previous=previous, step=step))
    assert finding == Finding(verdict=verdict, reason=reason)


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        ("3\n", "3", C),
        ("1 2 \n\n3", "1  2\n3\n", C),
        ("3", "4", I),
        ("3 4", "3", I),
        ("10000000", "10000001", I),
        ("0.33333", "0.3333", U),
        ("1e3", "1000.0", U),
        ("1.5", "1.6", I),
        ("Yes", "YES", U),
        ("nan", "1", I),
        ("", "1", I),
    ],
)
def test_compare_output(output: str, expected: str, verdict: Verdict) -> None:
    assert compare_output(output, expected) is verdict


@settings(max_examples=100, database=None)
@given(
    text=texts,
    shape=st.sampled_from(
        [
            "{}",
            "```python\nassert {}\n```",
            '{{"test_list": ["assert {}"]}}',
            '{{"inputs": [{}], "outputs": [1]}}',
        ]
    ),
)
def test_hostile_references_are_parsed_or_rejected(text: str, shape: str) -> None:
    with contextlib.suppress(reference_tests.UnusableTestsError):
        assert reference_tests.parse_tests(shape.format(text))


@settings(max_examples=15, database=None)
@given(texts)
def test_hostile_blocks_do_no_harm(text: str) -> None:
    step = _block(f"{text}\nassert {text}")
    finding = verify(StepClaim(question="", previous=(_block(text),), step=step))
    assert finding.verdict in set(Verdict)
    assert finding.reason
    assert not Path(EXECUTION_MARKER).exists()


async def test_verifier_deadline_exceeds_pool_deadline() -> None:
    slow = "import time\ndef gcd(a, b):\n    time.sleep(1.5)\n    return 6"
    claim = AnswerClaim(answer=slow, reference="assert gcd(12, 18) == 6")
    async with VerifierPool(workers=1, deadline=1.0) as pool:
        finding = await pool.verify("code", claim)
    assert finding == Finding(verdict=C, reason="tests passed: 1")
