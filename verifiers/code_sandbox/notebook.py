"""The blocks of a solution, run one after the other as the cells of a notebook, and what the last ones assert.

    assert area(3, 4) == 12        >>> area(3, 4)
                                   12

An assertion is what an `assert` at the top level, in a loop or condition there, or in a function named test… or check… states, and what a
doctest example expects. All are to be reached and to hold: correct. One that fails and ends its block: incorrect. The code that asserts
and the code it speaks of are one text by one author here, who could as well assert something that is true: that it was the assertion that
failed, and not something else, is what is made sure of.

What a block asserts is to be true anywhere and always: one that asks for the clock, chance, files or the machine decides nothing.

A doctest compares printed texts: equal up to spaces, or two literals of equal value, hold; two literals that differ, and have no digits
that could be rounding, do not; all else is undecided.
"""

import ast
import contextlib
import io
import re
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from verifiers.code_sandbox.wire import Line

__all__ = ["replay"]

CORRECT, INCORRECT, UNKNOWN = "correct", "incorrect", "unknown"
PURE = frozenset((
    "__future__", "abc", "array", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses", "decimal", "enum",
    "fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator", "re", "statistics", "string", "textwrap",
    "types", "typing", "unicodedata",
))  # fmt: skip
"""Modules that know nothing of the machine, the clock, or chance: what is asserted with them alone is as true here as anywhere."""
IMPURE_NAMES = frozenset(
    (
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
    )
)
TEST = re.compile(r"_?(?:test|check)")
RECORD = "__asserted__"
PROMPT = ">>>"
LONG_TEXT = 120
FILE = "<block>"


class _FailedError(AssertionError):
    """An assertion that counts has failed; it is raised in place of the assertion's own, so that nothing else is taken for it."""


class _Assertions:
    """Which assertions there are, and which were seen to hold or fail."""

    def __init__(self) -> None:
        self.all = set[int]()
        self.held = set[int]()
        self.failed = dict[int, str]()
        self.doubted = ""

    def new(self) -> int:
        """One more that is to be reached."""
        self.all.add(number := len(self.all))
        return number

    def record(self, number: int, value: Any, text: str) -> Any:
        """What an assertion came to; returns the value, so that it can stand in its place, or raises `_FailedError`."""
        if not value:
            self.failed[number] = text
            raise _FailedError(text)
        self.held.add(number)
        return value

    def verdict(self) -> Line:
        """Of a block that has run to its end."""
        if self.failed:
            return [
                UNKNOWN,
                f"an assertion failed, and the block went on: {next(iter(self.failed.values()))}",
            ]
        if self.doubted:
            return [UNKNOWN, self.doubted]
        if missed := len(self.all - self.held):
            return [UNKNOWN, f"{missed} of {len(self.all)} assertions were not reached"]
        return (
            [CORRECT, f"assertions that hold: {len(self.all)}"]
            if self.all
            else [UNKNOWN, "the block asserts nothing"]
        )


class _Marked(ast.NodeTransformer):
    """Every assertion that counts tells what it came to; those of constants state nothing."""

    def __init__(self, assertions: _Assertions) -> None:
        self._assertions = assertions

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        """The same, with its test recorded."""
        if not isinstance(node.test, ast.Constant | ast.Tuple):
            facts = [
                ast.Constant(self._assertions.new()),
                node.test,
                ast.Constant(ast.unparse(node.test)[:LONG_TEXT]),
            ]
            node.test = ast.Call(ast.Name(RECORD, ast.Load()), facts, [])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Assertions in a function guard it against its callers, unless it is a test."""
        if TEST.match(node.name):
            self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Nothing in a class is reached by itself."""
        return node


def replay(job: Any) -> Line:
    """The verdict on the last `count` of the `blocks`, in the context of those before them, and its reason."""
    blocks, count = job["blocks"], job["count"]
    try:
        trees = [ast.parse(_source(block), FILE) for block in blocks]
    except Exception as error:  # noqa: BLE001 - whatever the compiler makes of it
        return [UNKNOWN, f"a block does not parse: {type(error).__name__}"]
    if impure := next((name for tree in trees for name in _impure(tree)), None):
        return [UNKNOWN, f"it depends on more than its text: {impure}"]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    names = vars(module)
    for tree in trees[:-count]:
        if (ended := _ended(lambda tree=tree: _execute(tree, names))) is not None:
            return [UNKNOWN, f"an earlier block raises {type(ended).__name__}"]
    assertions = _Assertions()
    for text, tree in zip(blocks[-count:], trees[-count:], strict=True):
        if (
            ended := _ended(lambda text=text, tree=tree: _assert(text, tree, names, assertions))
        ) is not None:
            return _broken(ended)
    return assertions.verdict()


def _source(block: str) -> str:
    """The code of a block; of a session, that of its examples."""
    return "".join(example.source for example in _examples(block)) if _is_session(block) else block


def _is_session(block: str) -> bool:
    return block.lstrip().startswith(PROMPT)


def _impure(tree: ast.AST) -> Iterator[str]:
    """Names of what is not the same everywhere and always."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (
                    alias.name for alias in names if alias.name.partition(".")[0] not in PURE
                )
            case ast.ImportFrom(module=module) if (module or "").partition(".")[0] not in PURE:
                yield module or "."
            case ast.Name(id=name) if name in IMPURE_NAMES:
                yield name
            case _:
                pass


def _execute(tree: ast.Module, names: dict[str, Any]) -> None:
    exec(compile(tree, FILE, "exec", dont_inherit=True), names)


def _ended(run: Any) -> BaseException | None:
    """What ended the code before its time."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run()
    except BaseException as error:  # noqa: BLE001 - code may raise anything
        return error
    return None


def _broken(ended: BaseException) -> Line:
    if isinstance(ended, _FailedError):
        return [INCORRECT, f"does not hold: {ended}"]
    return [UNKNOWN, f"the block raises {type(ended).__name__}"]


def _assert(text: str, tree: ast.Module, names: dict[str, Any], assertions: _Assertions) -> None:
    names[RECORD] = assertions.record
    if _is_session(text):
        _try(_examples(text), names, assertions)
        return
    documented = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
    ]
    examples = [
        example for node in documented for example in _examples(ast.get_docstring(node) or "")
    ]
    _execute(ast.fix_missing_locations(_Marked(assertions).visit(tree)), names)
    if any(True for example in examples for _ in _impure(ast.parse(example.source))):
        assertions.doubted = "an example depends on more than its text"
        return
    _try(examples, names, assertions)


def _examples(text: str) -> Sequence[Any]:
    if PROMPT not in text:
        return ()
    import doctest  # half of the time that a process takes to start

    return [
        example
        for example in doctest.DocTestParser().parse(text)
        if isinstance(example, doctest.Example)
    ]


def _try(examples: Sequence[Any], names: dict[str, Any], assertions: _Assertions) -> None:
    """Run examples in order; `_FailedError` at the first that prints something else than it expects."""
    for example in examples:
        text = example.source.strip()[:LONG_TEXT]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(example.source, FILE, "single", dont_inherit=True), names)
        if example.want:
            number, holds = assertions.new(), _same_output(said.getvalue(), example.want)
            if holds is None:
                assertions.doubted = f"another text than expected: {text}"
            else:
                assertions.record(number, holds, text)


def _same_output(said: str, wanted: str) -> bool | None:
    if said.split() == wanted.split():
        return True
    try:
        one, other = ast.literal_eval(said.strip()), ast.literal_eval(wanted.strip())
    except Exception:  # noqa: BLE001 - any text at all
        return None
    if one == other:
        return True
    return None if "." in said + wanted else False
