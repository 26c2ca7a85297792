"""Sequences of tokens: their brackets, parts and separators."""

from collections.abc import Sequence

from verifiers.math.lexer import Kind, Token
from verifiers.math.syntax import UnreadError

OPENING = ("(", "[", "{", "\\{", "\\begin")
CLOSING = (")", "]", "}", "\\}", "\\end")

Tokens = Sequence[Token]


def contains(sequence: Tokens, texts: Sequence[str]) -> bool:
    """Return whether one of the texts is a token."""
    return any(token.text in texts for token in sequence)


def with_depths(sequence: Tokens) -> Sequence[tuple[Token, int]]:
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


def outside_brackets(sequence: Tokens) -> Tokens:
    """Return the tokens outside brackets that are not words."""
    tokens = with_depths(sequence)
    return [token for token, depth in tokens if depth == 0 and token.kind is not Kind.WORD]


def cut(sequence: Tokens, texts: Sequence[str]) -> Sequence[Tokens]:
    """Return the parts between the given tokens outside brackets."""
    parts: list[list[Token]] = [[]]
    for token, depth in with_depths(sequence):
        if depth == 0 and token.text in texts and token.kind is not Kind.WORD:
            parts.append([])
        else:
            parts[-1].append(token)
    if not all(parts):
        raise UnreadError("an empty side")
    return parts


def split(sequence: Tokens, texts: Sequence[str]) -> tuple[Sequence[Tokens], Sequence[str]]:
    """Return the parts between separators outside brackets, and the separators."""
    parts: list[list[Token]] = [[]]
    separators = list[str]()
    for token, depth in with_depths(sequence):
        separator = token.text.lower()
        if depth > 0 or separator not in texts:
            parts[-1].append(token)
            continue
        # `1, and 2` has two separators in a row.
        if parts[-1] or not separators:
            parts.append([])
        separators.append(separator)
    if not all(parts):
        raise UnreadError("an empty part")
    return parts, separators


def is_group(sequence: Tokens) -> bool:
    """Return whether one pair of parentheses encloses everything."""
    if len(sequence) < 3 or (sequence[0].text, sequence[-1].text) != ("(", ")"):
        return False
    return all(depth > 0 for _, depth in with_depths(sequence))
