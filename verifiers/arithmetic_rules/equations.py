"""Find the equations of a text link by link: `a = b = c` contains `a = b` and `b = c`.

A side is the longest closed expression that touches the equals sign. A side that is only a name
(`Total = …`, `x = …`) makes the equation a definition, which is skipped. A side that contains both
numbers and something that is not understood gives an equation without trees.

An equation may have a doubt: the reason why its reading may be wrong. A wrong reading is hardly
ever true by accident, so that a doubt only prevents the verdict "incorrect".
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verifiers.math.dialects.arithmetic import MAX_TOKENS, parse, tokens
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
# A number within this many tokens of an expression may belong to it.
NEAR = 4


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation as read.

    `sides` is None if a side is not understood. `is_approximate` is set by "≈" and words such as
    "about". `continues` means that another equals sign follows the right side directly.
    """

    text: str
    sides: tuple[Tree, Tree] | None
    is_approximate: bool
    continues: bool
    doubt: str


@dataclass(frozen=True, slots=True)
class _Side:
    tokens: Sequence[Token]
    tree: Tree | None
    doubt: str = ""
    is_name: bool = False
    is_approximate: bool = False


def equations(text: str) -> Iterator[Equation]:
    """Yield all equations in text order, those in GSM8K's annotations `<<a=b>>` last."""
    yield from _equations_of(CALCULATOR_ANNOTATION.sub("", text))
    for annotation in CALCULATOR_ANNOTATION.findall(text):
        yield from _equations_of(annotation)


def _equations_of(text: str) -> Iterator[Equation]:
    relations = list[Token]()
    segments: list[list[Token]] = [[]]
    for token in _without_inner_delimiters(tokens(text)):
        if token.kind is Kind.RELATION:
            relations.append(token)
            segments.append([])
        else:
            segments[-1].append(token)
    if len(relations) > MAX_RELATIONS:
        count = f"{len(relations):,} equals signs"
        doubt = f"more than {MAX_RELATIONS:,} are not checked"
        yield Equation(count, None, is_approximate=False, continues=False, doubt=doubt)
        return
    for index, relation in enumerate(relations):
        before = segments[index]
        after = segments[index + 1]
        left = None
        if index > 0:
            left = _complete_side(before)
        left = left or _last_expression(before, is_first=index == 0)
        complete = _complete_side(after)
        continues = complete is not None and index + 1 < len(relations)
        right = complete or _first_expression(after)
        if not (left.is_name or right.is_name):
            sides = None
            if left.tree is not None and right.tree is not None:
                sides = (left.tree, right.tree)
            yield Equation(
                text=f"{written(left.tokens)} {relation.text} {written(right.tokens)}",
                sides=sides,
                is_approximate=relation.text not in ("=", "==") or right.is_approximate,
                continues=continues,
                doubt=left.doubt or right.doubt,
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
        doubt = "a number after a word may be a name"
        return _Side(expression, tree, doubt, is_name=has_unit)
    # Mathematics may continue over the delimiter or line end before an expression.
    reaching = _without_layout(outside)
    is_cut = not words and 0 < len(reaching) < len(outside)
    if is_cut and reaching[-1].kind in (Kind.OPERATOR, Kind.OTHER, Kind.CLOSE):
        return _Side(expression, None)
    return _Side(expression, tree, _doubt_before(words, outside, is_first=is_first))


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
    while start < len(clause) and clause[start].text.lower() in LEADING:
        is_approximate = is_approximate or clause[start].text.lower() in ABOUT
        start += 1
    parsed = parse(clause[start:])
    if parsed is None:
        return _Side(clause, None, is_name=_is_name(clause))
    tree, length = parsed
    end = start + length
    if end < len(clause) and not _may_follow(clause, end):
        return _Side(clause, None)
    doubt = _doubt_after(clause[:end], clause[end:], outside)
    return _Side(clause[start:end], tree, doubt, is_approximate=is_approximate)


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


def _doubt_before(words: Sequence[Token], outside: Sequence[Token], *, is_first: bool) -> str:
    for token in words:
        if token.text.lower() in REFUTING:
            return "it may be supposed or denied"
    if words and words[-1].text.lower() in MATHEMATICAL:
        return f"'{words[-1].text}' may belong to it"
    if _has_number(words[-NEAR:]):
        return "a number precedes it"
    if is_first and not words and len(outside) > 1:
        number, stop = outside[-2:]
        if stop.text not in ":.\n" and number.kind in NUMERIC:
            return "a number precedes it"
    return ""


def _doubt_after(
    expression: Sequence[Token], rest: Sequence[Token], outside: Sequence[Token]
) -> str:
    if _has_number(rest[:NEAR]):
        return "a number follows it"
    # After a unit, the comma may separate two parts of one amount: `= 3 hours, 20 minutes`.
    ends_with_unit = not rest and expression[-1].kind is Kind.WORD
    if ends_with_unit and len(outside) > 1:
        comma, number = outside[:2]
        if comma.text == "," and number.kind in NUMERIC:
            return "a number follows it"
    return ""


def _has_number(sequence: Sequence[Token]) -> bool:
    return any(token.kind in NUMERIC for token in sequence)


def _is_name(clause: Sequence[Token]) -> bool:
    """Return whether a side has no arithmetic; it may be `Cost of 3 apples`, with a number."""
    if not _has_number(clause):
        return True
    has_operation = any(token.kind in OPERATIVE for token in clause)
    return clause[0].kind is Kind.WORD and not has_operation
