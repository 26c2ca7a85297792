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
from verifiers.math import lexicon
from verifiers.math.dialects.answers import parse, tokens
from verifiers.math.lexer import Kind, Token
from verifiers.math.syntax import Combined, Number, UnreadError, names

MAX_CHARS = 1_000
MAX_NESTING = 3
MAX_WORDS = 12
OPENING = ("(", "[", "{", "\\{", "\\begin")
CLOSING = (")", "]", "}", "\\}", "\\end")
SIGNS = ("\\pm", "\\mp")
RELATIONS = ("=", "<", ">", "\\le", "\\ge")
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
# Whether the bound belongs to the interval, and whether the greater side is on the right.
INEQUALITIES = {
    "<": (False, True),
    "\\le": (True, True),
    ">": (False, False),
    "\\ge": (True, False),
}
INFINITIES = ("\\infty", "+\\infty", "-\\infty")
# Words behind a number that change its value, besides those of the lexicon.
VALUE_WORD = re.compile(
    r"tens|scores?|factorial|past|short|except|pct"
    r"|\w*(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|teen|tie|hundred|thousand|illion)ths?"
)
# Shorter words in capitals are names of points.
MIN_PROSE_CAPITALS = 5
UNIT_SIGNS = ("^", "{", "}", "/")
SHAPES = {Kind.NAME: "N", Kind.WORD: "T", Kind.NUMBER: "D"}
# The shapes of the tokens of a name: `x`, `x_1`, `f(x, y)`, `(x, y)`, `AB`, `Area`, `angle A`.
NAMED = re.compile(
    r"\(N(?:,N)+\)|(?:T*N(?:_(?:[DN]|\{[DN,]*\}))?|T+)(?:\([DN](?:,[DN])*\))?|\|[NT]+\|"
)

Tokens = Sequence[Token]


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
    parts, separators = _split(sequence)
    if separators:
        return _several(parts, is_unordered="or" in separators, depth=depth)
    if any(token.text in SIGNS for token in sequence):
        return _plus_minus(sequence)
    return _single(sequence, depth)


def _split(sequence: Tokens) -> tuple[Sequence[Tokens], Sequence[str]]:
    """Return the parts between separators outside brackets, and the separators."""
    parts: list[list[Token]] = [[]]
    separators = list[str]()
    for token, depth in _with_depths(sequence):
        separator = token.text.lower()
        separates = separator in (",", ";")
        if token.kind is Kind.WORD:
            separates = separator in ("and", "or")
        if depth > 0 or not separates:
            parts[-1].append(token)
            continue
        # `1, and 2` has two separators in a row.
        if parts[-1] or not separators:
            parts.append([])
        separators.append(separator)
    if not all(parts):
        raise UnreadError("an empty part")
    return parts, separators


def _with_depths(sequence: Tokens) -> Sequence[tuple[Token, int]]:
    """Return every token with the number of brackets around it, its own included."""
    depth = environments = 0
    tokens = list[tuple[Token, int]]()
    for token in sequence:
        environments += (token.text == "\\begin") - (token.text == "\\end")
        depth += token.text in OPENING
        tokens.append((token, depth))
        depth -= token.text in CLOSING
        if depth < 0:
            raise UnreadError("unbalanced")
    if depth > 0 or environments != 0:
        raise UnreadError("unbalanced")
    return tokens


def _several(parts: Sequence[Tokens], *, is_unordered: bool, depth: int) -> Form:
    name, start = _name_before(parts[0], ("=", "\\in"))
    if name and not any(_contains(part, ("=",)) for part in parts[1:]):
        items = [_form(part, depth + 1) for part in (parts[0][start:], *parts[1:])]
        return forms.Assigned(name, _list_of(items, is_unordered))
    items = [_form(part, depth + 1) for part in parts]
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


def _contains(sequence: Tokens, texts: Sequence[str]) -> bool:
    return any(token.text in texts for token in sequence)


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
    _with_depths(body)
    if _contains(body, RELATIONS):
        raise UnreadError("an ambiguous sign in an equation")
    values = list[Form]()
    for signs in ({"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"}):
        tokens = list[Token]()
        for token in body:
            if token.text in signs:
                token = Token(Kind.OPERATOR, signs[token.text])
            tokens.append(token)
        values.append(_quantity(tokens))
    several = forms.Several(tuple(values), is_set=False, ordered=False)
    return forms.Assigned(name, several) if name else several


def _single(sequence: Tokens, depth: int) -> Form:
    outer = [token.text for token in _outside_brackets(sequence)]
    if "=" in outer:
        return _equated(sequence, depth)
    if not INEQUALITIES.keys().isdisjoint(outer):
        return _bounded(sequence)
    if "\\in" in outer:
        name, start = _name_before(sequence, ("\\in",))
        if not name:
            raise UnreadError("a membership")
        return forms.Assigned(name, _interval(sequence[start:], depth))
    if "\\cup" in outer:
        pieces = _cut(sequence, ("\\cup",))
        return forms.Union(tuple([_interval(piece, depth) for piece in pieces]))
    if sequence[0].text == "\\begin":
        return _matrix(sequence, depth)
    text = "".join([token.text for token in sequence])
    if text in INFINITIES:
        return forms.Infinite(positive=text != "-\\infty")
    return _bracketed(sequence, depth) or _quantity(sequence)


def _outside_brackets(sequence: Tokens) -> Tokens:
    """Return the tokens outside brackets that are not words."""
    tokens = _with_depths(sequence)
    return [token for token, depth in tokens if depth == 0 and token.kind is not Kind.WORD]


