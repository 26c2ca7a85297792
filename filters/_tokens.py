"""Texts as tokens that are the same for what a reader would call the same text."""

import unicodedata

import regex  # type: ignore[import-untyped]

__all__ = ["normalised", "numbers", "tokens", "words"]

# Scripts written without spaces between words: a character is a token there.
SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORD = rf"{SPACELESS}|[\w--{SPACELESS}]+"
WORDS = regex.compile(WORD, regex.V1)
TOKENS = regex.compile(rf"{WORD}|[^\w\s]", regex.V1)
NUMBER = regex.compile(r"\d[\d,]*(?:\.\d+)?")


def normalised(text: str) -> str:
    """The text without what a reader does not see: letter case, forms of one character, the amount of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The words and numbers of a normalised text, without its marks."""
    found: list[str] = WORDS.findall(text)
    return found


def tokens(text: str) -> list[str]:
    """The words, numbers and marks of a normalised text: a plus is no minus."""
    found: list[str] = TOKENS.findall(text)
    return found


def numbers(text: str) -> list[str]:
    """The numbers of a normalised text, in order, without thousands separators."""
    return [number.replace(",", "") for number in NUMBER.findall(text)]
