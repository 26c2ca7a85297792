r"""Where a solution states its final answer: `\boxed{…}`, then `#### …`, then a line `A: …`, then "the answer is …".

The last statement of the first kind found counts. A number that merely comes last is not an answer: no statement, no answer.

What is not covered: answers in words before the phrase ("18 is the answer"), and an answer that a later sentence takes back.
"""

import re

__all__ = ["VERSION", "final_answer"]

VERSION = 1  # raised whenever another answer is found: what was graded before is stale then
BOX = "\\boxed{"
HASHES = "####"
LAST_LINE = re.compile(r"A: ?(?P<answer>\S.*)")
PHRASE = re.compile(r"\banswer(?: is:?|:)", re.IGNORECASE)
SENTENCE_END = re.compile(r"\.(?=\s|$)")
NUMBER_AND_WORDS = re.compile(r"(?P<number>[-−]?(?:\\?[$€£] ?)?[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?) +(?P<words>[^\d]+)")
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
    if BOX in text:
        return _bare(_boxed(text))
    if HASHES in text:
        return _bare(_first_line(text[text.rindex(HASHES) + len(HASHES) :]))
    if line := LAST_LINE.fullmatch(_last_line(text)):
        return _bare(line["answer"])
    return _phrase(text)


def _boxed(text: str) -> str:
    """What the last box holds; empty when it is never closed."""
    start = text.rindex(BOX) + len(BOX)
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : start + brace.start()]
    return ""


def _phrase(text: str) -> str | None:
    end = None
    for marker in PHRASE.finditer(text):
        end = marker.end()
    if end is None:
        return None
    line = text[end : end + MAX_PHRASE_CHARS].strip().partition("\n")[0]
    return _without_unit(_bare(SENTENCE_END.split(line, maxsplit=1)[0]))


def _without_unit(answer: str | None) -> str | None:
    """`$18 per day` is 18 dollars, but `5 pm`, `3 or 4` and `2 million` are not 5, 3 and 2."""
    stated = NUMBER_AND_WORDS.fullmatch(answer or "")
    if stated is None or WORDS_THAT_MATTER.match(stated["words"]):
        return answer
    return stated["number"]


def _bare(answer: str) -> str | None:
    answer = answer.strip().strip("*").strip().removesuffix(".").strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if answer.startswith(opening) and answer.endswith(closing) and len(answer) > len(opening + closing):
            answer = answer[len(opening) : -len(closing)].strip()
    return answer.removesuffix(".") or None


def _first_line(text: str) -> str:
    return text.lstrip(" ").partition("\n")[0]


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]
