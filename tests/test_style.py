"""Rules of style that ruff does not check, for the whole source tree; see docs/development.md."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "stepmark",
    "problems",
    "engines",
    "verifiers",
    "annotators",
    "filters",
    "storage",
    "viewer",
    "pipelines",
    "pocket",
    "benchmarks",
    "examples",
    "tests",
)
# Folders that do not follow the rules yet.
NOT_CONVERTED: tuple[str, ...] = ()
# Numerical code may use comprehensions with several `for`, which read like sums over indices.
NUMERICAL = ("annotators/first_error/",)
# A docstring of a function begins with an imperative verb, so with none of these words.
NOT_VERBS = (
    "A All An And Any As At Both But By Each Either Every For From He How I If In Is It Its No None"
    " Of On One Only Or Other Same Some Such That The Their There These They This Those To Two"
    " Under We What When Where Whether Which Who Whose Why With Without"
)
MAX_TEST_NAME_WORDS = 6
# Public methods of named tuples whose names begin with an underscore.
NAMED_TUPLE_METHODS = frozenset({"_asdict", "_fields", "_make", "_replace"})


class Source(NamedTuple):
    """A source file: its path relative to the root and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """Return the top-level package of the file."""
        return self.path.partition("/")[0]


Violations = Iterator[tuple[int, str]]
"""The line and the description of each violation of a rule in a file."""


def nested_ternaries(source: Source) -> Violations:
    """Find ternaries that are an operand of another ternary."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.IfExp):
            operands = (node.test, node.body, node.orelse)
            if any(isinstance(operand, ast.IfExp) for operand in operands):
                yield node.lineno, "nested ternary; use if statements"


def lists_times_conditions(source: Source) -> Violations:
    """Find sequences that are multiplied by a condition, such as `[x] * (a > b)`."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            continue
        for operand, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(operand, ast.List | ast.Tuple) and is_condition(other):
                yield node.lineno, "a list times a condition; use an if statement"


def is_condition(node: ast.expr) -> bool:
    """Check that an expression is a comparison, `and`, `or`, `not`, `bool()` or `isinstance()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"bool", "isinstance"}
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare | ast.BoolOp)


def multiple_for_comprehensions(source: Source) -> Violations:
    """Find comprehensions with several `for` outside numerical modules."""
    if source.path.startswith(NUMERICAL):
        return
    kinds = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    for node in ast.walk(source.tree):
        if isinstance(node, kinds) and len(node.generators) > 1:
            yield node.lineno, "comprehension with several `for`; use loops"


def tuple_assignments(source: Source) -> Violations:
    """Find assignments of a tuple literal to a tuple of targets that are not a swap."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and not is_swap(target, node.value):
                yield node.lineno, "assignment of several values; use one line for each"


def is_swap(target: ast.Tuple, value: ast.Tuple) -> bool:
    """Check that the values are the targets in another order."""
    targets = sorted(ast.unparse(element) for element in target.elts)
    values = sorted(ast.unparse(element) for element in value.elts)
    return targets == values


def docstrings_without_verb(source: Source) -> Violations:
    """Find docstrings of functions whose first word is not an imperative verb.

    Docstrings of tests are exempt: they state the behaviour that the test holds.
    """
    if source.folder == "tests":
        return
    not_verbs = NOT_VERBS.split()
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None or is_property(node):
            continue
        first_word = docstring.split(maxsplit=1)[0].rstrip(".,;:")
        is_capitalized_word = first_word.isalpha() and first_word.istitle()
        if not is_capitalized_word or first_word in not_verbs:
            yield node.lineno, f"docstring of {node.name} begins with {first_word!r}, not a verb"


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Check that a function is a property, which may be documented like an attribute."""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    return not decorators.isdisjoint({"property", "cached_property"})


def private_imports(source: Source) -> Violations:
    """Find imports of private names or modules of another package, and of tests."""
    for lineno, name in imported_names(source.tree):
        parts = name.split(".")
        if parts[0] not in FOLDERS or parts[0] == source.folder:
            continue
        if parts[0] == "tests":
            yield lineno, f"import of {name} outside tests"
        elif any(is_private(part) for part in parts):
            yield lineno, f"import of private name {name}"


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_private(name: str) -> bool:
    """Check that a name begins with an underscore and is not a dunder name."""
    return name.startswith("_") and not name.endswith("__")


def private_attributes(source: Source) -> Violations:
    """Find accesses of benchmarks to private attributes of other objects."""
    if source.folder != "benchmarks":
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        if not is_own and node.attr not in NAMED_TUPLE_METHODS:
            yield node.lineno, f"access to private attribute {node.attr}"


def long_test_names(source: Source) -> Violations:
    """Find test functions with more than `MAX_TEST_NAME_WORDS` words after `test_`."""
    if source.folder != "tests":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            prefix, _, words = node.name.partition("_")
            if prefix == "test" and len(words.split("_")) > MAX_TEST_NAME_WORDS:
                yield node.lineno, f"{node.name} has more than {MAX_TEST_NAME_WORDS} words"


RULES = (
    nested_ternaries,
    lists_times_conditions,
    multiple_for_comprehensions,
    tuple_assignments,
    docstrings_without_verb,
    private_imports,
    private_attributes,
    long_test_names,
)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Parse all source files of the converted folders."""
    parsed = []
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            if not path.startswith(NOT_CONVERTED):
                parsed.append(Source(path, ast.parse(file.read_text(encoding="utf-8"))))
    return parsed


