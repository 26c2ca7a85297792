"""Find the equations of a text link by link: `a = b = c` contains `a = b` and `b = c`.

A side is the longest closed expression that touches the equals sign. A side that is only a name
(`Total = …`, `x = …`) makes the equation a definition, which is skipped. A side that contains both
numbers and something that is not understood gives an equation without trees.

The assumptions of an equation are the reasons why its reading may be wrong. A wrong reading is
hardly ever true by accident, so they matter only for an equation that is false.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from verifiers.math import lexer, lexicon
from verifiers.math.dialects.arithmetic import MAX_TOKENS, parse, tokens
from verifiers.math.doubts import NOT_TRIED
from verifiers.math.lexer import Kind, Token, written
from verifiers.math.lexicon import ABOUT, LEADING, MATHEMATICAL, REFUTING
from verifiers.math.syntax import Number, Tree, signed_number

CALCULATOR_ANNOTATION = re.compile(r"<<([^<>\n]*)>>")
BOUNDARIES = (Kind.STOP, Kind.ARROW, Kind.ROW, Kind.DELIMITER)
NUMERIC = (Kind.NUMBER, Kind.COMMAND)
DISPLAYED = ("\\[", "\\]", "$$")
OPERANDS = (*NUMERIC, Kind.OPEN, Kind.CLOSE, Kind.PERCENT, Kind.CURRENCY)
OPERATIVE = (Kind.OPERATOR, Kind.COMMAND, Kind.PERCENT)
# A step has a few equals signs; an endless row of them would take seconds.
MAX_RELATIONS = 1_000
QUOTES = ('"', "“", "”")
# A number within this many tokens of an expression may belong to it.
NEAR = 4

SUPPOSING = lexicon.words("if suppose assume assuming supposing")
SENTENCE_ENDS = frozenset([".", "?", "!", "\n"])

# The assumptions.
WORDS_BEFORE = "words precede it"
WORDS_AFTER = "words follow it"
UNDERSTOOD_WORD = "a word before it belongs to the sentence"
NOT_A_NAME = "a number after a word is no name"
NOT_DENIED = "it is not supposed or denied"
NUMBER_BEFORE = "a number before it does not belong to it"
NUMBER_AFTER = "a number after it does not belong to it"
BRACKET_AFTER_WORD = "a bracket after a word groups"
SQUARE_BRACKETS = "square brackets group"
BRACES = "braces group"
LETTER_MEANS_TIMES = "the letter x means times"
WORD_MEANS_TIMES = "the word times is an operator"
IMPLICIT_PRODUCT = "a number before a bracket multiplies"
UNITS = "units are skipped"
REMARKS = "a remark in brackets is skipped"
ANNOTATION = "an annotation is an equation"
QUOTATION = "an equation in quotation marks is claimed"
CARET = "a caret is a power"
STARTS_TEXT = "the equation does not start in the step before"


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation as read.

    `sides` is None if a side is not understood. `is_approximate` is set by "≈" and words such as
    "about". `continues` means that another equals sign follows the right side directly.
    `starts_text` means that nothing but layout precedes it. `opens_bracket` means that the right
    side begins with a bracket.
    """

    text: str
    sides: tuple[Tree, Tree] | None
    is_approximate: bool
    continues: bool
    assumptions: tuple[str, ...] = ()
    starts_text: bool = False
    opens_bracket: bool = False
    reason: str = "not closed arithmetic"
    """Why the equation has no sides."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A side of an equals sign as read; `tree` is None if it is not understood."""

    tokens: Sequence[Token]
    tree: Tree | None
    assumptions: tuple[str, ...] = ()
    is_name: bool = False
    """Whether the side names a value, so that the equation is a definition."""
    is_approximate: bool = False


def equations(text: str) -> Iterator[Equation]:
    """Yield all equations in text order, those in GSM8K's annotations `<<a=b>>` last."""
    yield from _equations_of(CALCULATOR_ANNOTATION.sub("", text))
    for annotation in CALCULATOR_ANNOTATION.findall(text):
        for equation in _equations_of(annotation):
            yield replace(equation, assumptions=(*equation.assumptions, ANNOTATION))


