r"""The statements that a text makes about formulas: chains such as `a = b ≤ c`, in the order of the text.

A chain goes on over delimiters and line ends beside a relation (`&= …`), and a text that begins with a relation goes on with the chain
before it. A side that is not understood is a side without a tree. `before` is what stands between a chain and the chain before it.

What is not covered: relations in words ("is equal to", "is less than").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from verifiers._algebra.formulas import Name, Tree, parse
from verifiers._algebra.signs import Kind, Sign, signs, written
from verifiers.math.lexicon import MATHEMATICAL

__all__ = ["Chain", "Link", "Side", "chains"]

BREAKS = (Kind.WORD, Kind.STOP, Kind.ROW, Kind.DELIMITER, Kind.ARROW)
LAYOUT = (Kind.ROW, Kind.DELIMITER)
DISPLAYED = ("\\[", "\\]", "$$")
MAX_LAYOUT = 6
"""How many delimiters and line ends in a row a formula goes on over."""
MAX_UNIT_WORDS = 5
KEPT = 64
AFTER = 4
"""How many words after a chain are kept."""
REACHING = MATHEMATICAL - {"if", "whether", "over", "not", "by"} | {"degrees", "percent", "equation"}
"""Words that, next to a formula, may belong to it."""


@dataclass(frozen=True, slots=True)
class Side:
    """A side as written; its tree is None when it is not understood, or when words beside it may belong to it: then it is only `parsed`."""

    text: str
    tree: Tree | None
    parsed: Tree | None


@dataclass(frozen=True, slots=True)
class Link:
    """`left relation right`, the n-th link of its chain, counted from 0."""

    left: Side
    relation: str
    right: Side
    index: int

    @property
    def text(self) -> str:
        """As a person reads it."""
        return f"{self.left.text} {self.relation} {self.right.text}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Sides and the relations between them; `before` are the words, arrows and stops since the chain before, `after` the next few."""

    sides: tuple[Side, ...]
    relations: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a person reads it."""
        return " ".join([self.sides[0].text, *(f"{link.relation} {link.right.text}" for link in self.links())])

    def links(self) -> Iterator[Link]:
        """The links from left to right."""
        for index, (relation, (left, right)) in enumerate(zip(self.relations, pairwise(self.sides), strict=True)):
            yield Link(left, relation, right, index)


@dataclass(slots=True)
class _Clause:
    """Signs without a break, at a place of the text."""

    start: int
    end: int


@lru_cache(maxsize=KEPT)
def chains(text: str) -> Sequence[Chain]:
    """All chains of at least two sides; kept for a while, since a step is read again as what comes before the next."""
    joined = _joined(signs(text))
    found, last = list[Chain](), 0
    for clause in _clauses(joined):
        content = joined[clause.start : clause.end]
        if any(sign.kind is Kind.RELATION for sign in content):
            found.append(_chain(joined, clause, last))
            last = clause.end
    return tuple(found)


def _joined(sequence: Sequence[Sign]) -> Sequence[Sign]:
    """Without the delimiters and line ends beside a relation or an operator, over which a formula goes on."""
    kept = list[Sign]()
    for at, sign in enumerate(sequence):
        if sign.kind not in LAYOUT or not _goes_on(sequence, at):
            kept.append(sign)
    return kept


def _goes_on(sequence: Sequence[Sign], at: int) -> bool:
    before, after = at - 1, at + 1
    while before >= max(0, at - MAX_LAYOUT) and sequence[before].kind in LAYOUT:
        before -= 1
    while after < min(len(sequence), at + MAX_LAYOUT) and sequence[after].kind in LAYOUT:
        after += 1
    rows = any(sign.kind is Kind.ROW or sign.text in DISPLAYED for sign in sequence[before + 1 : after])
    if after < len(sequence) and (
        sequence[after].kind is Kind.RELATION or (sequence[after].kind is Kind.OPERATOR and _binary(sequence[after], rows))
    ):
        return before >= 0
    return before >= 0 and sequence[before].kind in (Kind.RELATION, Kind.OPERATOR) and sequence[before].text != "!"


def _binary(sign: Sign, rows: bool) -> bool:
    return sign.text in ("+*/" if rows else "+*/^-")


def _clauses(sequence: Sequence[Sign]) -> Iterator[_Clause]:
    start = 0
    for at, sign in enumerate(sequence):
        if sign.kind in BREAKS:
            if at > start:
                yield _Clause(start, at)
            start = at + 1
    if len(sequence) > start:
        yield _Clause(start, len(sequence))


def _chain(sequence: Sequence[Sign], clause: _Clause, last: int) -> Chain:
    content = sequence[clause.start : clause.end]
    cuts = [-1, *(at for at, sign in enumerate(content) if sign.kind is Kind.RELATION), len(content)]
    pieces = [content[start + 1 : end] for start, end in pairwise(cuts)]
    sides = [_side(piece) for piece in pieces]
    words = 0
    if not pieces[0]:
        sides[0], words = _named(sequence[last : clause.start])
    elif _reaches(_nearest(sequence, clause.start - 1, -1)):
        sides[0] = replace(sides[0], tree=None)
    if _reaches(_nearest(sequence, clause.end, 1)) or _listed(sequence, clause.end) or _resumes(sequence, clause.end):
        sides[-1] = replace(sides[-1], tree=None)
    return Chain(
        sides=tuple(sides),
        relations=tuple(content[cut].text for cut in cuts[1:-1]),
        before=_words(sequence[last : clause.start - words]),
        after=_words(sequence[clause.end : clause.end + AFTER]),
    )


def _side(piece: Sequence[Sign]) -> Side:
    tree = parse(piece)
    return Side(written(piece), tree, tree)


def _named(before: Sequence[Sign]) -> tuple[Side, int]:
    """The words since the last stop as a name, `Total cost`, and how many signs it takes; no tree and none when there is more to it."""
    end = len(before)
    while end and before[end - 1].kind in LAYOUT:
        end -= 1
    start = end
    while start and before[start - 1].kind is Kind.WORD:
        start -= 1
    words = " ".join(sign.text for sign in before[start:end])
    clean = bool(words) and (start == 0 or before[start - 1].kind in (Kind.STOP, *LAYOUT))
    return (Side(words, Name(f"“{words.lower()}”"), None), len(before) - start) if clean else (Side(words, None, None), 0)


def _nearest(sequence: Sequence[Sign], at: int, way: int) -> Sign | None:
    while 0 <= at < len(sequence) and sequence[at].kind in LAYOUT:
        at += way
    return sequence[at] if 0 <= at < len(sequence) else None


def _reaches(sign: Sign | None) -> bool:
    return sign is not None and sign.kind is Kind.WORD and sign.text.lower() in REACHING


def _listed(sequence: Sequence[Sign], at: int) -> bool:
    """Whether a comma and a number follow, as in `x = 1, 2`."""
    return at + 1 < len(sequence) and sequence[at].text == "," and sequence[at + 1].kind is Kind.NUMBER


def _resumes(sequence: Sequence[Sign], at: int) -> bool:
    """Whether an operator follows the words of a unit, as in `= 3 hours + 20`."""
    start = at
    while at < min(len(sequence), start + MAX_UNIT_WORDS) and sequence[at].kind is Kind.WORD:
        at += 1
    return start < at < len(sequence) and sequence[at].kind is Kind.OPERATOR


def _words(between: Sequence[Sign]) -> tuple[str, ...]:
    return tuple(sign.text.lower() for sign in between if sign.kind not in LAYOUT)
