r"""The tests that a reference holds: Python with assertions, or one of the shapes that data sets of programming problems come in.

    assert gcd(12, 18) == 6                                            plain Python, in a fence or not; functions called test… are called
    {"test": "def check(candidate): …", "entry_point": "gcd"}          HumanEval (arXiv 2107.03374)
    {"test_list": ["assert …", …], "test_setup_code": "…"}             MBPP (arXiv 2108.07732); also "test_imports": […]
    {"inputs": ["12 18\n"], "outputs": ["6\n"]}                        APPS (arXiv 2105.09938): a script's input and output
    {"inputs": [[12, 18]], "outputs": [6], "fn_name": "gcd"}           APPS again: a function's arguments and result

What is not covered: checkers for problems with several right outputs, `unittest` and pytest's fixtures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepmark.code_blocks import final_program

__all__ = ["Assertions", "Pairs", "UnusableError", "tests_of"]

MAX_PAIRS = 100


class UnusableError(Exception):
    """No tests, or none that can be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertions:
    """Python that asserts; `entry` names the function that its `check` is called with."""

    code: str
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What a script reads, and what it is to print."""

    pairs: tuple[tuple[str, str], ...]


def tests_of(reference: str) -> Assertions | Pairs:
    """The tests; `UnusableError` says why there are none."""
    if reference.lstrip().startswith("{"):
        try:
            return _of_object(json.loads(reference))
        except (ValueError, RecursionError):
            raise UnusableError("an object that is no JSON") from None
    return Assertions(code=_with_assertions(final_program(reference) or reference))


def _of_object(found: Mapping[str, Any]) -> Assertions | Pairs:
    if "test_list" in found:
        parts = [
            *_texts(found.get("test_imports", [])),
            *_texts([found.get("test_setup_code", "")]),
            *_texts(found["test_list"]),
        ]
        return Assertions(code=_with_assertions("\n".join(parts)))
    if "test" in found:
        (code,) = _texts([found["test"]])
        entry = found.get("entry_point")
        return Assertions(
            code=_with_assertions(code), entry=None if entry is None else _identifier(entry)
        )
    if "inputs" in found and "outputs" in found:
        return _of_pairs(found["inputs"], found["outputs"], found.get("fn_name"))
    raise UnusableError("an object without test, test_list, or inputs and outputs")


def _of_pairs(inputs: Any, outputs: Any, function: Any) -> Assertions | Pairs:
    if (
        not isinstance(inputs, list)
        or not isinstance(outputs, list)
        or len(inputs) != len(outputs)
        or not inputs
    ):
        raise UnusableError("inputs and outputs are not lists of one length")
    if len(inputs) > MAX_PAIRS:
        raise UnusableError(f"more than {MAX_PAIRS} inputs")
    if function is None:
        return Pairs(pairs=tuple(zip(_texts(inputs), _texts(outputs), strict=True)))
    name = _identifier(function)
    calls = (
        f"assert {name}(*{arguments!r}) in {_accepted(output)!r}"
        for arguments, output in zip(inputs, outputs, strict=True)
    )
    return Assertions(code="\n".join(calls))


def _accepted(output: Any) -> Sequence[Any]:
    """JSON has no tuples, and some of APPS' results stand in a list of their own."""
    accepted = [output, tuple(output)] if isinstance(output, list) else [output]
    return [*accepted, output[0]] if isinstance(output, list) and len(output) == 1 else accepted


def _texts(found: Any) -> Sequence[str]:
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UnusableError("tests that are not texts")
    return found


def _identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise UnusableError("a function without a name")
    return name


def _with_assertions(code: str) -> str:
    if "assert" not in code:
        raise UnusableError("no tests: there is no assertion")
    return code
