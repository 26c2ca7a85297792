"""`code`: verdicts on programs and steps, and programs that try to cheat."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.hostile import EXECUTION_MARKER, texts
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim, StepClaim
from verifiers.code import MAX_CHARS, MAX_PARTS, Code
from verifiers.code_sandbox import reference_tests
from verifiers.code_sandbox.output_comparison import compare_output
from verifiers.isolation.pool import VerifierPool

CORRECT = Verdict.CORRECT
INCORRECT = Verdict.INCORRECT
UNKNOWN = Verdict.UNKNOWN


class ProgramCase(NamedTuple):
    """A program, the tests that it must pass, and the expected finding."""

    program: str
    tests: str
    verdict: Verdict
    reason: str
    """The beginning of the reason."""


class StepCase(NamedTuple):
    """A step with its previous steps, and the expected finding."""

    previous: tuple[str, ...]
    step: str
    verdict: Verdict
    reason: str


# A correct program. The tests below call it for numbers with and without a common divisor.
GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
TESTS = "assert gcd(12, 18) == 6\nassert gcd(7, 3) == 1\n"
# The arguments are changed in place, which must be visible through the other name too.
SORT = (
    "assert_sorted = [3, 1, 2]\n"
    "alias = assert_sorted\n"
    "f(assert_sorted)\n"
    "assert alias == [1, 2, 3]\n"
    "assert f(alias) is None"
)
# Tests in the layouts of MBPP, HumanEval and APPS.
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
# An expected output may be the value itself or a list that contains only it.
CALLS = json.dumps({"inputs": [[[1, 2]], [[3, 4]]], "outputs": [[2, 1], [[4, 3]]], "fn_name": "f"})
SUM = "print(sum(map(int, input().split())))"

PROGRAMS: Mapping[str, ProgramCase] = {
    "right": ProgramCase(
        program=GCD,
        tests=TESTS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    # Wrong only if the greatest common divisor is one, so that the first test passes.
    "wrong": ProgramCase(
        program=GCD.replace("return a", "return a + (a == 1)"),
        tests=TESTS,
        verdict=INCORRECT,
        reason="a test fails in line 2",
    ),
    "fenced tests": ProgramCase(
        program=GCD,
        tests=f"Tests:\n```python\n{TESTS}```\n",
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "functions called test": ProgramCase(
        program=GCD,
        tests="def test_it():\n    assert gcd(12, 18) == 6\n    assert gcd(2, 3) == 6\n",
        verdict=INCORRECT,
        reason="a test fails in line 3",
    ),
    "an expected error": ProgramCase(
        program="def f(x):\n    if x < 0: raise ValueError('no')\n    return 1",
        tests="try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass\nassert f(1) == 1",
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "IndexError": ProgramCase(
        program="def gcd(a, b): return [][a]",
        tests=TESTS,
        verdict=INCORRECT,
        reason="the program raises IndexError: list index out of range",
    ),
    # An own class is reported as its built-in base class.
    "subclass of KeyError": ProgramCase(
        program="class E(KeyError): pass\ndef gcd(a, b): raise E",
        tests=TESTS,
        verdict=INCORRECT,
        reason="the program raises KeyError: ",
    ),
    # The program has another function, so that the tests fail before they call it.
    "missing function": ProgramCase(
        program="def lcm(a, b): return 1",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the tests cannot be run in line 1: NameError: name 'gcd' is not defined",
    ),
    "undefined name": ProgramCase(
        program="def gcd(a, b): return missing",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises NameError: name 'missing' is not defined",
    ),
    "SyntaxError": ProgramCase(
        program="def gcd(a, b:",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises SyntaxError",
    ),
    "NUL character": ProgramCase(
        program=f"{GCD}\0",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises SyntaxError: source code string cannot contain null bytes",
    ),
    "lone surrogate": ProgramCase(
        program=f"{GCD}# \ud800",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises SyntaxError",
    ),
    # The sandbox has no packages, so a failure here is not the program's mistake.
    "missing package": ProgramCase(
        program="import numpy",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises ModuleNotFoundError: No module named 'numpy'",
    ),
    "RecursionError": ProgramCase(
        program="def gcd(a, b): return gcd(a, b)",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program raises RecursionError",
    ),
    # A class could define `__eq__`, so its values are not compared.
    "own class": ProgramCase(
        program="class A: pass\ndef gcd(a, b): return A()",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program returns a value of type A, which is not plain data",
    ),
    "generator": ProgramCase(
        program="def gcd(a, b): yield 6",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the program returns a value of type generator, which is not plain data",
    ),
    # The program might have been right if the file had been readable.
    "refused and wrong": ProgramCase(
        program="def gcd(a, b):\n    try: open('/etc/hosts')\n    except OSError: return 0",
        tests=TESTS,
        verdict=UNKNOWN,
        reason="the sandbox refused /etc/hosts",
    ),
    "refused and right": ProgramCase(
        program=f"try: open('/etc/hosts')\nexcept OSError: pass\n{GCD}",
        tests=TESTS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "sorts in place": ProgramCase(
        program="def f(x): x.sort()",
        tests=SORT,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "does not sort in place": ProgramCase(
        program="def f(x): sorted(x)",
        tests=SORT,
        verdict=INCORRECT,
        reason="a test fails in line 4",
    ),
    "returns the same list": ProgramCase(
        program="def f(x): return x",
        tests="x = [1, {2: (3, b'4', 5.5, 1j)}]\nassert f(x) is x and f(x)[1][2][1] == b'4'",
        verdict=CORRECT,
        reason="tests passed: 1",
    ),
    "constant": ProgramCase(
        program="import math\nN = [1]\ndef f(): return N",
        tests="assert N == f() and math.pi > 3",
        verdict=CORRECT,
        reason="tests passed: 1",
    ),
    "method of Solution": ProgramCase(
        program="class Solution:\n    def f(self, x): return x * x",
        tests="assert f(3) == 9",
        verdict=CORRECT,
        reason="tests passed: 1",
    ),
    # The guarded part would wait for input. It does not run.
    "guarded main": ProgramCase(
        program=f"{GCD}\nif __name__ == '__main__':\n    input()",
        tests=TESTS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "MBPP": ProgramCase(
        program="def f(x): return x * x",
        tests=MBPP,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "HumanEval": ProgramCase(
        program="def f(x): return x * x",
        tests=HUMAN_EVAL,
        verdict=CORRECT,
        reason="tests passed: 1",
    ),
    "HumanEval, wrong": ProgramCase(
        program="def f(x): return x + x + 1",
        tests=HUMAN_EVAL,
        verdict=INCORRECT,
        reason="a test fails in line 2",
    ),
    "APPS": ProgramCase(
        program=SUM,
        tests=APPS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "APPS, wrong": ProgramCase(
        program=SUM.replace("sum", "max"),
        tests=APPS,
        verdict=INCORRECT,
        reason="input 1: the output differs",
    ),
    "APPS, IndexError": ProgramCase(
        program="print([][1])",
        tests=APPS,
        verdict=INCORRECT,
        reason="input 1: raises IndexError: list index out of range",
    ),
    "APPS, exit": ProgramCase(
        program=f"import sys\n{SUM}\nsys.exit(0)",
        tests=APPS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    # The output is right, but the exit status is not zero.
    "APPS, exit with an error": ProgramCase(
        program=f"import sys\n{SUM}\nsys.exit('no')",
        tests=APPS,
        verdict=UNKNOWN,
        reason="input 1: the program exits with an error",
    ),
    "APPS, functions": ProgramCase(
        program="def f(x): return x[::-1]",
        tests=CALLS,
        verdict=CORRECT,
        reason="tests passed: 2",
    ),
    "tests do not parse": ProgramCase(
        program=GCD,
        tests="assert gcd(",
        verdict=UNKNOWN,
        reason="the tests do not parse: SyntaxError",
    ),
    "tests do not call the program": ProgramCase(
        program=GCD,
        tests="assert 1 == 1",
        verdict=UNKNOWN,
        reason="the tests never call the program",
    ),
    "broken tests": ProgramCase(
        program=GCD,
        tests="assert gcd(12, 18).missing",
        verdict=UNKNOWN,
        reason="the tests cannot be run in line 1: AttributeError",
    ),
    "test passes a function": ProgramCase(
        program="def f(g): return g(1)",
        tests="assert f(abs) == 1",
        verdict=UNKNOWN,
        reason="a test calls the program with a value of type builtin_function_or_method",
    ),
}

# Right for positive numbers, wrong for zero, an exception for two, an exit for three, endless for
# four.
PARTLY_RIGHT = """
def f(x):
    if x == 0: return 1
    if x == 2: return [][x]
    if x == 3: raise SystemExit
    while x == 4: pass
    return x
