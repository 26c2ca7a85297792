"""Reference answers in rows: in the shapes in which data sets and libraries write them."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from problems.tabular.columns import BIGGEST_NUMBER, UnusableError, number_or_text, value_at
from stepmark.final_answers import final_answer

__all__ = ["reference_at", "stated_reference"]

# A list with one text, as `json.dumps` and as `str` write it. "[8]" is not one of them, because it
# can also be a formula.
_LISTED_TEXT = re.compile(r"\[\s*+(?:(?P<json>\"(?:[^\"\\]|\\.)*+\")|'(?P<python>[^'\\]*+)')\s*+\]")
_HASHES = re.compile(r"(?:^|\s)####")
_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_BOX = r"\boxed{"
# A line of a program: tests for `grader = "code"` can contain all signs of a worked solution.
_CODE_LINE = re.compile(
    r"^[^\S\n]*+(?:assert\b|(?:def|class) \w++ ?[(:]|import \w|from \S++ import\b|print\()",
    re.MULTILINE,
)
# Keys of an object that an error message names.
_KEYS_LISTED = 8


def reference_at(row: Mapping[str, Any], path: str) -> str | None:
    """Return the reference answer at a path: a text, a number, or a list with one of them.

    None if it is absent, null, NaN, blank or an empty list. A floating-point number is written in
    digits: 1e16 is "10000000000000000".

    Raises:
        UnusableError: The value is a list of several answers, an object, an infinite or huge
            number, or no usable text.
    """
    value = value_at(row, path)
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise UnusableError(
                path,
                f"a list of {len(value)} answers: map answer={path}.0 if the first one is enough",
            )
        value = value[0] if value else None
    if isinstance(value, Mapping):
        keys = ", ".join(list(map(str, value))[:_KEYS_LISTED])
        raise UnusableError(path, f"an object with the keys {keys}: map answer={path}.KEY")
    if isinstance(value, bool):
        # As in JSON, not as in Python.
        return str(value).lower()
    text = number_or_text(value, path)
    if text is None:
        return None
    if isinstance(value, str):
        return _unlisted(text)
    if "E" in text.upper() and abs(Decimal(text)) < BIGGEST_NUMBER:
        return format(Decimal(text), "f")
    return text


def stated_reference(text: str) -> str:
    r"""Return the answer that a worked solution states, or any other text unchanged.

    >>> stated_reference("4 + 5 = 9\n#### 9")
    '9'
    """
    if text.startswith(("{", "[", _BOX)) or _CODE_LINE.search(text):
        return text
    is_short = "\n" not in text and _BOX not in text
    if is_short and not (_HASHES.search(text) or _ANSWER.search(text)):
        return text
    return final_answer(text) or text


def _unlisted(text: str) -> str:
    """Return the only text of a list that is stored as text, or the text itself."""
    match = _LISTED_TEXT.fullmatch(text)
    if match is None:
        return text
    inner = match["python"]
    if match["json"]:
        try:
            inner = json.loads(match["json"])
        except ValueError:
            return text
    return inner.strip() or text
