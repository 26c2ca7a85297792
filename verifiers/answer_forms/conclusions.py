r"""The value that the end of a worked text states, in several languages.

    Therefore she has **18** eggs.      因此，一共有858颗糖果。      Donc, il a 79 g de cire.
    面积 = 72000 / 18 = 4000千克         D, it can't be A or B

A conclusion is a last sentence with a word such as "therefore" and exactly one number behind this
word, exactly one bold number, or a number behind the last equals sign. Words that deny, bound or
scale the number leave no value. The result suffices to confirm a reference. It does not suffice to
refute one, because the sentence may state something else than the answer.

All patterns take linear time on the texts that `verifiers.answers` passes, of 2,000 characters.
"""

import re

from verifiers.answer_forms.printed import EAST_ASIAN_UNITS, VALUE_SIGNS

SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
CONCLUDING = re.compile(
    r"(?:(?<![^\W\d_])(?:therefore|thus|hence|in conclusion|so in total"
    r"|donc|ainsi|por (?:lo )?tanto|entonces|portanto|quindi|dunque|pertanto"
    r"|also|somit|daher|folglich|dus|следовательно|значит|поэтому|таким образом"
    r"|لذا|لذلك|إذن|وبالتالي)(?![^\W\d_])|因此|所以|结论|总之|综上所述)[\s,，、:：*]*",
    re.IGNORECASE,
)
EAST_ASIAN = re.compile(r"[\u4e00-\u9fff]")
EAST_ASIAN_SUBJECT = re.compile(r"\s*[\u4e00-\u9fff]{1,40} ?(?:是|为|等于|=)")
BOLD = re.compile(r"\*\*([^*\n]{1,40})\*\*")
NUMBER = re.compile(
    r"(?P<number>(?<![A-Za-z0-9.,/^_])(?:[-−](?=\d))?\d[\d,]*(?:\.\d+)?(?:/\d+)?|\\frac\{\d{1,9}\}\{\d{1,9}\})"
    r"(?P<percent> ?\\?%)?"
)
ARITHMETIC = re.compile(r"\d[\d\s.,()+*/×÷·−-]*\Z")
# A number next to one of these signs is a part of a formula.
OPERATORS = frozenset("+-−*/×÷·^_=<>≤≥≈!")
# Words that deny, bound, weaken or scale a number.
UNCERTAIN = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|if|unless|whether|least|most|than|between|about"
    r"|approximately|around|roughly|nearly|almost|maybe|perhaps|possibly|might|may|could|would"
    r"|should|half|dozens?|hundreds?|thousands?|\w*illions?|negative|minus|loss|loses?|lost|debt"
    r"|wrong|incorrect|error|except|remainder|cases?|steps?|equations?|check|need"
    r"|ne|pas|non|si|environ|presque|moins|plus|peut|faux|mille|milliers?|milliards?|douzaines?"
    r"|demi\w*|sauf|perdu?|nunca|casi|aproximadamente|menos|más|falso|mil|miles|millones|docenas?"
    r"|medi[oa]|tal vez|quizás|não|nem|quase|cerca|mais|milhões|milhares|dúzias?|mei[oa]|talvez"
    r"|quasi|circa|meno|più|forse|mila|milioni|mezz[oa]|dozzin[ae]|nicht|kein\w*|nie|wenn|etwa"
    r"|ungefähr|fast|mindestens|höchstens|weniger|mehr|vielleicht|tausend|millionen?|dutzend"
    r"|halb\w*|minus|niet|geen|als|ongeveer|bijna|minder|meer|duizend|miljoen|dozijn|half"
    r"|не|нет|если|около|почти|примерно|минус|менее|более|меньше|больше|тысяч\w*|миллион\w*"
    r"|половин\w*|дюжин\w*|ليس|لا|لم|لن|إذا|حوالي|تقريبا|تقريباً|أقل|أكثر|نصف|ألف|مليون)\b"
    r"|n['’]t\b|[不没無无非约若负错半倍几余]|如果|假设|假如|大概|左右|至少|至多|最多|最少|超过"
    r"|少于|多于|大于|小于|以上|以下|可能|也许|或",
    re.IGNORECASE,
)
LETTERS = r"[A-J](?:(?:\s*(?:,|\bor\b|\bnor\b|\bou\b|\boder\b|或|、)\s*)[A-J])*"
# `D, it can't be A or B`, `C non A`, `B。不是 A`
OPTION_NOT_OTHERS = re.compile(
    r"\s*(?:(?:for sure|surely|definitely|certainly|clearly|obviously)[\s,:]+)?"
    r"(?P<option>[A-J])(?:\s*[,;.。，]\s*|\s+)(?:and )?(?:(?:it|that) )?"
    r"(?:can ?not be|can['’]t be|is not|isn['’]t|not|non|nicht|pas|no|не|而?不是)\s*"
    rf"(?P<others>{LETTERS})\s*[.。]?\s*"
)


