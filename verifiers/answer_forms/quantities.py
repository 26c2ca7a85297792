"""Read an expression with its currency, percent sign and unit."""

import re
from collections.abc import Sequence

from verifiers.answer_forms import forms
from verifiers.answer_forms.sequences import Tokens
from verifiers.math import lexicon
from verifiers.math.dialects.answers import parse
from verifiers.math.lexer import Kind
from verifiers.math.syntax import Combined, UnreadError

# Words behind a number that change its value, besides those of the lexicon.
VALUE_WORD = re.compile(
    r"tens|scores?|factorial|past|short|except|pct"
    r"|\w*(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|teen|tie|hundred|thousand|illion)ths?"
)
# Shorter words in capitals are names of points.
MIN_PROSE_CAPITALS = 5
UNIT_SIGNS = ("^", "{", "}", "/")


def read_quantity(sequence: Tokens) -> forms.Quantity:
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
