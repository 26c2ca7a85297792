r"""MATH-APS: the prefixes that OmegaPRM tried, with Monte Carlo values, as a list or as a tree.

The dataset is published with openreasoner/openr (MIT). Two example rows, a list and a tree:

    {"question": "What is 5 * 7?", "final_answer": "35", "question_id": 7, "reasoning_steps": [
      {"solution_prefix": "What is 5 * 7?", "mc_value": 0.75},
      {"solution_prefix": "What is 5 * 7?\n\nThe answer is 35.", "mc_value": 1.0}]}
    {"question": "What is 5 * 8?", "final_answer": "40", "question_id": 8, "reasoning_steps":
      {"text": "What is 5 * 8?", "mc_value": 0.5, "children": [
        {"text": "The answer is 40.", "mc_value": 1.0, "children": []}]}}

A row yields one trace per leaf of its tree. In a list, the parent of a prefix is the longest other
prefix that it continues after a blank line; the text is that of the model. In a tree, the blank
lines between nodes are missing and are inserted again. A step is the text that a node adds, often
several lines.

`mc_value` is the share of correct rollouts. It becomes the soft value of an annotation of method
`math_aps`: incorrect at 0, correct above (the hard label of Math-Shepherd). The number of rollouts
is not published; the values are multiples of 1/32, and no count is derived from that. A state with
several estimates has their mean. The value of the question itself is stored in the metadata of the
problem; the white space before the steps of a list is stored in the metadata of the trace, as JSON
(`gaps`).

A row with a node that cannot be read is rejected as a whole, because it is not known which traces
pass through that node.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from problems.solution_formats.base import ImportedSolution, list_at, metadata_at, problem_of
from problems.tabular.columns import (
    MAX_CHARACTERS,
    UnusableError,
    text_of,
    value_at,
)
from problems.tabular.readers import Row
from problems.tabular.references import reference_at
from stepmark.records import Problem, StepAnnotation, Verdict
from stepmark.steps import append_separator

__all__ = ["MathAps"]

METHOD = "math_aps"
TREE = "reasoning_steps"
BLANK_LINE = "\n\n"
# Of all traces of a row together: paths share their beginnings, so a row of 16 MB could expand to
# terabytes.
MAX_ROW_CHARACTERS = 64 * MAX_CHARACTERS
_NO_ESTIMATE = StepAnnotation()


@dataclass(slots=True, kw_only=True)
class _Node:
    """The text that a node adds to its parent, and the mean of its estimates."""

    text: str
    parent: "_Node | None"
    length: int
    """Characters from the root to the end of this node, with blank lines."""
    children: "dict[str, _Node]" = field(default_factory=dict)
    """The children by their text."""
    total: float = 0.0
    estimates: int = 0
    annotation: StepAnnotation = _NO_ESTIMATE

    def child(self, text: str) -> "_Node":
        """Return the child that adds this text, created if it does not exist."""
        if text not in self.children:
            length = self.length + len(text) + len(BLANK_LINE)
            self.children[text] = _Node(text=text, parent=self, length=length)
        return self.children[text]

    def add_estimates(self, values: Sequence[float]) -> None:
        """Add estimates and update the annotation to the mean of all of them."""
        self.total += sum(values)
        self.estimates += len(values)
        if not self.estimates:
            return
        # Rounding errors of the sum can exceed 1.
        value = min(1.0, self.total / self.estimates)
        verdict = Verdict.INCORRECT
        if value > 0:
            verdict = Verdict.CORRECT
        self.annotation = StepAnnotation(verdict=verdict, value=value)


@dataclass(frozen=True, kw_only=True)
class MathAps:
    """One trace per leaf, annotated as `math_aps`."""

    version: ClassVar[int] = 2
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("question",), (TREE,))

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the traces of the tree in a row, from the first leaf to the last.

        Raises:
            UnusableError: A node cannot be read, or the traces are too long together.
        """
        question = text_of(value_at(row.value, "question"), "question")
        is_tree = isinstance(value_at(row.value, TREE), Mapping)
        root = _root(row, question)
        answer = reference_at(row.value, "final_answer")
        problem = _problem(question, answer, root)
        metadata = metadata_at(row.value, "question_id")
        for leaf in _checked_leaves(root):
            if leaf.length > MAX_CHARACTERS:
                yield UnusableError(TREE, f"a trace longer than {MAX_CHARACTERS:,} characters")
            else:
                yield _solution(leaf, problem, metadata, is_tree=is_tree)


def _problem(question: str, answer: str | None, root: _Node) -> Problem:
    value = root.annotation.value
    if value is None:
        return problem_of(question, answer)
    return problem_of(question, answer, mc_value=repr(value))


