"""The single tests in the code of a reference, and a form of the code that runs all of them.

    data = build(3)             \
    assert f(data) == 3         / one test: an assertion, with the statements before it
    for x in range(3):          \
        assert g(x) == x        / one test

A single test is

- one entry of the reference, where the reference lists its tests (MBPP, the functions of APPS);
- otherwise a statement at the top level of the code that contains an assertion or calls a function
  that does, with the statements since the last test, except definitions and imports;
- such a statement in the body of `check`, where the code has an entry point (HumanEval);
- a function at the top level whose name begins with "test".

They are numbered in this order. Statements that share a line belong to one test. Code without such
a statement is one test as a whole.

What is not covered:

- Calls of one function from several loops or conditions: a loop is one test, however often it runs.
- Test functions that are defined in a condition or a loop.
"""

import ast
from bisect import bisect_right
from collections.abc import Iterator, Sequence

__all__ = ["RECORD", "SingleTest", "single_tests", "with_recording"]

RECORD = "__single_test__"
"""The name of the function that returns the context manager of a test, by its number."""
# The function that HumanEval's tests define and the harness calls with the entry point.
CHECK = "check"
DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class SingleTest:
    """One test: its statements, or its function if it is a test function."""

    def __init__(self, statements: Sequence[ast.stmt], function: str = "") -> None:
        self.statements = list(statements)
        self.function = function

    def contains(self, line: int) -> bool:
        """Return whether a line of the code belongs to the test."""
        return any(
            statement.lineno <= line <= _last_line(statement) for statement in self.statements
        )


def single_tests(
    tree: ast.Module, entry: str | None = None, starts: Sequence[int] = ()
) -> list[SingleTest]:
    """Return the single tests of parsed code in the order in which they run.

    Args:
        tree: The code of the tests.
        entry: The function that is passed to the `check` function of the code, if any.
        starts: The first line of every listed test. Empty if the reference lists none.
    """
    functions = dict[str, ast.FunctionDef]()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            functions[statement.name] = statement
    if starts:
        tests = _listed_tests(tree.body, starts)
    else:
        asserting = {name for name, function in functions.items() if _asserts_in(function)}
        tests = _tests_in(tree.body, asserting)
        if entry is not None and CHECK in functions:
            tests += _tests_in(functions[CHECK].body, asserting)
    for name, function in functions.items():
        if name.startswith("test"):
            tests.append(SingleTest([function], name))
    return tests


def with_recording(tree: ast.Module, tests: Sequence[SingleTest]) -> ast.Module:
    """Put the statements of every test into `with __single_test__(number):`. The tree is changed.

    Test functions stay as they are: whoever calls them records them.
    """
    numbers = dict[int, int]()
    for number, test in enumerate(tests):
        if not test.function:
            for statement in test.statements:
                numbers[id(statement)] = number
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == CHECK:
            function.body = _recorded(function.body, numbers)
    tree.body = _recorded(tree.body, numbers)
    return ast.fix_missing_locations(tree)


def _listed_tests(body: Sequence[ast.stmt], starts: Sequence[int]) -> list[SingleTest]:
    tests = [SingleTest([]) for _ in starts]
    for statement in body:
        number = bisect_right(starts, statement.lineno) - 1
        # The statements before the first test are the setup of all tests.
        if number >= 0:
            tests[number].statements.append(statement)
    return tests


def _tests_in(body: Sequence[ast.stmt], asserting: set[str]) -> list[SingleTest]:
    tests = list[SingleTest]()
    preparation = list[ast.stmt]()
    for statement in body:
        if isinstance(statement, DEFINITIONS) or _is_text(statement):
            # `from __future__` and docstrings must stay where they are, and the other definitions
            # may be used by later tests.
            preparation = []
            continue
        preparation.append(statement)
        if not _is_test(statement, asserting):
            continue
        if tests and tests[-1].contains(preparation[0].lineno):
            tests[-1].statements.extend(preparation)
        else:
            tests.append(SingleTest(preparation))
        preparation = []
    return tests


def _recorded(body: Sequence[ast.stmt], numbers: dict[int, int]) -> list[ast.stmt]:
    recorded = list[ast.stmt]()
    blocks = dict[int, ast.With]()
    for statement in body:
        number = numbers.get(id(statement))
        if number is None:
            recorded.append(statement)
        elif number in blocks:
            blocks[number].body.append(statement)
        else:
            call = ast.Call(
                func=ast.Name(id=RECORD, ctx=ast.Load()),
                args=[ast.Constant(value=number)],
                keywords=[],
            )
            block = ast.With(items=[ast.withitem(context_expr=call)], body=[statement])
            blocks[number] = ast.copy_location(block, statement)
            recorded.append(block)
    return recorded


def _is_test(statement: ast.stmt, asserting: set[str]) -> bool:
    """Return whether a statement asserts something, or uses a function that does."""
    for node in _nodes_outside_functions(statement):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Name) and node.id in asserting:
            return True
    return False


def _nodes_outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    # A stack, because deeply nested code must not exceed the recursion limit.
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if not isinstance(current, FUNCTIONS):
            stack.extend(ast.iter_child_nodes(current))


def _asserts_in(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _last_line(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno
