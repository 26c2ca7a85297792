r"""Find the statements that a text makes about formulas: chains such as `a = b ≤ c`.

A chain continues over delimiters and line ends next to a relation (`&= …`). A side that is not
understood is a side without a tree.

What is not covered: relations in words ("is equal to", "is less than").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from verifiers.math.dialects.algebra import parse, tokens
from verifiers.math.lexer import LETTER_TIMES, Kind, Token, written
from verifiers.math.lexicon import MATHEMATICAL, PASSAGE, PROSE
from verifiers.math.syntax import Name, Tree

BREAKS = (Kind.WORD, Kind.STOP, Kind.ROW, Kind.DELIMITER, Kind.ARROW)
LAYOUT = (Kind.ROW, Kind.DELIMITER)
DISPLAYED = ("\\[", "\\]", "$$")
# A formula continues over at most this many delimiters and line ends in a row.
MAX_LAYOUT = 6
MAX_UNIT_WORDS = 5
# A longer word in capitals is prose, a shorter one the name of points: `ABCD`.
MAX_POINT_NAME = 4
# A step is read again for each step after it, as one of the previous steps.
CACHED_TEXTS = 64
# How many words after a chain are kept.
WORDS_AFTER = 4
# Words next to a formula that may belong to it.
REACHING = MATHEMATICAL - {"if", "whether", "over", "not", "by"}
REACHING |= {"degrees", "percent", "equation", "pi", "π", "\\pi"}
# The degree of a root: `⁴√16`.
REACHING |= set("⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a relation.

    `parsed` is the tree of its text, or None if that is not understood. `tree` is the same, but
    None also if words next to the side may belong to it.
    """

    text: str
    tree: Tree | None
    parsed: Tree | None


@dataclass(frozen=True, slots=True)
class Link:
    """Link `index`, counted from 0, of a chain; `before` contains the words before the chain."""

    left: Side
    relation: str
    right: Side
    index: int
    before: tuple[str, ...]
    reads_letter_as_times: bool = False
    """Whether the letter x between numbers is read as times."""

    @property
    def text(self) -> str:
        """The link as readable text."""
        return f"{self.left.text} {self.relation} {self.right.text}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Sides and the relations between them.

    `before` contains the words, arrows and stops since the previous chain, and `after` the first
    few after this one.
    """

    sides: tuple[Side, ...]
    relations: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    reads_letter_as_times: bool = False

    @property
    def text(self) -> str:
        """The chain as readable text."""
        links = [f"{link.relation} {link.right.text}" for link in self.links()]
        return " ".join([self.sides[0].text, *links])

    def links(self) -> Iterator[Link]:
        """Yield the links from left to right."""
        for index, relation in enumerate(self.relations):
            yield Link(
                left=self.sides[index],
                relation=relation,
                right=self.sides[index + 1],
                index=index,
                before=self.before,
                reads_letter_as_times=self.reads_letter_as_times,
            )


@lru_cache(maxsize=CACHED_TEXTS)
def chains(text: str) -> Sequence[Chain]:
    """Return all chains of at least two sides, in text order."""
    all_tokens = tokens(text)
    sequence = list[Token]()
    for index, token in enumerate(all_tokens):
        if token.kind not in LAYOUT or not _is_inside_formula(all_tokens, index):
            sequence.append(token)
    chains = list[Chain]()
    last = 0
    for start, end in _clauses(sequence):
        if any(token.kind is Kind.RELATION for token in sequence[start:end]):
            chains.append(_chain(sequence, start, end, last))
            last = end
    return tuple(chains)


def _is_inside_formula(sequence: Sequence[Token], index: int) -> bool:
    """Return whether a layout token is part of a formula that continues over it.

    It is if a relation or an operator is next to its run of layout tokens.
    """
    before = index - 1
    after = index + 1
    while before >= max(0, index - MAX_LAYOUT) and sequence[before].kind in LAYOUT:
        before -= 1
    while after < min(len(sequence), index + MAX_LAYOUT) and sequence[after].kind in LAYOUT:
        after += 1
    if before < 0:
        return False
    if after < len(sequence) and sequence[after].kind is Kind.RELATION:
        return True
    if after < len(sequence) and sequence[after].kind is Kind.OPERATOR:
        # At the start of a row or a displayed formula, `-` may be a sign.
        is_displayed = False
        layout = sequence[before + 1 : after]
        for token in layout:
            is_displayed = is_displayed or token.kind is Kind.ROW or token.text in DISPLAYED
        # One formula ends and another one begins: `\(x = 1\) \(-x = -1\)`.
        if sum(token.kind is Kind.DELIMITER for token in layout) > 1:
            is_displayed = True
        if sequence[after].text in "+*/" or (sequence[after].text in "^-" and not is_displayed):
            return True
    token = sequence[before]
    return token.kind in (Kind.RELATION, Kind.OPERATOR) and token.text != "!"


def _clauses(sequence: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of every run of tokens without a break."""
    start = 0
    for index, token in enumerate(sequence):
        if token.kind in BREAKS:
            if index > start:
                yield start, index
            start = index + 1
    if len(sequence) > start:
        yield start, len(sequence)


