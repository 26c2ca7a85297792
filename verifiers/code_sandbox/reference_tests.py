r"""Parse the tests in a reference: Python with assertions, or the format of a public data set.

    assert gcd(12, 18) == 6
        Plain Python, with or without a Markdown fence. Functions named test… are called.
    {"test": "def check(candidate): …", "entry_point": "gcd"}
        HumanEval (arXiv 2107.03374).
    {"test_list": ["assert …", …], "test_setup_code": "…"}
        MBPP (arXiv 2108.07732), optionally with "test_imports": […].
    {"inputs": ["12 18\n"], "outputs": ["6\n"]}
        APPS (arXiv 2105.09938): the standard input and output of a script.
    {"inputs": [[12, 18]], "outputs": [6], "fn_name": "gcd"}
        APPS: the arguments and results of a function.

What is not covered:

- Checkers for problems with several correct outputs.
- `unittest`, and the fixtures of pytest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepmark.code_blocks import final_program

__all__ = ["AssertionTests", "OutputTests", "UnusableTestsError", "parse_tests"]

# Every pair of a script is a separate run, and all runs share the wall time of one claim.
MAX_PAIRS = 100


class UnusableTestsError(Exception):
    """The reference has no tests, or none that can be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionTests:
    """Python code with assertions.

    `entry` names the function that is passed to the `check` function of the code, if any. `starts`
    are the first lines of the tests, from 1, where the reference lists them.
    """

    code: str
    entry: str | None = None
    starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTests:
    """Pairs of a script's standard input and its expected output."""

    pairs: tuple[tuple[str, str], ...]


def parse_tests(reference: str) -> AssertionTests | OutputTests:
    """Return the tests that a reference contains.

    Raises:
        UnusableTestsError: There are none, or their format is not supported.
    """
    if reference.lstrip().startswith("{"):
        try:
            return _parse_object(json.loads(reference))
        except (ValueError, RecursionError):
            raise UnusableTestsError("the object is not valid JSON") from None
    code = final_program(reference) or reference
    return AssertionTests(code=_require_assertion(code))


def _parse_object(tests: Mapping[str, Any]) -> AssertionTests | OutputTests:
    if "test_list" in tests:
        imports = _require_texts(tests.get("test_imports", []))
        setup = _require_texts([tests.get("test_setup_code", "")])
        assertions = _require_texts(tests["test_list"])
        return _listed_tests([*imports, *setup], assertions)
    if "test" in tests:
        (code,) = _require_texts([tests["test"]])
        entry = tests.get("entry_point")
        code = _require_assertion(code)
        if entry is not None:
            entry = _require_identifier(entry)
        return AssertionTests(code=code, entry=entry)
    if "inputs" in tests and "outputs" in tests:
        return _parse_pairs(tests["inputs"], tests["outputs"], tests.get("fn_name"))
    raise UnusableTestsError("an object without test, test_list, or inputs and outputs")


def _parse_pairs(inputs: Any, outputs: Any, function: Any) -> AssertionTests | OutputTests:
    are_lists = isinstance(inputs, list) and isinstance(outputs, list)
    if not are_lists or len(inputs) != len(outputs) or not inputs:
        raise UnusableTestsError("inputs and outputs are not non-empty lists of equal length")
    if len(inputs) > MAX_PAIRS:
        raise UnusableTestsError(f"more than {MAX_PAIRS} inputs")
    if function is None:
        pairs = zip(_require_texts(inputs), _require_texts(outputs), strict=True)
        return OutputTests(pairs=tuple(pairs))
    name = _require_identifier(function)
    assertions = list[str]()
    are_wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    for arguments, output in zip(inputs, outputs, strict=True):
        accepted = _accepted_results(output, are_wrapped=are_wrapped)
        assertions.append(f"assert {name}(*{arguments!r}) in {accepted!r}")
    return _listed_tests([], assertions)


def _listed_tests(setup: Sequence[str], tests: Sequence[str]) -> AssertionTests:
    starts = list[int]()
    line = 1 + sum(text.count("\n") + 1 for text in setup)
    for test in tests:
        starts.append(line)
        line += test.count("\n") + 1
    code = "\n".join([*setup, *tests])
    return AssertionTests(code=_require_assertion(code), starts=tuple(starts))


def _accepted_results(output: Any, *, are_wrapped: bool) -> Sequence[Any]:
    """Return the results that match an output of APPS.

    JSON has no tuples, and some outputs of APPS are wrapped in a list of length one. A number in
    a list may be the list itself, unless all outputs of the problem are wrapped.
    """
    if not isinstance(output, list):
        return [output]
    accepted = [output, tuple(output)]
    if len(output) == 1 and (are_wrapped or isinstance(output[0], list)):
        accepted.append(output[0])
    return accepted


def _require_texts(texts: Any) -> Sequence[str]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnusableTestsError("tests that are not texts")
    return texts


def _require_identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise UnusableTestsError("the name of the function is not an identifier")
    return name


def _require_assertion(code: str) -> str:
    if "assert" not in code:
        raise UnusableTestsError("no tests: there is no assertion")
    return code
