"""Normalize and tokenize texts, so that texts that look the same to a reader compare equal."""

import unicodedata

import regex  # type: ignore[import-untyped]

__all__ = ["normalize", "numbers", "tokens", "words"]

# These scripts are written without spaces between words, so every character is a token.
SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORD = rf"{SPACELESS}|[\w--{SPACELESS}]+"
WORDS = regex.compile(WORD, regex.V1)
TOKENS = regex.compile(rf"{WORD}|[^\w\s]", regex.V1)
NUMBER = regex.compile(r"\d[\d,]*(?:\.\d+)?")


def normalize(text: str) -> str:
    """Remove differences of letter case, compatible Unicode forms and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """Return the words and numbers of a normalized text, without punctuation."""
    matches: list[str] = WORDS.findall(text)
    return matches


def tokens(text: str) -> list[str]:
    """Return the words, numbers and symbols of a normalized text.

    Symbols are included because `16 + 3` and `16 - 3` are different texts.
    """
    matches: list[str] = TOKENS.findall(text)
    return matches


def numbers(text: str) -> list[str]:
    """Return the numbers of a normalized text, in order, without thousands separators."""
    return [number.replace(",", "") for number in NUMBER.findall(text)]
