r"""What kind of thing an answer is: a value, a list, a set, a tuple or interval, a union, a matrix, an equation, an option, words.

    x = 5, x \in [0, 1)      Assigned             x > 2, 1 < x \le 3       Assigned to an interval
    1, 2    3 or 4    2\pm\sqrt3    \{1, 2\}      Several                 (1, 2)    [0, \infty)      Bracketed
    (-\infty, 1) \cup (4, \infty)                 Union                   \begin{pmatrix} … \end{pmatrix}      Matrix
    2x + 3y = 7    Equation                       (A)    B.    (C) 5      Option                  Sunday    Words

What has two readings has no form: `(1,234)`, `12:30`, `1, 2, …`, `\approx`. Raises `UnreadError` for whatever is not understood.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from verifiers._answers.formulas import Combined, Node, Number, names, read
from verifiers._answers.tokens import Kind, Token, UnreadError, latex, tokens
from verifiers._answers.values import compare
from verifiers._answers.words import COUNTING, MATRICES, NUMBER_WORDS
from verifiers.math.lexicon import MATHEMATICAL, PROSE, singular

__all__ = [
    "Assigned",
    "Assignments",
    "Bracketed",
    "Endless",
    "Equation",
    "Form",
    "Matrix",
    "Option",
    "Quantity",
    "Several",
    "Union",
    "Words",
    "form_of",
]

MAX_CHARS = 1_000
MAX_NESTING = 3
MAX_WORDS = 12
OPENING, CLOSING = ("(", "[", "{", r"\{"), (")", "]", "}", r"\}")
AND, OR = "and", "or"
OPTION = re.compile(r"(?:option|choice)?\s*(?:\(\s*([A-J])\s*\)|([A-J])\s*[.):](?=\s|$)|([A-J])$)\s*(.*)", re.DOTALL)
WORDS = re.compile(r"[A-Za-z][A-Za-z'’-]*(?: +[A-Za-z'’-]+)*")
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox)\s*\{([^{}\\]*)\}")
SYMBOLS = {
    r"\emptyset": "empty set",
    r"\varnothing": "empty set",
    "∅": "empty set",
    r"\{\}": "empty set",
    r"\mathbb{R}": "all real numbers",
}
INEQUALITIES = {"<": (False, True), r"\le": (True, True), ">": (False, False), r"\ge": (True, False)}
"""Whether the end belongs to the interval, and whether the greater side is on the right."""
UNIT_MARKS = ("^", "{", "}", "2", "3", "/")
SHAPES = {Kind.NAME: "N", Kind.TEXT: "T", Kind.NUMBER: "D"}
NAMED = re.compile(r"\(N(?:,N)+\)|(?:T*N(?:_(?:[DN]|\{[DN,]*\}))?|T+)(?:\([DN](?:,[DN])*\))?")
"""The tokens of a name by their kinds: `x`, `x_1`, `f(x, y)`, `(x, y)`, `AB`, `Area`, `angle A`."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression; `source` is its LaTeX, `unit` the words after it."""

    node: Node
    source: str
    unit: frozenset[str] = frozenset()
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Endless:
    """Plus or minus infinity."""

    positive: bool


@dataclass(frozen=True, slots=True)
class Several:
    """A list without brackets, or a set; `ordered` where the order may matter."""

    items: tuple["Form", ...]
    is_set: bool
    ordered: bool


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple or an interval: `brackets` are the two as written."""

    brackets: str
    items: tuple["Form", ...]
    bounds: bool = False
    """Whether what is round it says that it is an interval."""

    @property
    def is_interval(self) -> bool:
        """Whether it can be nothing else."""
        shows = self.brackets in ("(]", "[)") or any(isinstance(item, Endless) for item in self.items)
        return len(self.items) == 2 and (shows or self.bounds)


@dataclass(frozen=True, slots=True)
class Union:
    """A union of intervals or sets."""

    pieces: tuple["Form", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple["Form", ...], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation as its left side less its right."""

    difference: Node
    source: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """`name = …`, or an inequality that bounds a name; `equation` where it can be read as one."""

    name: str
    form: "Form"
    equation: Equation | None = None


