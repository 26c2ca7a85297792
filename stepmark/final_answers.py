r"""Extract the final answer that a solution states.

Statements are searched in this order: `\boxed{…}`, `#### …`, a last line `A: …`, and a phrase such
as "the answer is …". The last statement of the first kind that occurs counts. A number at the end
of a text is not an answer by itself.

The answer is returned as written (`x = 5`, `(A)`, `\{1, 2\}`, `2 1/2`, `12%`), without its wrapping
and, after a plain number in prose, without its unit.

What is not covered: answers in words before the phrase ("18 is the answer"), and an answer that a
later sentence takes back.
"""

import re

__all__ = ["VERSION", "final_answer"]

# Increment when another answer is extracted from a text: existing grades are then recomputed.
VERSION = 2
BOX = re.compile(r"\\(?:boxed|fbox) ?\{")
HASHES = "####"
HEADING = re.compile(r"[^\W\d_]{4,}")
"""A word. `#### Step 3` with text below it is a heading, `#### 18` states an answer."""
LAST_LINE = re.compile(r"A: ?(?P<answer>\S.*)")
PHRASE = re.compile(
    r"\b(?:answer(?: (?:is|was|would be|will be|equals)\b:?|\*{0,2}:| ?=)"
    r"|correct (?:option|choice|answer) is\b:?)",
    re.IGNORECASE,
)
# The beginnings of PHRASE in their usual spellings: `str.rfind` is much faster than searching with
# a regular expression. "correct answer is" is found by its second word.
OPENINGS = (
    "answer",
    "Answer",
    "ANSWER",
    "correct choice",
    "Correct choice",
    "correct option",
    "Correct option",
)
# Words between the phrase and the answer.
FILLER = re.compile(
    r"[\s*:]*(?:(?:therefore|thus|hence|then|simply|just|exactly|indeed|equal to"
    r"|(?:the )?(?:option|choice)(?= ?\(?[A-J]\b)),?\s+)",
    re.IGNORECASE,
)
# A full stop within a number or an abbreviation is not followed by white space.
SENTENCE_END = re.compile(r"\.(?=\s|$)")
DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
NUMBER_AND_WORDS = re.compile(
    r"(?P<number>[-−]?(?:\\?[$€£] ?)?[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?) +(?P<words>[^\d]+)"
)
# Words behind a number that change its value, so that they are not a unit.
MEANINGFUL_WORDS = re.compile(
    r"\W|\w\b|(?:[ap]\.?m|and|or|to|by|in|mod|more|less|fewer|times|percent|hundred|thousand"
    r"|million|billion|trillion|dozen|half)\b",
    re.IGNORECASE,
)
# Bounds the work on a text without line breaks.
MAX_PHRASE_CHARS = 1_000


def final_answer(text: str) -> str | None:
    r"""Return the final answer as written, without its wrapping.

    None if the text states no answer, or ends within its last box.

    >>> final_answer(r"so \boxed{\frac{1}{2}}. Done.")
    '\\frac{1}{2}'
    >>> final_answer("The answer is 18 dollars per day.")
    '18'
    """
    # The plain search skips the regular expression for the many texts without a box.
    box_starts = [match.end() for match in BOX.finditer(text)] if "box" in text else []
    if box_starts:
        return _strip_wrapping(_box_content(text, box_starts[-1]))
    line_after_hashes = _line_after_hashes(text)
    if line_after_hashes is not None:
        return _strip_wrapping(line_after_hashes)
    last_line = text.rstrip().rpartition("\n")[2]
    stated = LAST_LINE.fullmatch(last_line)
    if stated:
        return _strip_wrapping(stated["answer"])
    return _answer_after_phrase(text)


def _box_content(text: str, start: int) -> str:
    """Return the content of the box that opens before `start`; "" if it is never closed."""
    depth = 1
    for token in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
        if depth == 0:
            return text[start : start + token.start()]
    return ""


def _line_after_hashes(text: str) -> str | None:
    """Return the rest of the line after the last `####`; None if it is a heading or missing."""
    _, hashes, after = text.rpartition(HASHES)
    if not hashes:
        return None
    line, _, text_below = after.lstrip(" ").partition("\n")
    is_heading = text_below.strip() and HEADING.search(line)
    return None if is_heading else line


def _answer_after_phrase(text: str) -> str | None:
    end = _last_phrase_end(text)
    if end is None:
        return None
    after = text[end : end + MAX_PHRASE_CHARS].strip().lstrip("*").lstrip()
    while filler := FILLER.match(after):
        after = after[filler.end() :]
    formula = _display_formula(after)
    if formula is not None:
        return _strip_wrapping(formula)
    line = after.partition("\n")[0]
    first_sentence = SENTENCE_END.split(line, maxsplit=1)[0]
    return _strip_unit(_strip_wrapping(first_sentence))


def _last_phrase_end(text: str) -> int | None:
    """Return the end of the last match of PHRASE.

    Candidates are searched backwards with `str.rfind`, because most of the time of grading is spent
    in this function.
    """
    last = {opening: text.rfind(opening) for opening in OPENINGS}
    while True:
        opening = max(last, key=last.__getitem__)
        position = last[opening]
        if position < 0:
            return None
        phrase = PHRASE.match(text, position)
        if phrase:
            return phrase.end()
        last[opening] = text.rfind(opening, 0, position + len(opening) - 1)


def _display_formula(text: str) -> str | None:
    r"""Return the formula that a text begins with, if it is set off by `$$` or `\[`."""
    if not text.startswith(("$$", "\\[")):
        return None
    closing_delimiter = "$$" if text.startswith("$") else "\\]"
    formula, closing, _ = text[2:].partition(closing_delimiter)
    return formula if closing else None


def _strip_unit(answer: str | None) -> str | None:
    """Remove the unit of a number: `$18 per day` is 18 dollars.

    `5 pm`, `3 or 4` and `2 million` are returned unchanged: they are not 5, 3 and 2.
    """
    quantity = NUMBER_AND_WORDS.fullmatch(answer or "")
    if quantity is None or MEANINGFUL_WORDS.match(quantity["words"]):
        return answer
    return quantity["number"]


def _strip_wrapping(answer: str) -> str | None:
    """Remove emphasis, delimiters of mathematics and a final full stop; None if nothing is left."""
    answer = answer.strip().strip("*`").strip().removesuffix(".").strip()
    if answer.startswith(("$", "\\")):
        for opening, closing in DELIMITERS:
            inner = answer[len(opening) : -len(closing)]
            # `$3$ and $4$` is two formulas, not one in a pair of delimiters.
            if answer == opening + inner + closing and inner and closing not in inner:
                answer = inner.strip()
    return answer.removesuffix(".") or None