def _cut(sequence: Tokens, texts: Sequence[str]) -> Sequence[Tokens]:
    """Return the parts between the given tokens outside brackets."""
    parts: list[list[Token]] = [[]]
    for token, depth in _with_depths(sequence):
        if depth == 0 and token.text in texts and token.kind is not Kind.WORD:
            parts.append([])
        else:
            parts[-1].append(token)
    if not all(parts):
        raise UnreadError("an empty side")
    return parts


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
    if _contains(sequence[end + 1 :], relations):
        return "", 0
    return "".join([token.text for token in sequence[:end]]), end + 1


def _equated(sequence: Tokens, depth: int) -> Form:
    """Read `x = 5`, `2 + 3 = 5` or an equation."""
    sides = _cut(sequence, ("=",))
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
        return forms.Assigned(name, form, equation) if name else form
    if equation is None:
        raise UnreadError("an equation that is not understood")
    return equation


def _common_value(sides: Sequence[Tokens]) -> forms.Quantity | None:
    """Return the last of several closed sides that are equal; None if one has variables."""
    quantities = [_quantity(side) for side in sides]
    # `1 = 1` computes nothing.
    if isinstance(quantities[0].tree, Number):
        raise UnreadError("an identity")
    if any(names(quantity.tree) for quantity in quantities):
        return None
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


def _bounded(sequence: Tokens) -> Form:
    r"""Read `x > 2` and `1 < x \le 3` as intervals."""
    sides = list(_cut(sequence, tuple(INEQUALITIES)))
    outer = [token.text for token in _outside_brackets(sequence)]
    signs = [text for text in outer if text in INEQUALITIES]
    directions = {INEQUALITIES[sign][1] for sign in signs}
    if directions == {False}:
        sides.reverse()
        signs.reverse()
    named = list[int]()
    for index, side in enumerate(sides):
        if len(side) == 1 and side[0].kind is Kind.NAME and side[0].text not in ("e", "i"):
            named.append(index)
    is_bound = len(named) == 1 and len(directions) == 1 and len(sides) <= 3
    if not is_bound or (len(sides) == 3 and named != [1]):
        raise UnreadError("an inequality that does not bound a name")
    low: Form = forms.Infinite(False)
    high: Form = forms.Infinite(True)
    opening = "("
    closing = ")"
    for index, sign in enumerate(signs):
        is_closed = INEQUALITIES[sign][0]
        if index < named[0]:
            low = _quantity(sides[index])
            if is_closed:
                opening = "["
        else:
            high = _quantity(sides[index + 1])
            if is_closed:
                closing = "]"
    variable = sides[named[0]][0].text
    return forms.Assigned(variable, forms.Bracketed((low, high), opening + closing, bounds=True))


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
    for row in _cut(inner, ("\\\\",)):
        columns = [_form(cell, depth + 1) for cell in _cut(row, ("&",))]
        lengths.add(len(columns))
        cells += columns
    if len(lengths) != 1:
        raise UnreadError("rows of different lengths")
    return forms.Matrix(tuple(cells), lengths.pop())


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
    for token, level in _with_depths(sequence)[:-1]:
        if level < 1 or (level == 1 and token.text in CLOSING):
            return None
    inner = sequence[1:-1]
    parts = _cut(inner, (",", ";")) if inner else ()
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
    return replace(form, bounds=True) if isinstance(form, forms.Bracketed) else form


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
    return tokens if has_one_comma else sequence


def _quantity(sequence: Tokens) -> forms.Quantity:
    """Read an expression with a currency before it and a percent sign or a unit after it."""
    has_currency = len(sequence) > 1 and sequence[0].text in ("\\$", "$")
    if has_currency:
        sequence = sequence[1:]
    sequence, unit = _without_unit(sequence)
    if has_currency:
        unit.add("dollar")
    percent = len(sequence) > 1 and sequence[-1].kind is Kind.PERCENT
    if percent:
        sequence = sequence[:-1]
    tree, source = parse(sequence)
    if percent and isinstance(tree, Combined) and tree.operator in "+-":
        raise UnreadError("a percentage in a sum")
    return forms.Quantity(tree, source, frozenset(unit), percent)


def _without_unit(sequence: Tokens) -> tuple[Tokens, set[str]]:
    r"""Return the part before the unit of `5 \text{ cm}^2` or `90^\circ`, and the unit."""
    if sequence[-1].text == "\\circ":
        commands = {token.text[1:] for token in sequence if token.kind is Kind.COMMAND}
        if commands.isdisjoint(lexicon.FUNCTIONS):
            return sequence[:-1], {"degree"}
    start = 0
    while start < len(sequence) and sequence[start].kind is not Kind.WORD:
        start += 1
    words = _unit_words(sequence[start:])
    if start == 0 or words is None:
        return sequence, set()
    if any(len(word) < MIN_PROSE_CAPITALS and word.isupper() for word in words):
        raise UnreadError("a name behind a number")
    lower = [word.lower() for word in words]
    if len(lower) > 1 and lower[0] in ("square", "cubic"):
        lower = lower[1:]
    if any(_changes_value(word) for word in lower):
        raise UnreadError("a word that changes the value")
    return sequence[:start], {lexicon.singular(word) for word in lower if word not in lexicon.PROSE}


def _unit_words(sequence: Tokens) -> Sequence[str] | None:
    """Return the words of a unit such as `cm^2` or `miles / hour`; None for anything else."""
    words = list[str]()
    before = ""
    for token in sequence:
        # Square and cubic units.
        is_exponent = token.text in ("2", "3") and before in ("^", "{")
        if token.kind is Kind.WORD:
            words += token.text.split()
        elif token.text not in UNIT_SIGNS and not is_exponent:
            return None
        before = token.text
    return words


def _changes_value(word: str) -> bool:
    if word in lexicon.COUNTING or word in lexicon.MATHEMATICAL:
        return True
    return VALUE_WORD.fullmatch(word) is not None
