"""MATH-APS: the prefixes that OmegaPRM tried for a problem and their Monte Carlo values, as a list or as a tree (openreasoner/openr, MIT).

A row is as many traces as its tree has leaves. In a list, a prefix lies below the longest other one that it goes on from after a blank
line; the text is the model's own. A tree has lost the blank lines between its nodes, which are put back. A step is what a node adds,
often several lines.

`mc_value` is the share of right rollouts: the soft value of an annotation of method `math_aps`, incorrect at 0 and correct above (the
hard label of Math-Shepherd). How many rollouts there were is not published: the values seen are multiples of 1/32, and no count is made
up from that. One state that was estimated twice has the mean. The question's own value is kept in the problem's metadata, the white space
before the steps of a list in the trace's, as JSON (`gaps`).
A row with a node that cannot be read is set aside whole, since the traces through it could not be told.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from problems.solution_formats.base import Solution, list_at, noted, problem_of
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, at, number_or_text_at, text_of
from problems.tabular.readers import Row
from stepmark.records import StepAnnotation, Verdict
from stepmark.steps import joinable

__all__ = ["MathAps"]

METHOD = "math_aps"
TREE = "reasoning_steps"
UNSAID = StepAnnotation()
BLANK_LINE = "\n\n"
# Of all traces of a row together: paths share their beginnings, so a row of 16 MB could name terabytes.
MAX_ROW_CHARACTERS = 64 * MAX_CHARACTERS


@dataclass(slots=True, kw_only=True)
class _Node:
    """What one node adds to its parent, and every estimate that was made of it."""

    text: str
    above: "_Node | None"
    length: int
    below: "dict[str, _Node]" = field(default_factory=dict)
    total: float = 0.0
    estimates: int = 0
    said: StepAnnotation = UNSAID

    def child(self, text: str) -> "_Node":
        """The node below that adds this text."""
        if text not in self.below:
            self.below[text] = _Node(
                text=text, above=self, length=self.length + len(text) + len(BLANK_LINE)
            )
        return self.below[text]

    def add(self, values: Sequence[float]) -> None:
        """Take more estimates in; what is said of the node is their mean."""
        self.total, self.estimates = self.total + sum(values), self.estimates + len(values)
        if self.estimates:
            value = min(1.0, self.total / self.estimates)
            self.said = StepAnnotation(
                verdict=Verdict.CORRECT if value > 0 else Verdict.INCORRECT, value=value
            )


@dataclass(frozen=True, kw_only=True)
class MathAps:
    """One trace a leaf, annotated as `math_aps`."""

    version: ClassVar[int] = 2
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("question",), (TREE,))

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The traces of the row's tree, from the first leaf to the last."""
        question = text_of(at(row.value, "question"), "question")
        is_tree = isinstance(at(row.value, TREE), Mapping)
        root = (
            _of_tree(at(row.value, TREE), question)
            if is_tree
            else _of_list(list_at(row.value, TREE), question)
        )
        answer, value = number_or_text_at(row.value, "final_answer"), root.said.value
        problem = problem_of(
            question, answer, **({} if value is None else {"mc_value": repr(value)})
        )
        note = noted(row.value, "question_id")
        for leaf in _bounded(_leaves(root)):
            if leaf.length > MAX_CHARACTERS:
                yield UnusableError(TREE, f"a trace longer than {MAX_CHARACTERS:,} characters")
                continue
            nodes = _path(leaf)
            texts = [node.text for node in nodes]
            steps, separator = joinable(texts) if is_tree else (_recut(texts), None)
            gaps = {} if is_tree else {"gaps": json.dumps(list(map(_gap, texts)))}
            said = {METHOD: tuple(node.said for node in nodes)}
            yield Solution(
                problem=problem,
                column=TREE,
                steps=steps,
                separator=separator,
                annotations=said,
                metadata={**note, **gaps},
            )


def _of_list(given: Sequence[Any], question: str) -> _Node:
    root = _Node(text="", above=None, length=0)
    values: dict[str, list[float]] = {}
    for index, entry in enumerate(given):
        path = f"{TREE}.{index}.solution_prefix"
        prefix = text_of(at(entry, "solution_prefix"), path)
        if not prefix.startswith(question):
            raise UnusableError(path, "does not begin with the question")
        values.setdefault(prefix.removeprefix(question), []).extend(
            _value(entry, f"{TREE}.{index}.")
        )
    # In this order a text stands behind its own beginnings, and those that go on after a blank line stand first.
    line: list[tuple[str, _Node]] = [("", root)]
    for text in sorted(values):
        while len(line) > 1 and not text.startswith(line[-1][0] + BLANK_LINE):
            line.pop()
        before, above = line[-1]
        added = text.removeprefix(before)
        node = above.child(added) if added.strip() else above
        node.add(values[text])
        line.append((text, node))
    return root


def _of_tree(given: Mapping[str, Any], question: str) -> _Node:
    if at(given, "text") != question:
        raise UnusableError(f"{TREE}.text", "not the question")
    root = _Node(text="", above=None, length=0)
    todo: list[tuple[Any, _Node | None, int]] = [(given, None, 0)]
    while todo:
        raw, above, depth = todo.pop()
        path = f"{TREE} at depth {depth}: "
        node = root if above is None else above.child(text_of(at(raw, "text"), f"{path}text"))
        node.add(_value(raw, path))
        children = () if at(raw, "children") is None else list_at(raw, "children")
        todo.extend((child, node, depth + 1) for child in reversed(children))
    return root


def _value(entry: object, path: str) -> list[float]:
    value = at(entry, "mc_value")
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnusableError(f"{path}mc_value", "not a share between 0 and 1")
    return [float(value)]


def _leaves(root: _Node) -> Iterator[_Node]:
    todo = list(reversed(root.below.values()))
    while todo:
        node = todo.pop()
        if not node.below:
            yield node
        todo.extend(reversed(node.below.values()))


def _bounded(leaves: Iterator[_Node]) -> Sequence[_Node]:
    found = list(leaves)
    if not found:
        raise UnusableError(TREE, "no step behind the question")
    if sum(leaf.length for leaf in found) > MAX_ROW_CHARACTERS:
        raise UnusableError(TREE, f"its traces have more than {MAX_ROW_CHARACTERS:,} characters")
    return found


def _path(leaf: _Node) -> list[_Node]:
    nodes: list[_Node] = []
    node: _Node | None = leaf
    while node is not None and node.above is not None:
        nodes.append(node)
        node = node.above
    return nodes[::-1]


def _recut(texts: Sequence[str]) -> tuple[str, ...]:
    """The same text with the white space between two steps at the end of the first; what stands before the first step is left out."""
    gaps = map(_gap, [*texts[1:], ""])
    return tuple(text.lstrip() + gap for text, gap in zip(texts, gaps, strict=True))


def _gap(text: str) -> str:
    """The white space that a text begins with."""
    return text[: len(text) - len(text.lstrip())]