def _equations_of(text: str) -> Iterator[Equation]:
    relations = list[Token]()
    segments: list[list[Token]] = [[]]
    sequence = list(_without_inner_delimiters(tokens(text)))
    supposed = _supposed_relations(sequence)
    for token in sequence:
        if token.kind is Kind.RELATION:
            relations.append(token)
            segments.append([])
        else:
            segments[-1].append(token)
    if len(relations) > MAX_RELATIONS:
        count = f"{len(relations):,} equals signs"
        reason = f"more than {MAX_RELATIONS:,} are not checked"
        yield Equation(count, None, is_approximate=False, continues=False, reason=reason)
        return
    for index, relation in enumerate(relations):
        before = segments[index]
        after = segments[index + 1]
        left = None
        if index > 0:
            left = _complete_side(before)
        left = left or _last_expression(before, is_first=index == 0)
        complete = _complete_side(after)
        right = complete or _first_expression(after)
        if not (left.is_name or right.is_name):
            yield _equation(
                left,
                relation,
                right,
                continues=complete is not None and index + 1 < len(relations),
                starts_text=index == 0 and len(left.tokens) == len(_without_bullet(before)),
                is_supposed=index in supposed,
            )


def _supposed_relations(sequence: Sequence[Token]) -> Container[int]:
    """Return the numbers of the relations between "if" and "then" in one sentence."""
    supposed = set[int]()
    first: int | None = None
    count = 0
    for token in sequence:
        word = token.text.lower()
        if token.kind is Kind.RELATION:
            count += 1
        elif word in SUPPOSING:
            first = count
        elif word in SENTENCE_ENDS:
            first = None
        elif word == "then" and first is not None:
            supposed.update(range(first, count))
            first = None
    return supposed


def _equation(
    left: _Side,
    relation: Token,
    right: _Side,
    *,
    continues: bool,
    starts_text: bool,
    is_supposed: bool,
) -> Equation:
    sides: tuple[Tree, Tree] | None = None
    if left.tree is not None and right.tree is not None:
        sides = (left.tree, right.tree)
    assumptions = (
        *left.assumptions,
        *_assumptions_of_signs(left.tokens),
        *right.assumptions,
        *_assumptions_of_signs(right.tokens),
        *((NOT_DENIED,) if is_supposed else ()),
    )
    return Equation(
        text=f"{written(left.tokens)} {relation.text} {written(right.tokens)}",
        sides=sides,
        is_approximate=relation.text not in ("=", "==") or right.is_approximate,
        continues=continues,
        # Each assumption once, in the order of the text.
        assumptions=tuple(dict.fromkeys(assumptions)),
        opens_bracket=bool(right.tokens) and right.tokens[0].kind is Kind.OPEN,
        starts_text=starts_text,
    )


def _without_bullet(segment: Sequence[Token]) -> Sequence[Token]:
    """Return the segment without layout at its ends and without the bullet of a list item."""
    inner = _without_layout(segment)
    if inner and inner[0].text == "•":
        inner = inner[1:]
    return inner


def _assumptions_of_signs(expression: Sequence[Token]) -> Iterator[str]:
    """Yield the assumptions that reading the signs of an expression takes."""
    for index, token in enumerate(expression):
        before = expression[index - 1] if index > 0 else None
        if token.text == lexer.LETTER_TIMES:
            yield LETTER_MEANS_TIMES
        elif token.text == lexer.WORD_TIMES:
            yield WORD_MEANS_TIMES
        elif token.text == "^" and not token.glued and not expression[index + 1].glued:
            # In programs, `5 ^ 3` is another operation.
            yield CARET
        elif token.text == "[":
            yield SQUARE_BRACKETS
        elif token.text == "{" and not _is_argument(before):
            yield BRACES
        elif token.kind is Kind.WORD:
            yield UNITS
            if before is not None and before.kind is Kind.OPEN:
                yield REMARKS
        elif token.text == "(" and token.glued and before is not None and _multiplies(before):
            yield IMPLICIT_PRODUCT


