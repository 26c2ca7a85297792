r"""Where a solution states its final answer: `\boxed{…}`, then `#### …`, then a line `A: …`, then "the answer is …".

The last statement of the first kind found counts. A number that merely comes last is not an answer: no statement, no answer.
The answer is given as written (`x = 5`, `(A)`, `\{1, 2\}`, `2 1/2`, `12%`), without what wraps it and, after a plain number in prose,
without its unit.

What is not covered: answers in words before the phrase ("18 is the answer"), and an answer that a later sentence takes back.
"""

import re

__all__ = ["VERSION", "final_answer"]

VERSION = 2  # raised whenever another answer is found: what was graded before is stale then
BOX = re.compile(r"\\(?:boxed|fbox) ?\{")
HASHES = "####"
HEADING = re.compile(r"[^\W\d_]{4,}")
"""A word: `#### Step 3` with more text below is a heading, `#### 18` states an answer."""
LAST_LINE = re.compile(r"A: ?(?P<answer>\S.*)")
PHRASE = re.compile(
    r"\b(?:answer(?: (?:is|was|would be|will be|equals)\b:?|\*{0,2}:| ?=)|correct (?:option|choice|answer) is\b:?)",
    re.IGNORECASE,
)
OPENINGS = (
    "answer",
    "Answer",
    "ANSWER",
    "correct choice",
    "Correct choice",
    "correct option",
    "Correct option",
)
FILLER = re.compile(
    r"[\s*:]*(?:(?:therefore|thus|hence|then|simply|just|exactly|indeed|equal to|(?:the )?(?:option|choice)(?= ?\(?[A-J]\b)),?\s+)",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"\.(?=\s|$)")
DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
NUMBER_AND_WORDS = re.compile(
    r"(?P<number>[-−]?(?:\\?[$€£] ?)?[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?) +(?P<words>[^\d]+)"
)
WORDS_THAT_MATTER = re.compile(
    r"\W|\w\b|(?:[ap]\.?m|and|or|to|by|in|mod|more|less|fewer|times|percent|hundred|thousand|million|billion|trillion|dozen|half)\b",
    re.IGNORECASE,
)
MAX_PHRASE_CHARS = 1_000


def final_answer(text: str) -> str | None:
    r"""The answer as written, without its wrapping; None when none is stated, or when the text breaks off inside the last box.

    >>> final_answer(r"so \boxed{\frac{1}{2}}. Done.")
    '\\frac{1}{2}'
    >>> final_answer("The answer is 18 dollars per day.")
    '18'
    """
    if "box" in text and (boxes := [match.end() for match in BOX.finditer(text)]):
        return _bare(_boxed(text, boxes[-1]))
    if (hashed := _hashed(text)) is not None:
        return _bare(hashed)
    if line := LAST_LINE.fullmatch(_last_line(text)):
        return _bare(line["answer"])
    return _phrase(text)


def _boxed(text: str, start: int) -> str:
    """What the box holds that opens there; empty when it is never closed."""
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : start + brace.start()]
    return ""


def _hashed(text: str) -> str | None:
    """The line after the last `####`, unless it is a heading."""
    _, hashes, after = text.rpartition(HASHES)
    line, _, rest = after.lstrip(" ").partition("\n")
    return line if hashes and not (rest.strip() and HEADING.search(line)) else None


def _phrase(text: str) -> str | None:
    end = _phrase_end(text)
    if end is None:
        return None
    after = text[end : end + MAX_PHRASE_CHARS].strip().lstrip("*").lstrip()
    while filler := FILLER.match(after):
        after = after[filler.end() :]
    if (displayed := _displayed(after)) is not None:
        return _bare(displayed)
    line = after.partition("\n")[0]
    return _without_unit(_bare(SENTENCE_END.split(line, maxsplit=1)[0]))


def _phrase_end(text: str) -> int | None:
    """Where the last phrase ends: from the end of the text, by plain strings, since most of the time of grading is spent here."""
    last = {opening: text.rfind(opening) for opening in OPENINGS}
    while (at := max(last.values())) >= 0:
        if phrase := PHRASE.match(text, at):
            return phrase.end()
        opening = max(last, key=last.__getitem__)
        last[opening] = text.rfind(opening, 0, at + len(opening) - 1)
    return None


def _displayed(text: str) -> str | None:
    """A formula on lines of its own, `$$` or brackets round it."""
    if not text.startswith(("$$", "\\[")):
        return None
    formula, closing, _ = text[2:].partition("$$" if text.startswith("$") else "\\]")
    return formula if closing else None


def _without_unit(answer: str | None) -> str | None:
    """`$18 per day` is 18 dollars, but `5 pm`, `3 or 4` and `2 million` are not 5, 3 and 2."""
    stated = NUMBER_AND_WORDS.fullmatch(answer or "")
    if stated is None or WORDS_THAT_MATTER.match(stated["words"]):
        return answer
    return stated["number"]


def _bare(answer: str) -> str | None:
    answer = answer.strip().strip("*`").strip().removesuffix(".").strip()
    for opening, closing in DELIMITERS if answer.startswith(("$", "\\")) else ():
        inner = answer[len(opening) : -len(closing)]
        if answer == opening + inner + closing and inner and closing not in inner:
            answer = inner.strip()
    return answer.removesuffix(".") or None


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]