"""


def _calls(*numbers: int) -> str:
    return json.dumps({"test_list": [f"assert f({number}) == {number}" for number in numbers]})


class PartsCase(NamedTuple):
    """A program, its tests, the verdict, and the initials of the verdicts on the single tests."""

    program: str
    tests: str
    verdict: Verdict
    parts: str


PARTS: Mapping[str, PartsCase] = {
    "all pass": PartsCase(PARTLY_RIGHT, _calls(1, 5, 6), CORRECT, "ccc"),
    "middle fails": PartsCase(PARTLY_RIGHT, _calls(1, 0, 5), INCORRECT, "cic"),
    "several fail": PartsCase(PARTLY_RIGHT, _calls(0, 1, 2, 0, 5), INCORRECT, "iciic"),
    "last fails": PartsCase(PARTLY_RIGHT, _calls(1, 0), INCORRECT, "ci"),
    "one test": PartsCase(PARTLY_RIGHT, _calls(0), INCORRECT, "i"),
    # The first test that does not pass decides the verdict, whatever the later ones do.
    "exits after a failure": PartsCase(PARTLY_RIGHT, _calls(1, 0, 5, 3, 5), INCORRECT, "cicuu"),
    "exits before a failure": PartsCase(PARTLY_RIGHT, _calls(1, 3, 0), UNKNOWN, "cuu"),
    "endless after a failure": PartsCase(PARTLY_RIGHT, _calls(0, 1, 4, 5), INCORRECT, "icuu"),
    "endless first": PartsCase(PARTLY_RIGHT, _calls(4, 0), UNKNOWN, "uu"),
    "does not load": PartsCase("[][1]", _calls(1, 2), INCORRECT, "uu"),
    "does not parse": PartsCase("def f(", _calls(1, 2), UNKNOWN, "uu"),
    "broken test": PartsCase(
        PARTLY_RIGHT, "assert f(1) == 1\nassert f(1).no\nassert f(5) == 5", UNKNOWN, "cuc"
    ),
    "entries of several lines": PartsCase(
        PARTLY_RIGHT,
        json.dumps(
            {
                "test_setup_code": "import math\nzero = 0",
                "test_list": [
                    "x = f(2)\nassert x == 2",
                    "# by hand\nassert math.floor(f(1)) == 1",
                    "for n in (5, zero):\n    assert f(n) == n",
                    "assert (\n    f(5) ==\n    5\n)",
                ],
            }
        ),
        INCORRECT,
        "icic",
    ),
    "functions": PartsCase(
        "def f(x): return x[::-1] if x != [1] else [2]",
        json.dumps(
            {
                "inputs": [[[1, 2]], [[1]], [[3, 4]]],
                "outputs": [[2, 1], [[1]], [4, 3]],
                "fn_name": "f",
            }
        ),
        INCORRECT,
        "cic",
    ),
    "scripts": PartsCase(
        "n = int(input())\nprint([][n] if n == 3 else n * (n != 2))",
        json.dumps({"inputs": ["1", "2", "3", "4"], "outputs": ["1", "2", "3", "4"]}),
        INCORRECT,
        "ciic",
    ),
    "script that exits": PartsCase(
        "import sys\nn = int(input())\nif n == 2: sys.exit('no')\nprint(n)",
        json.dumps({"inputs": ["1", "2", "3"], "outputs": ["1", "2", "3"]}),
        UNKNOWN,
        "cuc",
    ),
    # A run that exceeds a limit is the last one.
    "endless script": PartsCase(
        "n = int(input())\nwhile n == 3: pass\nprint(n * (n != 1))",
        json.dumps({"inputs": ["1", "2", "3", "4"], "outputs": ["1", "2", "3", "4"]}),
        INCORRECT,
        "icuu",
    ),
    "plain code": PartsCase(
        PARTLY_RIGHT,
        "from __future__ import annotations\nimport math\ndata = f(0)\nassert data == 0\n"
        "def helper(x):\n    assert f(x) == x\nhelper(1)\nhelper(2)\n"
        "assert f(5) == 5; assert f(0) == 0\n"
        "def test_one():\n    assert f(1) == 1\n    assert f(2) == 2\n"
        "def test_two():\n    assert f(5) == 5\n",
        INCORRECT,
        "iciiic",
    ),
    "check": PartsCase(
        PARTLY_RIGHT,
        json.dumps(
            {
                "test": 'METADATA = {}\n\ndef check(candidate):\n    "Checks."\n'
                "    assert candidate(1) == 1\n    n = candidate(0)\n    assert n == 0\n"
                "    for n in range(1, 3):\n        assert candidate(n) == n\n"
                "    assert True and candidate(5) == 5\n",
                "entry_point": "f",
            }
        ),
        INCORRECT,
        "ciic",
    ),
    # The failure is in a statement that belongs to no test.
    "between tests": PartsCase(
        PARTLY_RIGHT,
        "assert f(0) == 1\nf(2)\nimport math\nassert f(5) == 5",
        INCORRECT,
        "cu",
    ),
    # The assertion is not in a statement of its own, so the code is one test.
    "no single test": PartsCase(
        PARTLY_RIGHT, "g = lambda: f(2)\nclass A:\n    assert g() == 2", INCORRECT, "i"
    ),
    "refused request": PartsCase(
        "def f(x):\n    if x != 1: open('/etc/hosts')\n    return 1 + (x == 2)",
        _calls(1, 2, 3),
        UNKNOWN,
        "cuu",
    ),
    # Its exception is not a program's mistake; after it, the sandbox refuses a request.
    "refused after a failure": PartsCase(
        "def f(x):\n    if x == 3: open('/etc/hosts')\n    return 5",
        _calls(1, 5, 2, 3, 5),
        INCORRECT,
        "icuuc",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_every_test_has_verdict(case: str) -> None:
    expected = PARTS[case]
    finding = verify(AnswerClaim(answer=expected.program, reference=expected.tests))
    initials = "".join(part[0] for part in finding.parts)
    assert (finding.verdict, initials) == (expected.verdict, expected.parts), finding


def test_too_many_tests_have_no_parts() -> None:
    tests = "assert f(1) == 1\n" * (MAX_PARTS + 1)
    finding = verify(AnswerClaim(answer="def f(x): return x", reference=tests))
    assert (finding.verdict, finding.parts) == (CORRECT, ())


async def test_pool_returns_parts() -> None:
    claim = AnswerClaim(answer=PARTLY_RIGHT, reference=_calls(1, 0, 3))
    async with VerifierPool(workers=1, deadline=20.0) as pool:
        finding = await pool.verify("code", claim)
    assert finding.parts == (CORRECT, INCORRECT, UNKNOWN)


# Two cases in one assertion, so that no constant result passes.
SINGLE_ASSERTION = (
    "assert all(map(lambda case: gcd(*case[0]) == case[1], [((12, 18), 6), ((7, 3), 1)]))"
)
CHEATS: Mapping[str, str] = {
    "exits when called": "import sys\ndef gcd(a, b): sys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits without cleanup": "import os\ndef gcd(a, b): os._exit(0)",
    # A subclass of int is not plain data, so its `__eq__` is not used.
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
    # One of these descriptors is the pipe through which results come.
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
    # The text is split here, so that it does not find itself.
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
    expected = PROGRAMS[case]
    finding = verify(AnswerClaim(answer=expected.program, reference=expected.tests))
    assert finding.verdict is expected.verdict, finding
    assert finding.reason.startswith(expected.reason), finding


def test_correct_program_passes_single_assertion() -> None:
    assert verify(AnswerClaim(answer=GCD, reference=SINGLE_ASSERTION)).verdict is CORRECT


@pytest.mark.parametrize("case", CHEATS)
def test_cheating_program_never_passes(case: str) -> None:
    assert (
        verify(AnswerClaim(answer=CHEATS[case], reference=SINGLE_ASSERTION)).verdict is not CORRECT
    )


@pytest.mark.parametrize(
    ("reference", "verdict", "reason"),
    [
        (TESTS, CORRECT, "2"),
        (APPS, CORRECT, "2"),
        ("assert gcd(", UNKNOWN, "the tests do not parse: SyntaxError"),
        ("assertions are below", UNKNOWN, "the tests do not parse: SyntaxError"),
        ("# assert", UNKNOWN, "no tests: there is no assertion"),
        ("18", UNKNOWN, "the reference: no tests: there is no assertion"),
        (
            '{"inputs": [], "outputs": []}',
            UNKNOWN,
            "the reference: inputs and outputs are not non-empty lists of equal length",
        ),
        ('{"test_list": [1]}', UNKNOWN, "the reference: tests that are not texts"),
        (
            '{"test": "assert f(1)", "entry_point": "f()"}',
            UNKNOWN,
            "the reference: the name of the function is not an identifier",
        ),
        (
            '{"answer": 1}',
            UNKNOWN,
            "the reference: an object without test, test_list, or inputs and outputs",
        ),
        # Deep nesting makes a recursive parser fail.
        ("{" * 5000, UNKNOWN, "the reference: the object is not valid JSON"),
        ("assert " + "(" * 50_000, UNKNOWN, "the tests do not parse"),
        # Nine times the limit.
        ("assert x\n" * MAX_CHARS, UNKNOWN, "too long"),
    ],
)
def test_reference_verdict(reference: str, verdict: Verdict, reason: str) -> None:
    finding = verify(ReferenceClaim(reference=reference))
    assert finding.verdict is verdict, finding
    assert finding.reason.startswith(reason), finding


def _block(code: str) -> str:
    return f"So:\n```python\n{code}\n```\n"


# The function that the blocks of most steps use.
DOUBLE = "def double(x):\n    return 2 * x"
STEPS: Mapping[str, StepCase] = {
    "holds": StepCase(
        previous=(),
        step=_block(
            f"{DOUBLE}\nassert double(2) == 4\nfor n in range(3):\n    assert double(n) == n + n"
        ),
        verdict=CORRECT,
        reason="assertions that hold: 2",
    ),
    "fails": StepCase(
        previous=(),
        step=_block(f"{DOUBLE}\nassert double(2) == 5"),
        verdict=INCORRECT,
        reason="does not hold: double(2) == 5",
    ),
    "uses an earlier block": StepCase(
        previous=(_block(DOUBLE), "text\n"),
        step=_block("assert double(2) == 4"),
        verdict=CORRECT,
        reason="assertions that hold: 1",
    ),
    "misses an earlier block": StepCase(
        previous=(),
        step=_block("assert double(2) == 4"),
        verdict=UNKNOWN,
        reason="the block raises NameError",
    ),
    "line by line": StepCase(
        previous=("```python\n", f"{DOUBLE}\n", "assert double(1) == 3\n"),
        step="```\n",
        verdict=INCORRECT,
        reason="does not hold: double(1) == 3",
    ),
    "block is not closed": StepCase(
        previous=("```python\n",),
        step="assert 1 + 1 == 3\n",
        verdict=UNKNOWN,
        reason="no block of Python ends in the step",
    ),
    # The state after a failed block is not known.
    "earlier block fails": StepCase(
        previous=(_block("assert 1 + 1 == 3"),),
        step=_block("assert 1 + 1 == 2"),
        verdict=UNKNOWN,
        reason="an earlier block raises AssertionError",
    ),
    "another language": StepCase(
        previous=(),
        step="```ruby\nassert 1 == 1\n```\n",
        verdict=UNKNOWN,
        reason="no block of Python ends in the step",
    ),
    "no assertion": StepCase(
        previous=(),
        step=_block(DOUBLE),
        verdict=UNKNOWN,
        reason="the block asserts nothing",
    ),
    # An assertion that no code can make false is not evidence.
    "only constants": StepCase(
        previous=(),
        step=_block("assert True\nassert (1 == 2, 'a tuple is true')"),
        verdict=UNKNOWN,
        reason="the block asserts nothing",
    ),
    "failure is caught": StepCase(
        previous=(),
        step=_block("try:\n    assert 1 + 1 == 3\nexcept AssertionError:\n    pass"),
        verdict=UNKNOWN,
        reason="an assertion failed, and the block went on: 1 + 1 == 3",
    ),
    "not reached": StepCase(
        previous=(),
        step=_block("if 1 + 1 == 3:\n    assert 1 + 1 == 3"),
        verdict=UNKNOWN,
        reason="1 of 1 assertions were not reached",
    ),
    "test function": StepCase(
        previous=(),
        step=_block("def test_it():\n    assert 1 + 1 == 3\ntest_it()"),
        verdict=INCORRECT,
        reason="does not hold: 1 + 1 == 3",
    ),
    # The failed assertion checks an argument; it is not a statement of the step.
    "guard in a function": StepCase(
        previous=(),
        step=_block("def f(x):\n    assert x > 0\n    return x\nf(-1)\nassert f(1) == 1"),
        verdict=UNKNOWN,
        reason="the block raises AssertionError",
    ),
    "exits": StepCase(
        previous=(),
        step=_block("import collections\nassert 1 + 1 == 2\nraise SystemExit"),
        verdict=UNKNOWN,
        reason="the block raises SystemExit",
    ),
    "randomness": StepCase(
        previous=(),
        step=_block("import random\nassert random.random() < 2"),
        verdict=UNKNOWN,
        reason="the block depends on more than its text: random",
    ),
    "process state": StepCase(
        previous=(),
        step=_block("assert hash('a') == hash('a')"),
        verdict=UNKNOWN,
        reason="the block depends on more than its text: hash",
    ),
    "files": StepCase(
        previous=(),
        step=_block("assert open('/etc/passwd')"),
        verdict=UNKNOWN,
        reason="the block depends on more than its text: open",
    ),
    "SyntaxError": StepCase(
        previous=(),
        step=_block("assert 1 +"),
        verdict=UNKNOWN,
        reason="a block does not parse: SyntaxError",
    ),
    "session": StepCase(
        previous=(),
        step=_block(">>> x = 3\n>>> x + 1\n4\n>>> [x, 's']\n[3,  's']"),
        verdict=CORRECT,
        reason="assertions that hold: 2",
    ),
    "session after an empty line": StepCase(
        previous=(),
        step=_block("\n>>> 2 + 2\n4"),
        verdict=CORRECT,
        reason="assertions that hold: 1",
    ),
    "wrong session": StepCase(
        previous=(),
        step=_block(">>> 3 * 3\n6"),
        verdict=INCORRECT,
        reason="does not hold: 3 * 3",
    ),
    # A rounded result need not be a mistake.
    "session of floats": StepCase(
        previous=(),
        step=_block(">>> 1 / 3\n0.33"),
        verdict=UNKNOWN,
        reason="the output differs from the expected text: 1 / 3",
    ),
    "session of texts": StepCase(
        previous=(),
        step=_block(">>> print('Hello')\nhello"),
        verdict=UNKNOWN,
        reason="the output differs from the expected text: print('Hello')",
    ),
    "docstring example": StepCase(
        previous=(),
        step=_block('def f(x):\n    """Doubles.\n\n    >>> f(2)\n    5\n    """\n    return 2 * x'),
        verdict=INCORRECT,
        reason="does not hold: f(2)",
    ),
    "session with a set": StepCase(
        previous=(),
        step=_block(">>> {2, 1}\n{2, 1}"),
        verdict=CORRECT,
        reason="assertions that hold: 1",
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_step_verdict(case: str) -> None:
    expected = STEPS[case]
    finding = verify(StepClaim(question="", previous=expected.previous, step=expected.step))
    assert finding.verdict is expected.verdict
    assert finding.reason == expected.reason


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        ("3\n", "3", CORRECT),
        # White space and empty lines do not count.
        ("1 2 \n\n3", "1  2\n3\n", CORRECT),
        ("3", "4", INCORRECT),
        ("3 4", "3", INCORRECT),
        # Integers are compared exactly, although they differ by less than the tolerance.
        ("10000000", "10000001", INCORRECT),
        # The difference may be due to rounding.
        ("0.33333", "0.3333", UNKNOWN),
        ("1e3", "1000.0", UNKNOWN),
        ("1.5", "1.6", INCORRECT),
        # Whether the case of letters matters depends on the problem.
        ("Yes", "YES", UNKNOWN),
        ("nan", "1", INCORRECT),
        ("", "1", INCORRECT),
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
    # No text may run outside the sandbox, where this file would be created.
    assert not Path(EXECUTION_MARKER).exists()


async def test_slow_program_outlives_pool_deadline() -> None:
    # Longer than the deadline of the pool, shorter than that of the sandbox. Sleeping uses no CPU.
    slow = "import time\ndef gcd(a, b):\n    time.sleep(1.5)\n    return 6"
    claim = AnswerClaim(answer=slow, reference="assert gcd(12, 18) == 6")
    async with VerifierPool(workers=1, deadline=1.0) as pool:
        finding = await pool.verify("code", claim)
    assert finding == Finding(verdict=CORRECT, reason="tests passed: 1", parts=(CORRECT,))


@pytest.mark.parametrize(
    "program",
    [
        "print(int(input()) ** 2)\nexit()",
        "print(int(input()) ** 2)\nquit()",
        "print(int(input()) ** 2)\nexit(0)",
        "import sys\nprint(int(input()) ** 2)\nsys.exit()",
        "n = int(input())\nif n == 0:\n    print(0)\n    exit()\nprint(n * n)",
    ],
)
def test_script_may_exit(program: str) -> None:
    tests = json.dumps({"inputs": ["3\n", "0\n"], "outputs": ["9\n", "0\n"]})
    finding = Code().verify(AnswerClaim(answer=program, reference=tests))
    assert finding.verdict is CORRECT, finding.reason


def test_single_result_is_no_list() -> None:
    tests = json.dumps({"inputs": [[[1, 2]], [[5]]], "outputs": [[2, 4], [10]], "fn_name": "f"})
    unwrapping = "def f(xs):\n    r = [2 * x for x in xs]\n    return r if len(r) > 1 else r[0]"
    finding = Code().verify(AnswerClaim(answer=unwrapping, reference=tests))
    assert finding.verdict is INCORRECT
    finding = Code().verify(
        AnswerClaim(answer="def f(xs):\n    return [2 * x for x in xs]", reference=tests)
    )
    assert finding.verdict is CORRECT


@pytest.mark.parametrize(
    "text",
    [
        "It fails, as we said.",
        "This shows the bug.",
        "The result is wrong here.",
        "This raises an AssertionError.",
        "So the claim does not hold.",
    ],
)
def test_expected_failure_is_unknown(text: str) -> None:
    step = f"We try:\n```python\nassert 3 + 4 == 8\n```\n{text}"
    claim = StepClaim(question="", previous=(), step=step)
    assert Code().verify(claim).verdict is UNKNOWN