def _multiplies(token: Token) -> bool:
    return token.kind in (Kind.NUMBER, Kind.CLOSE, Kind.PERCENT)


def _is_argument(before: Token | None) -> bool:
    """Return whether `{` behind a token encloses an argument or an exponent, or is only doubled."""
    return before is not None and (
        before.kind in (Kind.COMMAND, Kind.CLOSE, Kind.OPEN) or before.text == "^"
    )


def _without_inner_delimiters(sequence: Sequence[Token]) -> Iterator[Token]:
    r"""Skip delimiters next to an operator: `4 × $\frac{9}{4}$` is one expression."""
    last = len(sequence) - 1
    for index, token in enumerate(sequence):
        if token.kind is Kind.DELIMITER and token.text not in DISPLAYED and 0 < index < last:
            before = sequence[index - 1].kind
            after = sequence[index + 1].kind
            if before is Kind.OPERATOR and after in OPERANDS:
                continue
            if after is Kind.OPERATOR and before in OPERANDS:
                continue
        yield token


def _complete_side(segment: Sequence[Token]) -> _Side | None:
    """Return everything between two equals signs if it is one expression."""
    inner = _without_layout(segment)
    parsed = parse(inner)
    if parsed is None or parsed[1] < len(inner):
        return None
    return _Side(inner, parsed[0])


def _last_expression(segment: Sequence[Token], *, is_first: bool) -> _Side:
    """Return the longest expression at the end of a segment."""
    inner = _without_layout(segment)
    cut = len(inner)
    while cut > 0 and inner[cut - 1].kind not in BOUNDARIES:
        cut -= 1
    clause = inner[cut:]
    outside = inner[:cut]
    for start in range(max(0, len(clause) - MAX_TOKENS), len(clause)):
        if not _may_start(clause, start):
            continue
        expression = clause[start:]
        parsed = parse(expression)
        if parsed is not None and parsed[1] == len(expression):
            break
    else:
        return _Side(clause, None, is_name=_is_name(clause))
    tree = parsed[0]
    words = clause[:start]
    if words and signed_number(tree) is not None:
        has_unit = isinstance(tree, Number) and bool(tree.unit)
        return _Side(expression, tree, (NOT_A_NAME,), is_name=has_unit)
    # Mathematics may continue over the delimiter or line end before an expression.
    reaching = _without_layout(outside)
    is_cut = not words and 0 < len(reaching) < len(outside)
    if is_cut and reaching[-1].kind in (Kind.OPERATOR, Kind.OTHER, Kind.CLOSE):
        return _Side(expression, None)
    if words and words[-1].kind is Kind.WORD and expression[0].kind is Kind.OPEN:
        is_prose = words[-1].text.lower() in lexicon.PROSE | lexicon.CONCLUDING
        if expression[0].glued or not is_prose:
            return _Side(expression, tree, (BRACKET_AFTER_WORD,))
    return _Side(expression, tree, tuple(_assumptions_before(words, outside, is_first=is_first)))


def _first_expression(segment: Sequence[Token]) -> _Side:
    """Return the longest expression at the start of a segment."""
    inner = _without_layout(segment)
    cut = 0
    while cut < len(inner) and inner[cut].kind not in BOUNDARIES:
        cut += 1
    clause = inner[:cut]
    outside = inner[cut:]
    start = 0
    is_approximate = False
    while start < len(clause) and _is_leading(clause[start]):
        is_approximate = is_approximate or clause[start].text.lower() in ABOUT
        start += 1
    parsed = parse(clause[start:])
    if parsed is None:
        return _Side(clause, None, is_name=_is_name(clause))
    tree, length = parsed
    end = start + length
    if end < len(clause) and not _may_follow(clause, end):
        return _Side(clause, None)
    if end == len(clause) and _continues_behind_layout(outside):
        return _Side(clause, None)
    assumptions = tuple(_assumptions_after(clause[:end], clause[end:], outside))
    return _Side(clause[start:end], tree, assumptions, is_approximate=is_approximate)


