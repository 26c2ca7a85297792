"""The equations that a text states, found link by link: in `a = b = c` the links are `a = b` and `b = c`.

A side is the longest closed expression that touches the equals sign. A side that is a mere name (`Total = …`, `x = …`) makes a
definition, which is no equation. A side that mixes numbers with what is not understood makes an equation without a reading.
`doubt` says why a reading may be wrong. A wrong reading hardly ever comes out true, so a doubt weighs against "false" only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from verifiers._expressions import MAX_TOKENS, Literal, Node, bare, parse
from verifiers._lexicon import ABOUT, LEADING, MATHEMATICAL, REFUTING
from verifiers._tokens import Kind, Token, tokens, written

__all__ = ["Equation", "equations"]

ANNOTATION = re.compile(r"<<([^<>\n]*)>>")
LINE_ENDS = ("\n", "\\\\")
BOUNDARIES = (Kind.STOP, Kind.DELIMITER)
NUMERIC = (Kind.NUMBER, Kind.FRACTION, Kind.ROOT)
DISPLAYED = ("\\[", "\\]", "$$")
OPERANDS = (Kind.NUMBER, Kind.FRACTION, Kind.ROOT, Kind.OPEN, Kind.CLOSE, Kind.PERCENT, Kind.CURRENCY)
OPERATIVE = (Kind.OPERATOR, Kind.FRACTION, Kind.ROOT, Kind.PERCENT)
MAX_SIGNS = 1_000
"""Equals signs of a text that are looked at. A step has a few; an endless row of them would take seconds."""
NEAR = 4
"""A number this few tokens beside an expression may belong to it."""


@dataclass(frozen=True, slots=True)
class Equation:
    """`sides` is None when it is not understood, and a doubt may say why.

    `runs_on` when another equals sign follows its right side directly.
    """

    text: str
    sides: tuple[Node, Node] | None
    approximate: bool
    runs_on: bool
    doubt: str


@dataclass(frozen=True, slots=True)
class _Side:
    tokens: Sequence[Token]
    node: Node | None
    doubt: str = ""
    is_name: bool = False
    about: bool = False


def equations(text: str) -> Iterator[Equation]:
    """All equations in the order of the text, those inside GSM8K's calculator annotations `<<a=b>>` last."""
    yield from _in_plain(ANNOTATION.sub("", text))
    for annotation in ANNOTATION.findall(text):
        yield from _in_plain(annotation)


def _in_plain(text: str) -> Iterator[Equation]:
    relations, segments = list[Token](), list[list[Token]]([[]])
    for token in _undelimited(tokens(text)):
        if token.kind is Kind.RELATION:
            relations.append(token)
            segments.append([])
        else:
            segments[-1].append(token)
    if len(relations) > MAX_SIGNS:
        yield Equation(f"{len(relations):,} equals signs", None, False, False, f"more than {MAX_SIGNS:,} are not looked at")
        return
    for index, (relation, (before, after)) in enumerate(zip(relations, pairwise(segments), strict=True)):
        left = (_whole(before) if index else None) or _tail(before, first=index == 0)
        whole = _whole(after)
        right = whole or _head(after)
        if not (left.is_name or right.is_name):
            yield _equation(left, relation, right, runs_on=whole is not None and index + 2 < len(segments))


def _undelimited(sequence: Sequence[Token]) -> Iterator[Token]:
    r"""Without the delimiters beside an operator, over which an expression goes on: `4 × $\frac{9}{4}$`."""
    for at, token in enumerate(sequence):
        if token.kind is not Kind.DELIMITER or token.text in DISPLAYED or not _goes_on(sequence, at):
            yield token


def _goes_on(sequence: Sequence[Token], at: int) -> bool:
    if not 0 < at < len(sequence) - 1:
        return False
    before, after = sequence[at - 1], sequence[at + 1]
    return (before.kind is Kind.OPERATOR and after.kind in OPERANDS) or (after.kind is Kind.OPERATOR and before.kind in OPERANDS)


def _equation(left: _Side, relation: Token, right: _Side, *, runs_on: bool) -> Equation:
    sides = None if left.node is None or right.node is None else (left.node, right.node)
    return Equation(
        text=" ".join((written(left.tokens), relation.text, written(right.tokens))),
        sides=sides,
        approximate=relation.text not in ("=", "==") or right.about,
        runs_on=runs_on,
        doubt=left.doubt or right.doubt,
    )


def _whole(segment: Sequence[Token]) -> _Side | None:
    """All that stands between two equals signs, when it is one expression."""
    inner = _stripped(segment)
    read = parse(inner)
    return _Side(inner, read[0]) if read is not None and read[1] == len(inner) else None


def _tail(segment: Sequence[Token], *, first: bool) -> _Side:
    """The longest expression that a segment ends with."""
    inner = _stripped(segment)
    cut = next((i for i in range(len(inner), 0, -1) if inner[i - 1].kind in BOUNDARIES), 0)
    clause, outside = inner[cut:], inner[:cut]
    for start in range(max(0, len(clause) - MAX_TOKENS), len(clause)):
        if _may_start(clause, start):
            read = parse(clause[start:])
            if read is not None and read[1] == len(clause) - start:
                return _tail_side(read[0], clause[start:], clause[:start], outside, first=first)
    return _Side(clause, None, is_name=_is_name(clause))