@dataclass(frozen=True, slots=True)
class Assignments:
    """`x = 1, y = 2`: different names, sorted."""

    parts: tuple[Assigned, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """A letter of a multiple choice, and what it says where it says something."""

    letter: str
    said: "Form | None" = None


@dataclass(frozen=True, slots=True)
class Words:
    """Words only."""

    words: str


Form = Quantity | Endless | Several | Bracketed | Union | Matrix | Equation | Assigned | Assignments | Option | Words


def form_of(text: str) -> Form:
    """The form of an answer as written, without the wrapping of mathematics; raises `UnreadError`."""
    if len(text) > MAX_CHARS:
        raise UnreadError("too long")
    plain = TEXT.sub(r" \1 ", text).strip()
    if (option := OPTION.fullmatch(plain)) is not None:
        return _option(option)
    words = SYMBOLS.get(plain.replace(" ", ""), plain)
    if WORDS.fullmatch(words) and (len(words) > 2 or words.lower() in ("no", "am", "pm")):
        return _words(words)
    return _form(tokens(text), 0)


def _words(written: str) -> Form:
    if len(written.split()) > MAX_WORDS:
        raise UnreadError("a sentence")
    if any(token.kind in (Kind.FUNCTION, Kind.COMMAND) for token in tokens(written)):
        return _form(tokens(written), 0)
    if written.lower() in NUMBER_WORDS:
        number = NUMBER_WORDS.index(written.lower())
        return Quantity(Number(Fraction(number)), str(number))
    return Words(" ".join(written.split()))


def _option(match: re.Match[str]) -> Option:
    bracketed, dotted, bare, said = match.groups()
    if said and not bracketed and not dotted:
        raise UnreadError("not an option")
    return Option(bracketed or dotted or bare, form_of(said) if said else None)


def _form(sequence: Sequence[Token], depth: int) -> Form:
    if depth > MAX_NESTING:
        raise UnreadError("too deep")
    if not sequence:
        raise UnreadError("empty")
    parts, separators = _split(sequence)
    if separators:
        return _several(parts, unordered=OR in separators, depth=depth)
    if any(token.text in (r"\pm", r"\mp") for token in sequence):
        return _plus_minus(sequence, depth)
    return _single(sequence, depth)


def _split(sequence: Sequence[Token]) -> tuple[Sequence[Sequence[Token]], Sequence[str]]:
    """The parts between commas, semicolons, "and" and "or" outside brackets."""
    parts, separators = [list[Token]()], list[str]()
    for token, depth in _depths(sequence):
        separator = _separator(token)
        if depth or separator is None:
            parts[-1].append(token)
        elif parts[-1] or not separators:
            separators.append(separator)
            parts.append([])
        else:
            separators.append(separator)
    if any(not part for part in parts):
        raise UnreadError("an empty part")
    return parts, separators


def _separator(token: Token) -> str | None:
    if token.kind is Kind.TEXT:
        return token.text.lower() if token.text.lower() in (AND, OR) else None
    return token.text if token.text in (",", ";") else None


def _depths(sequence: Sequence[Token]) -> Sequence[tuple[Token, int]]:
    """Every token with the number of brackets it stands in, brackets included."""
    depth, found = 0, list[tuple[Token, int]]()
    environments = 0
    for token in sequence:
        opens, closes = token.text in OPENING or token.text == r"\begin", token.text in CLOSING or token.text == r"\end"
        environments += (token.text == r"\begin") - (token.text == r"\end")
        depth += opens
        found.append((token, depth))
        depth -= closes
        if depth < 0:
            raise UnreadError("unbalanced")
    if depth or environments:
        raise UnreadError("unbalanced")
    return found


def _several(parts: Sequence[Sequence[Token]], *, unordered: bool, depth: int) -> Form:
    name = _name_before(parts[0], ("=", r"\in"))
    if name is not None and not any(token.text == "=" for part in parts[1:] for token in part):
        items = (parts[0][name[1] :], *parts[1:])
        return Assigned(name[0], _listed([_form(item, depth + 1) for item in items], unordered))
    forms = [_form(part, depth + 1) for part in parts]
    assigned = [form for form in forms if isinstance(form, Assigned)]
    if len(assigned) == len(forms):
        names = {form.name for form in assigned}
        if len(names) == len(forms):
            return Assignments(tuple(sorted(assigned, key=lambda form: form.name)))
        if len(names) == 1:
            return Assigned(names.pop(), _listed([form.form for form in assigned], unordered=True))
    if assigned or any(isinstance(form, Words | Option | Equation) for form in forms):
        raise UnreadError("a list of unlike things")
    return _listed(forms, unordered)


def _listed(forms: Sequence[Form], unordered: bool) -> Several:
    items, spread = list[Form](), False
    for form in forms:
        if isinstance(form, Several) and not form.is_set:
            items += form.items
            spread = True
        else:
            items.append(form)
    return Several(tuple(items), is_set=False, ordered=not (unordered or spread))


def _plus_minus(sequence: Sequence[Token], depth: int) -> Form:
    name = _name_before(sequence, ("=",))
    body = sequence[name[1] :] if name else sequence
    if len({token.text for token, _ in _depths(body) if token.text in (r"\pm", r"\mp", "=", "<", ">", r"\le", r"\ge")} - {r"\pm", r"\mp"}):
        raise UnreadError("a sign of two meanings in an equation")
    both = tuple(_spread(body, lower) for lower in (False, True))
    several = Several(both, is_set=False, ordered=False)
    return Assigned(name[0], several) if name else several


def _spread(sequence: Sequence[Token], lower: bool) -> Form:
    signs = {r"\pm": "-" if lower else "+", r"\mp": "+" if lower else "-"}
    return _quantity([Token(Kind.MARK, signs[token.text]) if token.text in signs else token for token in sequence])


def _single(sequence: Sequence[Token], depth: int) -> Form:
    tops = [token.text for token, level in _depths(sequence) if level == 0 and token.kind is not Kind.TEXT]
    if "=" in tops:
        return _equated(sequence, depth)
    if any(text in INEQUALITIES for text in tops):
        return _bounded(sequence)
    if r"\in" in tops:
        name = _name_before(sequence, (r"\in",))
        if name is None:
            raise UnreadError("a membership")
        return Assigned(name[0], _as_interval(_form(sequence[name[1] :], depth + 1)))
    if r"\cup" in tops:
        return Union(tuple(_as_interval(_form(part, depth + 1)) for part in _cut(sequence, r"\cup")))
    if sequence[0].text == r"\begin":
        return _matrix(sequence, depth)
    return _bracketed(sequence, depth) or _endless(sequence) or _quantity(sequence)


def _cut(sequence: Sequence[Token], *at: str) -> Sequence[Sequence[Token]]:
    """The parts between given tokens outside brackets."""
    parts = [list[Token]()]
    for token, depth in _depths(sequence):
        if depth == 0 and token.text in at and token.kind is not Kind.TEXT:
            parts.append([])
        else:
            parts[-1].append(token)
    if any(not part for part in parts):
        raise UnreadError("an empty side")
    return parts


def _name_before(sequence: Sequence[Token], relations: Sequence[str]) -> tuple[str, int] | None:
    """What a sequence calls its first side, and where the second begins: `x =`, `f(x) =`, `AB =`, `Area =`."""
    end = next((at for at, token in enumerate(sequence) if token.text in relations and token.kind is not Kind.TEXT), None)
    if not end or any(token.text in relations for token in sequence[end + 1 :]):
        return None
    shape = "".join(SHAPES.get(token.kind, token.text[:1]) for token in sequence[:end])
    return ("".join(token.text for token in sequence[:end]), end + 1) if NAMED.fullmatch(shape) else None


def _equated(sequence: Sequence[Token], depth: int) -> Form:
    sides = _cut(sequence, "=")
    if len(sides) == 2 and len(sides[1]) == 1 and sides[1][0].kind is Kind.NAME and not _has_names(sides[0]):
        sides = sides[::-1]
    name = _name_before([*sides[0], Token(Kind.MARK, "="), *sides[-1]], ("=",))
    values = sides[1:] if name else sides
    form = _form(values[0], depth + 1) if len(values) == 1 else _one_value(values)
    equation = _equation(sides) if len(sides) == 2 else None
    if form is not None:
        return Assigned(name[0], form, equation) if name else form
    if equation is None:
        raise UnreadError("an equation that is not understood")
    return equation


def _has_names(side: Sequence[Token]) -> bool:
    return any(token.kind in (Kind.NAME, Kind.TEXT) for token in side)


def _one_value(sides: Sequence[Sequence[Token]]) -> Quantity | None:
    """`10/2 = 5` as its last side, when all sides are closed and equal; None when one has variables."""
    quantities = [_quantity(side) for side in sides]
    if any(names(quantity.node) for quantity in quantities):
        return None
    if any(compare(one.node, other.node, {}).equal is not True for one, other in pairwise(quantities)):
        raise UnreadError("an equation that does not hold")
    return quantities[-1]


def _equation(sides: Sequence[Sequence[Token]]) -> Equation | None:
    try:
        return Equation(Combined("-", read(sides[0]), read(sides[1])), " = ".join(map(latex, sides)))
    except UnreadError:
        return None


def _bounded(sequence: Sequence[Token]) -> Form:
    r"""`x > 2` and `1 < x \le 3` as intervals."""
    signs = [token.text for token, level in _depths(sequence) if level == 0 and token.text in INEQUALITIES]
    sides = _cut(sequence, *INEQUALITIES)
    named = [index for index, side in enumerate(sides) if len(side) == 1 and side[0].kind is Kind.NAME and side[0].text not in ("e", "i")]
    rising = {INEQUALITIES[sign][1] for sign in signs}
    if len(named) != 1 or len(rising) != 1 or len(sides) > 3 or (len(sides) == 3 and named != [1]):
        raise UnreadError("an inequality that bounds no name")
    if rising == {False}:
        sides, signs, named = list(reversed(sides)), list(reversed(signs)), [len(sides) - 1 - named[0]]
    low: Form = Endless(False)
    high: Form = Endless(True)
    brackets = ["(", ")"]
    for index, (sign, (before, after)) in enumerate(zip(signs, pairwise(sides), strict=True)):
        closed = INEQUALITIES[sign][0]
        if index < named[0]:
            low, brackets[0] = _quantity(before), "[" if closed else "("
        else:
            high, brackets[1] = _quantity(after), "]" if closed else ")"
    return Assigned(sides[named[0]][0].text, Bracketed("".join(brackets), (low, high), bounds=True))


def _matrix(sequence: Sequence[Token], depth: int) -> Form:
    head, tail = [token.text for token in sequence[1:4]], [token.text for token in sequence[-4:]]
    if head != tail[1:] or tail[0] != r"\end" or head[0] != "{" or head[1] not in MATRICES:
        raise UnreadError("an environment")
    inner = sequence[4:-4]
    if inner and inner[-1].text == r"\\":
        inner = inner[:-1]
    rows = tuple(tuple(_form(cell, depth + 1) for cell in _cut(row, "&")) for row in _cut(inner, r"\\"))
    if len({len(row) for row in rows}) != 1:
        raise UnreadError("rows of different lengths")
    return Matrix(rows)


def _bracketed(sequence: Sequence[Token], depth: int) -> Form | None:
    r"""`(a, b)`, `[a, b)`, `\{a, b\}`; None for brackets that hold one thing or do not go round all."""
    opening, closing = sequence[0].text, sequence[-1].text
    is_set = opening == r"\{"
    if opening not in ("(", "[", r"\{") or closing not in (")", "]", r"\}") or is_set is not (closing == r"\}"):
        return None
    if any(level < 1 or (level == 1 and token.text in CLOSING) for token, level in _depths(sequence)[:-1]):
        return None
    inner = sequence[1:-1]
    parts = _cut(inner, ",", ";") if inner else []
    if any(token.kind is Kind.NUMBER and "," in token.text for token in inner):
        raise UnreadError("a comma of two meanings")
    if is_set:
        return Several(tuple(_form(part, depth + 1) for part in parts), is_set=True, ordered=False)
    return Bracketed(opening + closing, tuple(_form(part, depth + 1) for part in parts)) if len(parts) > 1 else None


def _as_interval(form: Form) -> Form:
    return replace(form, bounds=True) if isinstance(form, Bracketed) else form


def _endless(sequence: Sequence[Token]) -> Endless | None:
    written = "".join(token.text for token in sequence)
    return Endless(not written.startswith("-")) if written in (r"\infty", r"+\infty", r"-\infty") else None


def _quantity(sequence: Sequence[Token]) -> Quantity:
    """An expression, a currency before it, a percent sign and a unit after it."""
    currency = len(sequence) > 1 and sequence[0].text in (r"\$", "$")
    sequence, unit = _without_unit(sequence[1:] if currency else sequence)
    percent = len(sequence) > 1 and sequence[-1].text in (r"\%", "%")
    if percent:
        sequence = sequence[:-1]
    node = read(sequence)
    if percent and isinstance(node, Combined) and node.operator in "+-":
        raise UnreadError("a percentage in a sum")
    return Quantity(node, latex(sequence), frozenset(unit | {"dollar"} if currency else unit), percent)


def _without_unit(sequence: Sequence[Token]) -> tuple[Sequence[Token], set[str]]:
    r"""`5 \text{ cm}^2` and `90^\circ` as what stands before the unit, and the unit."""
    if sequence[-1].text == r"\circ" and all(token.kind is not Kind.FUNCTION for token in sequence):
        return sequence[:-1], {"degree"}
    start = next((at for at, token in enumerate(sequence) if token.kind is Kind.TEXT), len(sequence))
    if not start or any(token.kind is not Kind.TEXT and token.text not in UNIT_MARKS for token in sequence[start:]):
        return sequence, set()
    words = [word for token in sequence[start:] for word in token.text.lower().split() if token.kind is Kind.TEXT]
    if len(words) > 1 and words[0] in ("square", "cubic"):
        words = words[1:]
    if any(word in COUNTING or word in MATHEMATICAL for word in words):
        raise UnreadError("a word that counts")
    return sequence[:start], {singular(word) for word in words if word not in PROSE}
