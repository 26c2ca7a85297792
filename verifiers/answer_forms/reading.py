r"""Read an answer into its form.

Text with two readings has no form: `(1,234)`, `12:30`, `1, 2, …`, `\approx`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from verifiers.answer_forms import forms
from verifiers.answer_forms.forms import Form
from verifiers.answer_forms.formulas import compare
from verifiers.answer_forms.inequalities import (
    INEQUALITIES,
    combined_sets,
    read_inequality,
    read_unequal,
)
from verifiers.answer_forms.quantities import read_quantity
from verifiers.answer_forms.sequences import (
    CLOSING,
    Tokens,
    contains,
    cut,
    is_group,
    outside_brackets,
    split,
    with_depths,
)
from verifiers.math import lexicon
from verifiers.math.dialects.answers import parse, tokens
from verifiers.math.lexer import Kind, Token
from verifiers.math.syntax import Combined, Number, UnreadError, names

MAX_CHARS = 1_000
MAX_NESTING = 3
MAX_WORDS = 12
SIGNS = ("\\pm", "\\mp")
SEPARATORS = (",", ";", "and", "or")
RELATIONS = ("=", "<", ">", "\\le", "\\ge", "\\ne")
RELATIONS_AND_MEMBERSHIP = frozenset([*RELATIONS, "\\in"])
OPTION = re.compile(
    r"(?i:option|choice)?\s*(?:\(\s*([A-J])\s*\)"
    # `C Cecile` is an option with its text; `A cat` and `I see` may be words.
    r"|([A-J])(?:\s*[.):](?=\s|$)|(?<![AI])\s(?=[A-Z][a-z]))|([A-J])$)\s*(.*)",
    re.DOTALL,
)
WORDS = re.compile(r"[A-Za-z][A-Za-z'’-]*(?: +[A-Za-z'’-]+)*")
# Words of fewer than three letters that are answers; other short words are names.
SHORT_WORDS = ("no", "am", "pm")
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox)\s*\{([^{}\\]*)\}")
# Around the letters of options.
FONT = re.compile(r"\\(?:rm|bf|left|right)(?![A-Za-z]) ?")
SYMBOLS = {
    "\\emptyset": "empty set",
    "\\varnothing": "empty set",
    "∅": "empty set",
    "\\{\\}": "empty set",
    "\\mathbb{R}": "all real numbers",
}
INFINITIES = ("\\infty", "+\\infty", "-\\infty")
SHAPES = {Kind.NAME: "N", Kind.WORD: "T", Kind.NUMBER: "D"}
# The shapes of the tokens of a name: `x`, `x_1`, `f(x, y)`, `(x, y)`, `AB`, `Area`, `angle A`.
NAMED = re.compile(
    r"\(N(?:,N)+\)|(?:T*N(?:_(?:[DN]|\{[DN,]*\}))?|T+)(?:\([DN](?:,[DN])*\))?|\|[NT]+\|"
)


def form_of(text: str) -> Form:
    """Return the form of an answer without delimiters around it. Raises UnreadError."""
    if len(text) > MAX_CHARS:
        raise UnreadError("too long")
    plain = TEXT.sub(r" \1 ", text).strip()
    if plain.startswith(("~", "≈")):
        raise UnreadError("an approximation")
    option = OPTION.fullmatch(FONT.sub("", plain).strip())
    if option is not None:
        return _option(option)
    words = SYMBOLS.get(plain.replace(" ", ""), plain)
    if WORDS.fullmatch(words) and (len(words) > 2 or words.lower() in SHORT_WORDS):
        return _words(words)
    return _form(tokens(text), 0)


def _words(text: str) -> Form:
    words = text.split()
    if len(words) > MAX_WORDS:
        raise UnreadError("a sentence")
    sequence = tokens(text)
    if any(token.kind is Kind.COMMAND for token in sequence):
        return _form(sequence, 0)
    if text.lower() in lexicon.NUMBER_WORDS:
        number = lexicon.NUMBER_WORDS.index(text.lower())
        return forms.Quantity(Number(Fraction(number)), str(number))
    return forms.Words(" ".join(words))


def _option(match: re.Match[str]) -> forms.Option:
    bracketed, dotted, bare, content = match.groups()
    if not content:
        return forms.Option(bracketed or dotted or bare)
    if not bracketed and not dotted:
        raise UnreadError("not an option")
    return forms.Option(bracketed or dotted, form_of(content))


def _form(sequence: Tokens, depth: int) -> Form:
    if depth > MAX_NESTING:
        raise UnreadError("too deep")
    if not sequence:
        raise UnreadError("empty")
    alternatives = split(sequence, ("or",))[0]
    if len(alternatives) > 1 and contains(sequence, RELATIONS):
        form = _alternatives(alternatives, depth)
        if form is not None:
            return form
    parts, separators = split(sequence, SEPARATORS)
    if separators:
        return _several(parts, separators, depth)
    if any(token.text in SIGNS for token in sequence):
        return _plus_minus(sequence)
    return _single(sequence, depth)


def _alternatives(parts: Sequence[Tokens], depth: int) -> Form | None:
    """Read `x < 1 or x > 3` and `x = 1, y = 2 or x = 3, y = 4`; None for other lists."""
    items = [_form(part, depth + 1) for part in parts]
    if all(isinstance(item, forms.Assignments) for item in items):
        return forms.Several(tuple(items), is_set=False, ordered=False)
    return combined_sets(items, ["or"])


def _several(parts: Sequence[Tokens], separators: Sequence[str], depth: int) -> Form:
    is_unordered = "or" in separators
    name, start = _name_before(parts[0], ("=", "\\in"))
    if name and not any(contains(part, ("=",)) for part in parts[1:]):
        items = [_form(part, depth + 1) for part in (parts[0][start:], *parts[1:])]
        return forms.Assigned(name, _list_of(items, is_unordered))
    items = [_form(part, depth + 1) for part in parts]
    combined = combined_sets(items, separators)
    if combined is not None:
        return combined
    assigned = [form for form in items if isinstance(form, forms.Assigned)]
    if len(assigned) == len(items):
        assigned.sort(key=lambda form: form.name)
        variables = tuple([form.name for form in assigned])
        values = tuple([form.form for form in assigned])
        if len(set(variables)) == len(items):
            return forms.Assignments(values, variables)
        if len(set(variables)) == 1:
            return forms.Assigned(variables[0], _list_of(values, is_unordered=True))
    unlisted = forms.Assigned | forms.Words | forms.Option | forms.Equation
    if any(isinstance(form, unlisted) for form in items):
        raise UnreadError("a list of different kinds")
    return _list_of(items, is_unordered)


def _list_of(parts: Sequence[Form], is_unordered: bool) -> forms.Several:
    """Return a list in which inner lists, such as `2 ± 1`, are expanded."""
    items = list[Form]()
    for form in parts:
        if isinstance(form, forms.Several) and not form.is_set:
            items += form.items
            is_unordered = True
        else:
            items.append(form)
    return forms.Several(tuple(items), is_set=False, ordered=not is_unordered)


def _plus_minus(sequence: Tokens) -> Form:
    """Read `a ± b` as two values."""
    name, start = _name_before(sequence, ("=",))
    body = sequence[start:]
    with_depths(body)
    if contains(body, RELATIONS):
        raise UnreadError("an ambiguous sign in an equation")
    values = list[Form]()
    for signs in ({"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"}):
        tokens = list[Token]()
        for token in body:
            if token.text in signs:
                token = Token(Kind.OPERATOR, signs[token.text])
            tokens.append(token)
        values.append(read_quantity(tokens))
    several = forms.Several(tuple(values), is_set=False, ordered=False)
    if name:
        return forms.Assigned(name, several)
    return several


def _single(sequence: Tokens, depth: int) -> Form:
    outer = [token.text for token in outside_brackets(sequence)]
    if RELATIONS_AND_MEMBERSHIP.isdisjoint(outer):
        return _unrelated(sequence, outer, depth)
    if "=" in outer:
        return _equated(sequence, depth)
    if not INEQUALITIES.keys().isdisjoint(outer):
        return read_inequality(sequence)
    if "\\ne" in outer:
        return read_unequal(sequence)
    name, start = _name_before(sequence, ("\\in",))
    if not name:
        raise UnreadError("a membership")
    return forms.Assigned(name, _interval(sequence[start:], depth))


def _unrelated(sequence: Tokens, outer: Sequence[str], depth: int) -> Form:
    """Read an answer without a relation."""
    if is_group(sequence) and contains(sequence, RELATIONS):
        return _form(sequence[1:-1], depth + 1)
    if "\\cup" in outer:
        pieces = cut(sequence, ("\\cup",))
        return forms.Union(tuple([_interval(piece, depth) for piece in pieces]))
    if sequence[0].text == "\\begin":
        if sequence[2:3] and sequence[2].text == "cases":
            return _cases(sequence, depth)
        return _matrix(sequence, depth)
    text = "".join([token.text for token in sequence])
    if text in INFINITIES:
        return forms.Infinite(positive=text != "-\\infty")
    return _bracketed(sequence, depth) or read_quantity(sequence)


def _name_before(sequence: Tokens, relations: Sequence[str]) -> tuple[str, int]:
    """Return the name before the only relation, and the position behind the relation.

    Names are `x`, `f(x)`, `AB`, `Area` and the like. Without one, the result is ("", 0).
    """
    end = 0
    while end < len(sequence):
        token = sequence[end]
        if token.text in relations and token.kind is not Kind.WORD:
            break
        end += 1
    shape = "".join([SHAPES.get(token.kind, token.text[:1]) for token in sequence[:end]])
    if end == len(sequence) or not NAMED.fullmatch(shape):
        return "", 0
    if contains(sequence[end + 1 :], relations):
        return "", 0
    name = "".join([token.text for token in sequence[:end]])
    # `x_{1}` is `x_1`.
    return name.replace("{", "").replace("}", ""), end + 1


def _equated(sequence: Tokens, depth: int) -> Form:
    """Read `x = 5`, `2 + 3 = 5` or an equation."""
    sides = cut(sequence, ("=",))
    # `5 = x` assigns as well.
    ends_with_name = len(sides) == 2 and [token.kind for token in sides[1]] == [Kind.NAME]
    if ends_with_name and not any(token.kind in (Kind.NAME, Kind.WORD) for token in sides[0]):
        sides = sides[::-1]
    equals = Token(Kind.RELATION, "=")
    name, _ = _name_before([*sides[0], equals, *sides[-1]], ("=",))
    values = sides[1:] if name else sides
    form: Form | None
    if len(values) == 1:
        form = _form(values[0], depth + 1)
    else:
        form = _common_value(values)
    equation = _equation(sides)
    if form is not None:
        if name:
            return forms.Assigned(name, form, equation)
        return form
    if equation is None:
        raise UnreadError("an equation that is not understood")
    return equation


def _common_value(sides: Sequence[Tokens]) -> forms.Quantity | None:
    """Return the last of several closed sides that are equal; None if one has variables."""
    quantities = [read_quantity(side) for side in sides]
    if any(names(quantity.tree) for quantity in quantities):
        return None
    # `1 = 1` computes nothing.
    if isinstance(quantities[0].tree, Number):
        raise UnreadError("an identity")
    for left, right in pairwise(quantities):
        if compare(left.tree, right.tree, {}).equal is not True:
            raise UnreadError("an equation that does not hold")
    return quantities[-1]


def _equation(sides: Sequence[Tokens]) -> forms.Equation | None:
    """Return the equation of two sides; None for more, or if one is not understood."""
    if len(sides) != 2:
        return None
    try:
        (left, left_source), (right, right_source) = [parse(side) for side in sides]
    except UnreadError:
        return None
    return forms.Equation(Combined("-", left, right), f"{left_source} = {right_source}")


def _matrix(sequence: Tokens, depth: int) -> Form:
    head = [token.text for token in sequence[1:4]]
    tail = [token.text for token in sequence[-4:]]
    if tail != ["\\end", *head] or head[0] != "{" or head[1] not in lexicon.MATRICES:
        raise UnreadError("an environment")
    inner = sequence[4:-4]
    if inner and inner[-1].text == "\\\\":
        inner = inner[:-1]
    cells = list[Form]()
    lengths = set[int]()
    for row in cut(inner, ("\\\\",)):
        columns = [_form(cell, depth + 1) for cell in cut(row, ("&",))]
        lengths.add(len(columns))
        cells += columns
    if len(lengths) != 1:
        raise UnreadError("rows of different lengths")
    return forms.Matrix(tuple(cells), lengths.pop())


def _cases(sequence: Tokens, depth: int) -> Form:
    """Read the rows of `cases`: values with their conditions, or statements that hold together."""
    if [token.text for token in sequence[-4:]] != ["\\end", "{", "cases", "}"]:
        raise UnreadError("an environment")
    inner = sequence[4:-4]
    if inner and inner[-1].text == "\\\\":
        inner = inner[:-1]
    rows = [_cut_case(row) for row in cut(inner, ("\\\\",))]
    if all(len(row) == 1 for row in rows):
        return _statements([row[0] for row in rows], depth)
    cases = list[tuple[Form, Form]]()
    for row in rows:
        if len(row) != 2:
            raise UnreadError("cases that are not understood")
        cases.append((_form(row[0], depth + 1), _condition(row[1], depth)))
    return forms.Cases(tuple(cases))


def _cut_case(row: Tokens) -> Sequence[Tokens]:
    """Return the value and the condition of a row, or the whole row."""
    cells = [_without_comma(cell) for cell in cut(row, ("&",))]
    if len(cells) == 1:
        parts = cut(cells[0], (",",))
        if len(parts) == 2 and contains(parts[1], tuple(INEQUALITIES)):
            return parts
    return cells


def _without_comma(cell: Tokens) -> Tokens:
    if len(cell) > 1 and cell[-1].text in (",", ";"):
        return cell[:-1]
    return cell


def _statements(rows: Sequence[Tokens], depth: int) -> Form:
    """Read the values of several names, or the equations of a system."""
    items = [_form(row, depth + 1) for row in rows]
    if all(isinstance(item, forms.Assigned) for item in items):
        return _several(rows, [","], depth)
    return forms.Cases(tuple([(item, forms.Words("and")) for item in items]))


def _condition(cell: Tokens, depth: int) -> Form:
    if cell[0].kind is Kind.WORD and cell[0].text.lower() in ("if", "for", "when"):
        cell = cell[1:]
    if len(cell) == 1 and cell[0].kind is Kind.WORD:
        return forms.Words(cell[0].text.lower())
    return _form(cell, depth + 1)


def _bracketed(sequence: Tokens, depth: int) -> Form | None:
    r"""Read `(a, b)`, `[a, b)` or `\{a, b\}`; None if the brackets do not enclose a list."""
    opening = sequence[0].text
    closing = sequence[-1].text
    # `{1, 2}` is a set, too.
    is_set = opening in ("\\{", "{")
    if opening not in ("(", "[", "\\{", "{") or closing not in (")", "]", "\\}", "}"):
        return None
    if is_set is not (closing in ("\\}", "}")):
        return None
    for token, level in with_depths(sequence)[:-1]:
        if level < 1 or (level == 1 and token.text in CLOSING):
            return None
    inner = sequence[1:-1]
    parts = cut(inner, (",", ";")) if inner else ()
    if any(token.kind is Kind.NUMBER and "," in token.text for token in inner):
        raise UnreadError("an ambiguous comma")
    if not is_set and len(parts) < 2:
        return None
    items = tuple([_form(part, depth + 1) for part in parts])
    if is_set:
        return forms.Several(items, is_set=True, ordered=False)
    return forms.Bracketed(items, opening + closing)


def _interval(sequence: Tokens, depth: int) -> Form:
    form = _form(_without_grouping(sequence), depth + 1)
    if isinstance(form, forms.Bracketed):
        return replace(form, bounds=True)
    return form


def _without_grouping(sequence: Tokens) -> Tokens:
    """Return the two ends of `(12,102)`: an interval does not consist of one number."""
    tokens = list[Token]()
    for token in sequence:
        if token.kind is Kind.NUMBER and token.text.count(",") == 1:
            low, high = token.text.split(",")
            tokens += [Token(Kind.NUMBER, low), Token(Kind.STOP, ","), Token(Kind.NUMBER, high)]
        else:
            tokens.append(token)
    has_one_comma = sum(token.text == "," for token in tokens) == 1
    if has_one_comma:
        return tokens
    return sequence
