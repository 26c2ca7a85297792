"""Role that runs the code blocks of a solution in order, and checks what the last ones assert.

    assert area(3, 4) == 12        >>> area(3, 4)
                                   12

The blocks share one namespace, as the cells of a notebook do. These assertions count:

- an `assert` at the top level, or in a loop or condition there;
- an `assert` in a function named test… or check…;
- the expected output of a doctest example.

Correct: all of them were reached and hold. Incorrect: one of them failed and ended its block. The
author of the step wrote both the code and the assertion, so a failed assertion is an error of the
step. Any other exception is not: it leaves the step unknown.

An assertion must be true everywhere and at any time. A block that uses the clock, randomness, files
or the machine is unknown.

A doctest example compares printed text. Texts that are equal up to white space, or that are
literals of equal value, match. Literals that differ, and contain no decimal point that could hide
rounding, do not match. Everything else is undecided.
"""

import ast
import contextlib
import io
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from verifiers.code_sandbox.wire import Message

__all__ = ["run_blocks"]

# Plain texts instead of `Verdict`, so that the sandbox does not load the `stepmark` package.
CORRECT = "correct"
INCORRECT = "incorrect"
UNKNOWN = "unknown"
# Modules that do not depend on the machine, the clock or randomness.
PURE_MODULES = frozenset(
    {
        "__future__",
        "abc",
        "array",
        "bisect",
        "calendar",
        "cmath",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "json",
        "math",
        "numbers",
        "operator",
        "re",
        "statistics",
        "string",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
    }
)
# Built-in names that depend on the process, or that could hide an impure name in a text.
IMPURE_NAMES = frozenset(
    {
        "__import__",
        "breakpoint",
        "compile",
        "eval",
        "exec",
        "globals",
        "hash",
        "id",
        "input",
        "locals",
        "open",
        "vars",
    }
)
TEST_FUNCTION = re.compile(r"_?(?:test|check)")
# The name under which a block's own code calls `_AssertionLog.record`.
RECORDER_NAME = "__asserted__"
PROMPT = ">>>"
MAX_TEXT_CHARS = 120
BLOCK_FILE = "<block>"


class _AssertionFailedError(AssertionError):
    """A recorded assertion failed.

    It replaces the assertion's own exception, so that an `AssertionError` from elsewhere in the
    block is not mistaken for it.
    """


class _AssertionLog:
    """The recorded assertions of the checked blocks, and which of them held or failed."""

    def __init__(self) -> None:
        self._registered = set[int]()
        self._held = set[int]()
        self._failed = dict[int, str]()
        self.doubt = ""
        """Why an assertion is undecided."""

    def register(self) -> int:
        """Add an assertion that must be reached, and return its number."""
        number = len(self._registered)
        self._registered.add(number)
        return number

    def record(self, number: int, value: Any, text: str) -> Any:
        """Record the value of an assertion and return it.

        Raises:
            _AssertionFailedError: The value is false.
        """
        if not value:
            self._failed[number] = text
            raise _AssertionFailedError(text)
        self._held.add(number)
        return value

    def verdict(self) -> Message:
        """Return the verdict and its reason, once all blocks have run to their end."""
        if self._failed:
            first = next(iter(self._failed.values()))
            return [UNKNOWN, f"an assertion failed, and the block went on: {first}"]
        if self.doubt:
            return [UNKNOWN, self.doubt]
        # A set difference, because a block can call the recorder with any number.
        unreached = len(self._registered - self._held)
        total = len(self._registered)
        if unreached:
            return [UNKNOWN, f"{unreached} of {total} assertions were not reached"]
        if not total:
            return [UNKNOWN, "the block asserts nothing"]
        return [CORRECT, f"assertions that hold: {total}"]


class _AssertionRecorder(ast.NodeTransformer):
    """Rewrite the assertions that count so that they record their values.

    Assertions of constants are left as they are, because they state nothing.
    """

    def __init__(self, log: _AssertionLog) -> None:
        self._log = log

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        """Wrap the tested expression in a call of the recorder."""
        if isinstance(node.test, ast.Constant | ast.Tuple):
            return node
        number = ast.Constant(self._log.register())
        text = ast.Constant(ast.unparse(node.test)[:MAX_TEXT_CHARS])
        recorder = ast.Name(RECORDER_NAME, ast.Load())
        node.test = ast.Call(recorder, [number, node.test, text], [])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Visit test functions only: elsewhere an assertion guards against invalid arguments."""
        if TEST_FUNCTION.match(node.name):
            self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Skip classes: their methods are not reached unless something calls them."""
        return node