@pytest.mark.parametrize("rule", RULES)
def test_sources_follow_rule(rule: Callable[[Source], Violations], sources: list[Source]) -> None:
    violations = []
    for source in sources:
        for lineno, description in rule(source):
            violations.append(f"{source.path}:{lineno}: {description}")
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(
    ("rule", "path", "code", "count"),
    [
        (nested_ternaries, "storage/x.py", "a if b else c if d else e", 1),
        (nested_ternaries, "storage/x.py", "f(a if b else c)", 0),
        (lists_times_conditions, "storage/x.py", "[1] * (a > b)", 1),
        (lists_times_conditions, "storage/x.py", "(not a) * (1, 2)", 1),
        (lists_times_conditions, "storage/x.py", "[1] * count", 0),
        (multiple_for_comprehensions, "storage/x.py", "[x for y in z for x in y]", 1),
        (multiple_for_comprehensions, "storage/x.py", "[x for x in z]", 0),
        (multiple_for_comprehensions, f"{NUMERICAL[0]}x.py", "[x for y in z for x in y]", 0),
        (tuple_assignments, "storage/x.py", "a, b = 1, 2", 1),
        (tuple_assignments, "storage/x.py", "a[0], b = b, a[0]", 0),
        (tuple_assignments, "storage/x.py", "a, b = pair", 0),
        (docstrings_without_verb, "storage/x.py", 'def f():\n    """The name."""', 1),
        (docstrings_without_verb, "storage/x.py", 'def f():\n    """`x` of y."""', 1),
        (docstrings_without_verb, "storage/x.py", 'def f():\n    """Return it."""', 0),
        (docstrings_without_verb, "storage/x.py", 'class C:\n    """The name."""', 0),
        (
            docstrings_without_verb,
            "storage/x.py",
            '@property\ndef f(self):\n    """The name."""',
            0,
        ),
        (private_imports, "storage/x.py", "from filters import _tokens", 1),
        (private_imports, "tests/x.py", "from filters._tokens import words", 1),
        (private_imports, "tests/x.py", "import filters._tokens", 1),
        (private_imports, "benchmarks/x.py", "from tests.samples import fill", 1),
        (private_imports, "filters/x.py", "from filters._tokens import words", 0),
        (private_imports, "tests/x.py", "from pipelines.__main__ import main", 0),
        (private_attributes, "benchmarks/x.py", "engine._running()", 1),
        (private_attributes, "benchmarks/x.py", "self._running()", 0),
        (private_attributes, "benchmarks/x.py", "pair._replace(a=1)", 0),
        (private_attributes, "tests/x.py", "engine._running()", 0),
        (long_test_names, "tests/x.py", "def test_a_b_c_d_e_f_g(): ...", 1),
        (long_test_names, "tests/x.py", "def test_a_b_c_d_e_f(): ...", 0),
    ],
)
def test_rules_find_violations(
    rule: Callable[[Source], Violations], path: str, code: str, count: int
) -> None:
    assert len(list(rule(Source(path, ast.parse(code))))) == count