def concluded_value(text: str) -> str | None:
    """Return the option or the number that a text states at its end, or None."""
    option = OPTION_NOT_OTHERS.fullmatch(text)
    if option:
        is_consistent = option["option"] not in option["others"]
        if is_consistent:
            return option["option"]
        return None
    sentences = [part for part in SENTENCE_END.split(text) if part.strip(" *")]
    if not sentences:
        return None
    clause = _clause(sentences)
    if clause is None or UNCERTAIN.search(clause):
        return None
    return _only_number(clause)


def _clause(sentences: list[str]) -> str | None:
    """Return what is behind the last word that concludes, or a single East Asian statement."""
    last = sentences[-1]
    start = -1
    for word in CONCLUDING.finditer(last):
        start = word.end()
    if start >= 0:
        return last[start:]
    is_statement = len(sentences) == 1 and EAST_ASIAN_SUBJECT.match(last)
    if is_statement:
        return last
    return None


def _only_number(clause: str) -> str | None:
    bold = [part for part in BOLD.findall(clause) if NUMBER.search(part)]
    if len(bold) > 1:
        return None
    if bold:
        after_bold = clause.rpartition("**")[2]
        return _value(bold[0] + after_bold)
    before, equals, after = clause.rpartition("=")
    if not equals:
        return _value(clause)
    # The left side is a computation, which begins behind the last word.
    is_computed = ARITHMETIC.search(before) is not None or EAST_ASIAN_SUBJECT.match(clause)
    if is_computed:
        return _value(after)
    return None


def _value(text: str) -> str | None:
    """Return the only number of a text with its percent sign or its unit."""
    numbers = list(NUMBER.finditer(text))
    if len(numbers) != 1 or "$" in text or "^" in text:
        return None
    number = numbers[0]
    before = text[: number.start()].rstrip(" (\\").removesuffix("**").rstrip()
    after = text[number.end() :].lstrip(" )\\").removeprefix("**").lstrip()
    if not OPERATORS.isdisjoint((before[-1:], after[:1])):
        return None
    value = number["number"].rstrip(",")
    if number["percent"]:
        return value + "%"
    if not after or not after[0].isalnum():
        return value
    if EAST_ASIAN.match(after):
        return _with_counting_word(value, after)
    # The words of other scripts may scale the number.
    if not after[0].isascii():
        return None
    word = re.match(r"[A-Za-z]+", after)
    if word:
        return f"{value} {word[0]}"
    return None


def _with_counting_word(value: str, after: str) -> str | None:
    """Return a number with the unit that follows it; None if a sign may change its value."""
    for word in sorted(EAST_ASIAN_UNITS, key=len, reverse=True):
        if after.removeprefix("个").startswith(word):
            return f"{value} {EAST_ASIAN_UNITS[word]}"
    if after[0] in VALUE_SIGNS:
        return None
    return value
