"""The texts of messages that the tests expect, from `match=` and comparisons with output."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.golden.rows import Golden

__all__ = ["golden_sets"]

TESTS = Path(__file__).parents[1]
OUTPUTS = ("err", "out", "reason", "message", "str(", "rationale", "told", "log", "text", ".value")
"""Parts of an expression whose value is a message."""


def golden_sets() -> Mapping[str, Golden]:
    """Return the sorted texts, independent of the test and of the file that they stand in."""
    texts = set[str]()
    for file in sorted(TESTS.rglob("*.py")):
        if file.parent.name != "golden":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                texts.update(_texts(node))
            for statement in tree.body:
                texts.update(_of_table(statement))
    messages = sorted(text for text in texts if " " in text.strip())  # a single word is a value
    return {"error_messages": Golden(texts=[{"message": text} for text in messages])}


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg == "match":
        yield from _strings(node.value)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.Eq, ast.NotIn)):
        sides = (node.left, node.comparators[0])
        for side, other in (sides, sides[::-1]):
            if any(part in ast.unparse(other) for part in OUTPUTS):
                yield from _strings(side)


def _of_table(statement: ast.stmt) -> Iterator[str]:
    """Yield the last text of each tuple in a table of cases, which is the expected message."""
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Dict):
        for case in value.values:
            if isinstance(case, ast.Tuple):
                yield from _strings(case.elts[-1])


def _strings(node: ast.expr) -> Iterator[str]:
    """Yield a text, the literal parts of a formatted one, and the texts of a list."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _strings(part)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        for element in node.elts:
            yield from _strings(element)
    if isinstance(node, ast.BinOp):
        yield from _strings(node.left)
        yield from _strings(node.right)
    if isinstance(node, ast.Call):
        for argument in node.args:
            yield from _strings(argument)