def run_blocks(job: Any) -> Message:
    """Run the `blocks` of the job; return the verdict on the last `count` of them, and its reason.

    The blocks before them are run as context, and their assertions do not count.
    """
    blocks = job["blocks"]
    count = job["count"]
    trees = list[ast.Module]()
    for block in blocks:
        try:
            trees.append(ast.parse(_source(block), BLOCK_FILE))
        except Exception as error:  # noqa: BLE001 - the compiler may raise several kinds
            return [UNKNOWN, f"a block does not parse: {type(error).__name__}"]
    for tree in trees:
        impure = next(_impure_names(tree), None)
        if impure is not None:
            return [UNKNOWN, f"the block depends on more than its text: {impure}"]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # dataclasses look the module up
    names = vars(module)
    for tree in trees[:-count]:
        raised = _exception_of(partial(_execute, tree, names))
        if raised is not None:
            return [UNKNOWN, f"an earlier block raises {type(raised).__name__}"]
    log = _AssertionLog()
    for block, tree in zip(blocks[-count:], trees[-count:], strict=True):
        raised = _exception_of(partial(_run_checked, block, tree, names, log))
        if isinstance(raised, _AssertionFailedError):
            return [INCORRECT, f"does not hold: {raised}"]
        if raised is not None:
            return [UNKNOWN, f"the block raises {type(raised).__name__}"]
    return log.verdict()


def _source(block: str) -> str:
    """Return the code of a block. For an interactive session, the code of its examples."""
    if not _is_session(block):
        return block
    return "".join(example.source for example in _doctest_examples(block))


def _is_session(block: str) -> bool:
    return block.lstrip().startswith(PROMPT)


def _impure_names(tree: ast.AST) -> Iterator[str]:
    """Yield the modules and names in the code whose results can differ between runs."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    if not _is_pure_module(alias.name):
                        yield alias.name
            case ast.ImportFrom(module=module) if not _is_pure_module(module or ""):
                yield module or "."
            case ast.Name(id=name) if name in IMPURE_NAMES:
                yield name
            case _:
                pass


def _is_pure_module(name: str) -> bool:
    return name.partition(".")[0] in PURE_MODULES


def _execute(tree: ast.Module, names: dict[str, Any]) -> None:
    exec(compile(tree, BLOCK_FILE, "exec", dont_inherit=True), names)


def _exception_of(run: Callable[[], None]) -> BaseException | None:
    """Run code without its output; return the exception that ended it, if any."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run()
    except BaseException as error:  # noqa: BLE001 - code may raise anything
        return error
    return None


def _run_checked(text: str, tree: ast.Module, names: dict[str, Any], log: _AssertionLog) -> None:
    """Run a block and record its assertions and doctest examples."""
    names[RECORDER_NAME] = log.record
    if _is_session(text):
        _run_examples(_doctest_examples(text), names, log)
        return
    # Docstrings are collected first: the recorder changes the tree.
    examples = list[Any]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            examples += _doctest_examples(ast.get_docstring(node) or "")
    recorded = _AssertionRecorder(log).visit(tree)
    _execute(ast.fix_missing_locations(recorded), names)
    for example in examples:
        if next(_impure_names(ast.parse(example.source)), None) is not None:
            log.doubt = "an example depends on more than its text"
            return
    _run_examples(examples, names, log)


def _doctest_examples(text: str) -> Sequence[Any]:
    if PROMPT not in text:
        return ()
    import doctest  # imported late: it takes half of the start-up time of the process

    examples = list[Any]()
    for part in doctest.DocTestParser().parse(text):
        if isinstance(part, doctest.Example):
            examples.append(part)
    return examples


def _run_examples(examples: Sequence[Any], names: dict[str, Any], log: _AssertionLog) -> None:
    """Run doctest examples in order.

    Raises:
        _AssertionFailedError: An example prints something other than its expected output.
    """
    for example in examples:
        text = example.source.strip()[:MAX_TEXT_CHARS]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example.source, BLOCK_FILE, "single", dont_inherit=True), names)
        if not example.want:
            continue
        number = log.register()
        matches = _matches(printed.getvalue(), example.want)
        if matches is None:
            log.doubt = f"the output differs from the expected text: {text}"
        else:
            log.record(number, matches, text)


def _matches(printed: str, expected: str) -> bool | None:
    """Return whether the printed text matches, or None if that is undecided."""
    if printed.split() == expected.split():
        return True
    try:
        value = ast.literal_eval(printed.strip())
        expected_value = ast.literal_eval(expected.strip())
    except Exception:  # noqa: BLE001 - the program may print any text
        return None
    if value == expected_value:
        return True
    # A decimal point: the difference could be rounding.
    if "." in printed + expected:
        return None
    return False