def _is_leading(token: Token) -> bool:
    return token.kind is Kind.WORD and token.text.lower() in LEADING


def _continues_behind_layout(outside: Sequence[Token]) -> bool:
    r"""Return whether an operator follows the delimiters and line ends behind an expression."""
    following = _without_layout(outside)
    if not following or len(following) == len(outside):
        return False
    return following[0].kind in (Kind.OPERATOR, Kind.OTHER)


def _without_layout(segment: Sequence[Token]) -> Sequence[Token]:
    """Remove the delimiters and line ends that touch an equals sign."""
    start = 0
    end = len(segment)
    while start < end and _is_layout(segment[start]):
        start += 1
    while start < end and _is_layout(segment[end - 1]):
        end -= 1
    return segment[start:end]


def _is_layout(token: Token) -> bool:
    return token.kind in (Kind.DELIMITER, Kind.ROW) or token.text == "\n"


def _may_start(clause: Sequence[Token], start: int) -> bool:
    """Return whether only prose, or nothing, precedes the position `start`."""
    token = clause[start]
    before = clause[start - 1] if start > 0 else None
    if token.kind is Kind.OPERATOR:
        # A minus that touches only the following token is a sign and no subtraction.
        is_sign = not token.glued and start + 1 < len(clause) and clause[start + 1].glued
        return token.text == "-" and (before is None or is_sign)
    if before is None:
        return True
    if token.kind is Kind.OPEN and token.glued:
        return False
    if before.kind is Kind.OPEN:
        return start == 1 or (clause[start - 2].kind is Kind.WORD and not before.glued)
    # An expression may follow any word that does not deny it, perhaps with a doubt.
    word = before.text.lower()
    return word not in REFUTING and (before.kind is Kind.WORD or word in MATHEMATICAL)


def _may_follow(clause: Sequence[Token], end: int) -> bool:
    """Return whether the expression that ends at `end` is complete."""
    token = clause[end]
    if token.kind in (Kind.WORD, Kind.CLOSE):
        return True
    if token.kind is Kind.OPEN:
        return not token.glued
    return token.kind is Kind.OTHER and clause[end - 1].kind is Kind.WORD


def _assumptions_before(
    words: Sequence[Token], outside: Sequence[Token], *, is_first: bool
) -> Iterator[str]:
    if words:
        yield WORDS_BEFORE
        if any(token.text.lower() in REFUTING for token in words):
            yield NOT_DENIED
        if words[-1].text.lower() in MATHEMATICAL:
            yield UNDERSTOOD_WORD
    elif outside and outside[-1].text in QUOTES:
        yield QUOTATION
    has_number_before = _has_number(words[-NEAR:])
    if not words and len(outside) > 1:
        number, stop = outside[-2:]
        is_stop = stop.text == ":" or (is_first and stop.text not in ".\n")
        has_number_before = is_stop and number.kind in NUMERIC
    if has_number_before:
        yield NUMBER_BEFORE


def _assumptions_after(
    expression: Sequence[Token], rest: Sequence[Token], outside: Sequence[Token]
) -> Iterator[str]:
    if rest:
        yield WORDS_AFTER
    if any(token.text == "?" for token in (*rest, *outside[:1])):
        yield NOT_TRIED
    # After a unit, the comma may separate two parts of one amount: `= 3 hours, 20 minutes`.
    has_number_after = _has_number(rest[:NEAR])
    ends_with_unit = not rest and expression[-1].kind is Kind.WORD
    if ends_with_unit and len(outside) > 1:
        comma, number = outside[:2]
        has_number_after = comma.text == "," and number.kind in NUMERIC
    if has_number_after:
        yield NUMBER_AFTER


def _has_number(sequence: Sequence[Token]) -> bool:
    return any(token.kind in NUMERIC for token in sequence)


def _is_name(clause: Sequence[Token]) -> bool:
    """Return whether a side has no arithmetic; it may be `Cost of 3 apples`, with a number."""
    if not _has_number(clause):
        return True
    has_operation = any(token.kind in OPERATIVE for token in clause)
    return clause[0].kind is Kind.WORD and not has_operation