def _tail_side(node: Node, expression: Sequence[Token], words: Sequence[Token], outside: Sequence[Token], *, first: bool) -> _Side:
    if words and bare(node) is not None:
        return _Side(expression, node, doubt="a number after a word may be a name", is_name=_has_unit(node))
    if not words and _belongs(outside):
        return _Side(expression, None)
    return _Side(expression, node, doubt=_doubt_before(words, outside, first=first))


def _head(segment: Sequence[Token]) -> _Side:
    """The longest expression that a segment begins with."""
    inner = _stripped(segment)
    cut = next((i for i, token in enumerate(inner) if token.kind in BOUNDARIES), len(inner))
    clause, outside = inner[:cut], inner[cut:]
    start = 0
    while start < len(clause) and clause[start].text.lower() in LEADING:
        start += 1
    about = any(token.text.lower() in ABOUT for token in clause[:start])
    read = parse(clause[start:])
    if read is None:
        return _Side(clause, None, is_name=_is_name(clause))
    end = start + read[1]
    if end < len(clause) and not _may_follow(clause, end):
        return _Side(clause, None)
    return _Side(clause[start:end], read[0], doubt=_doubt_after(clause[:end], clause[end:], outside), about=about)


def _stripped(segment: Sequence[Token]) -> Sequence[Token]:
    """Without the math delimiters and line ends that touch an equals sign."""
    start, end = 0, len(segment)
    while start < end and _is_layout(segment[start]):
        start += 1
    while start < end and _is_layout(segment[end - 1]):
        end -= 1
    return segment[start:end]


def _is_layout(token: Token) -> bool:
    return token.kind is Kind.DELIMITER or token.text in LINE_ENDS


def _may_start(clause: Sequence[Token], at: int) -> bool:
    """Whether what stands before position `at` is prose, or nothing."""
    before = clause[at - 1] if at else None
    if clause[at].kind is Kind.OPERATOR:
        return clause[at].text == "-" and (before is None or (not clause[at].glued and at + 1 < len(clause) and clause[at + 1].glued))
    if before is not None and clause[at].glued and clause[at].kind is Kind.OPEN:
        return False
    if before is not None and before.kind is Kind.OPEN:
        return at == 1 or (clause[at - 2].kind is Kind.WORD and not before.glued)
    return before is None or _is_prose(before)


def _is_prose(token: Token) -> bool:
    """A word that an expression may follow, be it with a doubt: no name, no variable, nothing that denies."""
    word = token.text.lower()
    return word not in REFUTING and (token.kind is Kind.WORD or word in MATHEMATICAL)


def _may_follow(clause: Sequence[Token], end: int) -> bool:
    """Whether what follows an expression leaves it whole."""
    token = clause[end]
    if token.kind in (Kind.WORD, Kind.CLOSE):
        return True
    if token.kind is Kind.OPEN:
        return not token.glued
    return token.kind is Kind.OTHER and clause[end - 1].kind is Kind.WORD


def _belongs(outside: Sequence[Token]) -> bool:
    """Whether an operator, or mathematics in words, reaches over the delimiter or line end before an expression."""
    reaching = _stripped(outside)
    return len(reaching) < len(outside) and bool(reaching) and reaching[-1].kind in (Kind.OPERATOR, Kind.OTHER, Kind.CLOSE)


def _doubt_before(words: Sequence[Token], outside: Sequence[Token], *, first: bool) -> str:
    if any(token.text.lower() in REFUTING for token in words):
        return "it may be supposed or denied"
    if words and words[-1].text.lower() in MATHEMATICAL:
        return f"'{words[-1].text}' may belong to it"
    if any(token.kind in NUMERIC for token in words[-NEAR:]):
        return "a number stands before it"
    if first and not words and len(outside) > 1 and outside[-1].text not in ":.\n" and outside[-2].kind in NUMERIC:
        return "a number stands before it"
    return ""


def _doubt_after(expression: Sequence[Token], rest: Sequence[Token], outside: Sequence[Token]) -> str:
    if any(token.kind in NUMERIC for token in rest[:NEAR]):
        return "a number stands after it"
    has_unit = expression[-1].kind is Kind.WORD
    if not rest and has_unit and len(outside) > 1 and outside[0].text == "," and outside[1].kind in NUMERIC:
        return "a number stands after it"
    return ""


def _is_name(clause: Sequence[Token]) -> bool:
    """Words or symbols without arithmetic; a leading word makes `Cost of 3 apples` one too."""
    if not any(token.kind in NUMERIC for token in clause):
        return True
    return clause[0].kind is Kind.WORD and not any(token.kind in OPERATIVE for token in clause)


def _has_unit(node: Node) -> bool:
    return isinstance(node, Literal) and bool(node.unit)
