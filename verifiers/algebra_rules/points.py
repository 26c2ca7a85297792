r"""Suspect what a step says about two points: their midpoint, their distance and their slope.

Examples: `the midpoint of (2, 4) and (2, -4) is (2, 0)`, `the slope of the line through (1, 2) and
(3, 8) is 3`, `the distance between (0, 0) and (3, 4) is 5`. If several forms of the result follow,
the first one is compared. What is false is a suspicion: words between the points and the result may
change what it is.

What is not covered: points in space, names of points without coordinates, rounded results.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.algebra_rules import values
from verifiers.math.dialects.algebra import parse, tokens
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.syntax import Call, Number, Tree, UndefinedError, has_decimals, names

POINTS = "two points"

# Layout that does not change the coordinates.
LAYOUT = re.compile(r"\\[()\[\]]|\$|\\[,;:!]|\\(?:left|right|[bB]ig[lr]?)(?![A-Za-z])")
COORDINATE = r"([^(),;=\n]{1,40})"
POINT = rf"\( ?{COORDINATE}, ?{COORDINATE}\)"
# `A(5, 3)`, `A = (5, 3)`.
NAME = r"(?:[A-Z] ?=? ?)?"
# What stands between the word and the points. Other words may name another line or another segment.
OF = (
    r"(?: (?:of|between|from|the|a|line|segment|side|diameter|hypotenuse|diagonal|that|which|passes"
    r"|passing|goes|going|joins|joining|connects|connecting|through|with|two|its|endpoints|points?"
    r"|[A-Z]{2})){1,8}"
)
# What precedes the word. In "half the distance" and "the vertical distance", it is another value.
BEFORE = (
    r"(?:^|(?<=[.,;:\n] )|(?<=\n))"
    r"(?:(?:[Ss]o|[Tt]hus|[Tt]hen|[Hh]ence|[Tt]herefore|[Nn]ow|[Ss]ince),? )?[Tt]he "
)
TWO_POINTS = rf"{OF} {NAME}{POINT} (?:and|to) {NAME}{POINT}"
IS = r",? ?(?:is|=|equals)(?: also| simply| just| then| at)? ?(?:the point )?"
MIDPOINT = re.compile(rf"{BEFORE}midpoint{TWO_POINTS}{IS}{NAME}{POINT}")
RESULT = r"([^,;\n]{1,60}?)(?= ?=|[,;\n]|\.(?!\d)|$| (?:and|so|which|units?)\b)"
NUMBER = re.compile(rf"{BEFORE}(distance|slope){TWO_POINTS}{IS}{RESULT}")


def points(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about two points, with the judgements."""
    if "midpoint" not in text and "distance" not in text and "slope" not in text:
        return
    plain = LAYOUT.sub("", text)
    for match in MIDPOINT.finditer(plain):
        coordinates = _coordinates(match.groups())
        if coordinates is not None:
            a, b, c, d, x, y = coordinates
            middle = ((a + c) / 2, (b + d) / 2)
            reason = f"it is ({middle[0]}, {middle[1]})"
            yield _judge(match, reason, holds=middle == (x, y))
    for match in NUMBER.finditer(plain):
        kind, *parts, result = match.groups()
        coordinates = _coordinates(parts)
        tree = parse(tokens(f"${result}$")[1:-1])
        if coordinates is None or tree is None or names(tree) or has_decimals(tree):
            continue
        expected = _expected(kind, coordinates)
        if expected is None:
            continue
        try:
            sign = values.order(tree, expected, {})
        except UndefinedError:
            continue
        if sign is not None:
            yield _judge(match, f"it is not the {kind}", holds=sign == 0)


def _coordinates(parts: Sequence[str]) -> Sequence[Fraction] | None:
    """Return the values of all parts, or None if one is no closed rational formula."""
    coordinates = list[Fraction]()
    for part in parts:
        tree = parse(tokens(f"${part}$")[1:-1])
        if tree is None or names(tree):
            return None
        try:
            value = values.evaluate(tree, {})
        except UndefinedError:
            return None
        if not isinstance(value, Fraction):
            return None
        coordinates.append(value)
    return coordinates


def _expected(kind: str, coordinates: Sequence[Fraction]) -> Tree | None:
    """Return the slope or the distance of two points; a vertical line has no slope."""
    a, b, c, d = coordinates
    if kind == "distance":
        return Call("root", (Number((c - a) ** 2 + (d - b) ** 2),))
    return None if a == c else Number((d - b) / (c - a))


def _judge(match: re.Match[str], reason: str, *, holds: bool) -> tuple[str, StepJudgement]:
    statement = " ".join(match[0].split())
    return statement, HOLDS if holds else false(POINTS, reason)