def _chain(sequence: Sequence[Token], start: int, end: int, last: int) -> Chain:
    """Return the chain of a clause; the previous chain ends at `last`."""
    content = sequence[start:end]
    cuts = [index for index, token in enumerate(content) if token.kind is Kind.RELATION]
    sides = list[Side]()
    for before, after in pairwise([-1, *cuts, len(content)]):
        piece = content[before + 1 : after]
        tree = parse(piece)
        sides.append(Side(written(piece), tree, tree))
    name_length = 0
    if cuts[0] == 0:
        sides[0], name_length = _name_in_words(sequence[last:start])
    elif _is_cut(sequence, start):
        sides[0] = replace(sides[0], tree=None, parsed=None)
    elif _may_belong(sequence, start - 1, -1):
        sides[0] = replace(sides[0], tree=None)
    if _is_continued(sequence, end):
        sides[-1] = replace(sides[-1], tree=None)
    return Chain(
        sides=tuple(sides),
        relations=tuple([content[cut].text for cut in cuts]),
        before=_words(sequence[last : start - name_length]),
        after=_words(sequence[end : end + WORDS_AFTER]),
        reads_letter_as_times=any(token.text == LETTER_TIMES for token in content),
    )


def _name_in_words(before: Sequence[Token]) -> tuple[Side, int]:
    """Return the words before a relation as a side, such as those of `Total cost = …`.

    Returns:
        The side and the number of its tokens. If the words are not the start of a clause, the side
        has no tree, and the number is 0.
    """
    end = len(before)
    while end > 0 and before[end - 1].kind in LAYOUT:
        end -= 1
    start = end
    while start > 0 and before[start - 1].kind is Kind.WORD:
        start -= 1
    words = " ".join([token.text for token in before[start:end]])
    if words and (start == 0 or before[start - 1].kind in (Kind.STOP, *LAYOUT)):
        return Side(words, Name(f"“{words.lower()}”"), None), len(before) - start
    return Side(words, None, None), 0


def _is_cut(sequence: Sequence[Token], start: int) -> bool:
    """Return whether the first signs of a clause belong to the word before it: `AB - 3C`."""
    if start == 0:
        return False
    before = sequence[start - 1]
    token = sequence[start]
    if before.kind is not Kind.WORD:
        return False
    if token.kind is Kind.OPERATOR:
        is_sign = not token.glued and start + 1 < len(sequence) and sequence[start + 1].glued
        return not is_sign
    # A function that is not known: `arcsec (2)`.
    if token.kind is Kind.OPEN:
        return token.glued or before.text.lower() not in PROSE | PASSAGE
    return False


def _is_continued(sequence: Sequence[Token], end: int) -> bool:
    """Return whether the text after a chain may belong to its last side."""
    if _may_belong(sequence, end, 1):
        return True
    # `x = 1, 2` lists values.
    following = sequence[end : end + 2]
    if len(following) == 2 and following[0].text == "," and following[1].kind is Kind.NUMBER:
        return True
    # `= 3 hours + 20` continues after the unit.
    index = end
    while index < min(len(sequence), end + MAX_UNIT_WORDS) and sequence[index].kind is Kind.WORD:
        index += 1
    return end < index < len(sequence) and sequence[index].kind is Kind.OPERATOR


def _may_belong(sequence: Sequence[Token], index: int, step: int) -> bool:
    """Return whether a word next to a formula may belong to it.

    It is the first token from `index` on that is not layout, in the direction of `step`.
    """
    while 0 <= index < len(sequence) and sequence[index].kind in LAYOUT:
        index += step
    if not 0 <= index < len(sequence) or sequence[index].kind is not Kind.WORD:
        return False
    word = sequence[index].text
    is_segment = word.isupper() and 1 < len(word) <= MAX_POINT_NAME
    return is_segment or word.lower() in REACHING


def _words(tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple([token.text.lower() for token in tokens if token.kind not in LAYOUT])