def _solution(
    leaf: _Node, problem: Problem, metadata: Mapping[str, str], *, is_tree: bool
) -> ImportedSolution:
    nodes = _path(leaf)
    texts = [node.text for node in nodes]
    if is_tree:
        steps, separator = append_separator(texts)
    else:
        steps = _with_gaps_at_end(texts)
        separator = None
        metadata = {**metadata, "gaps": json.dumps([_leading_space(text) for text in texts])}
    return ImportedSolution(
        problem=problem,
        column=TREE,
        steps=steps,
        separator=separator,
        annotations={METHOD: tuple(node.annotation for node in nodes)},
        metadata=metadata,
    )


def _root(row: Row, question: str) -> _Node:
    tree = value_at(row.value, TREE)
    if isinstance(tree, Mapping):
        return _root_of_tree(tree, question)
    return _root_of_list(list_at(row.value, TREE), question)


def _root_of_list(entries: Sequence[Any], question: str) -> _Node:
    """Return the root of the tree of prefixes."""
    estimates: dict[str, list[float]] = {}
    for index, entry in enumerate(entries):
        path = f"{TREE}.{index}.solution_prefix"
        prefix = text_of(value_at(entry, "solution_prefix"), path)
        if not prefix.startswith(question):
            raise UnusableError(path, "does not begin with the question")
        text = prefix.removeprefix(question)
        estimates.setdefault(text, []).extend(_estimates(entry, f"{TREE}.{index}."))
    root = _Node(text="", parent=None, length=0)
    # Sorted, a text comes after its own prefixes, and its continuations after a blank line come
    # before its other continuations. So a stack of the current ancestors suffices.
    ancestors: list[tuple[str, _Node]] = [("", root)]
    for text in sorted(estimates):
        while len(ancestors) > 1 and not text.startswith(ancestors[-1][0] + BLANK_LINE):
            ancestors.pop()
        parent_text, parent = ancestors[-1]
        added = text.removeprefix(parent_text)
        node = parent
        # White space alone does not make a step; its estimates belong to the parent.
        if added.strip():
            node = parent.child(added)
        node.add_estimates(estimates[text])
        ancestors.append((text, node))
    return root


def _root_of_tree(tree: Mapping[str, Any], question: str) -> _Node:
    """Return the root of a published tree, in which siblings with equal texts are merged."""
    if value_at(tree, "text") != question:
        raise UnusableError(f"{TREE}.text", "not the question")
    root = _Node(text="", parent=None, length=0)
    # A stack instead of recursion: the depth of a tree is not limited.
    pending: list[tuple[Any, _Node | None, int]] = [(tree, None, 0)]
    while pending:
        entry, parent, depth = pending.pop()
        path = f"{TREE} at depth {depth}: "
        node = root
        if parent is not None:
            node = parent.child(text_of(value_at(entry, "text"), f"{path}text"))
        node.add_estimates(_estimates(entry, path))
        children: Sequence[Any] = ()
        if value_at(entry, "children") is not None:
            children = list_at(entry, "children")
        # Reversed, so that the first child is popped first.
        pending.extend((child, node, depth + 1) for child in reversed(children))
    return root


def _estimates(entry: object, path: str) -> list[float]:
    """Return the estimate of a node as a list, which is empty without one."""
    value = value_at(entry, "mc_value")
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnusableError(f"{path}mc_value", "not a share between 0 and 1")
    return [float(value)]


def _leaves(root: _Node) -> Iterator[_Node]:
    """Yield the leaves from the first to the last; a root without children does not count."""
    pending = list(reversed(root.children.values()))
    while pending:
        node = pending.pop()
        if not node.children:
            yield node
        pending.extend(reversed(node.children.values()))


def _checked_leaves(root: _Node) -> Sequence[_Node]:
    leaves = list(_leaves(root))
    if not leaves:
        raise UnusableError(TREE, "no step after the question")
    if sum(leaf.length for leaf in leaves) > MAX_ROW_CHARACTERS:
        raise UnusableError(TREE, f"its traces have more than {MAX_ROW_CHARACTERS:,} characters")
    return leaves


def _path(leaf: _Node) -> list[_Node]:
    """Return the nodes from the first step to the leaf, without the root."""
    nodes: list[_Node] = []
    node: _Node | None = leaf
    while node is not None and node.parent is not None:
        nodes.append(node)
        node = node.parent
    nodes.reverse()
    return nodes


def _with_gaps_at_end(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts with the white space between two of them moved to the end of the first.

    The white space before the first text is dropped.
    """
    steps: list[str] = []
    for text, following in zip(texts, [*texts[1:], ""], strict=True):
        steps.append(text.lstrip() + _leading_space(following))
    return tuple(steps)


def _leading_space(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]
