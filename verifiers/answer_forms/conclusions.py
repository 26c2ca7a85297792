r"""The value that the end of a worked text states, in several languages.

    Therefore she has **18** eggs.      因此，一共有858颗糖果。      Donc, il a 79 g de cire.
    面积 = 72000 / 18 = 4000千克         D, it can't be A or B

A conclusion is a last sentence with a word such as "therefore" and exactly one number behind this
word, exactly one bold number, or a number behind the last equals sign. A verb such as "is" or "has"
must be before the number. Words that deny, bound or scale the number leave no value. The result
suffices to confirm a reference. It does not suffice to refute one, because the sentence may state
something else than the answer.

`verifiers.answers` passes texts of at most 2,000 characters, so that all patterns are fast enough.
"""

import re

from verifiers.answer_forms.notation import NOT_ASSERTED
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
    r"(?P<number>(?<![A-Za-z0-9.,/^_])(?:[-−](?=\d))?\d(?:[\d,]*\d)?(?:\.\d+)?(?:/\d+)?|\\frac\{\d{1,9}\}\{\d{1,9}\})"
    r"(?P<percent> ?\\?%)?(?![A-Za-z\d])"
)
ARITHMETIC = re.compile(r"\d[\d\s.,()+*/×÷·−-]*\Z")
# What may be directly before the number that a sentence states: "is divisible by 5" states no 5.
STATING = re.compile(
    r"(?:(?<![^\W\d_])(?:is|are|was|were|equals?|has|have|had|gets?|got|costs?|pays?|paid|spends?|spent"
    r"|earns?|earned|makes?|made|takes?|took|gives?|sold|sells?|bought|buys?|left|remains?|total"
    r"|exactly|already|now|est|sont|vaut|a|ont|reste|restent|paie|paient|coûte|déjà|exactement"
    r"|es|son|tiene|tienen|quedan?|paga|pagan|cuesta|é|são|tem|têm|restam?|custa|è|sono|ha|hanno"
    r"|costa|ist|sind|hat|haben|bezahlt|zahlt|kostet|bleiben|heeft|hebben|zijn|kost"
    r"|равен|равна|равно|это|составляет|стоит|هو|هي|يساوي)"
    r"|[是有为剩共多付花走买得=]|剩下|等于|得到)\Z",
    re.IGNORECASE,
)
DURATION = re.compile(r"(?:小时|分钟|秒|天)内")
# Words that deny, bound, weaken or scale a number.
UNCERTAIN = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|if|unless|whether|least|most|than|between|about"
    r"|approximately|around|roughly|nearly|almost|maybe|perhaps|possibly|might|may|could|would"
    r"|should|half|dozens?|hundreds?|thousands?|\w*illions?|negative|minus|loss|loses?|lost|debt"
    r"|wrong|incorrect|error|except|remainder|cases?|steps?|equations?|check|need|times|fold|divi\w+"
    r"|multiples?|factors?|factorial|roots?|square\w*|cub\w+|powers?|base|digits?|mod(?:ulo)?"
    r"|ne|pas|non|si|environ|presque|moins|plus|peut|faux|mille|milliers?|milliards?|douzaines?"
    r"|demi\w*|sauf|perdu?|nunca|casi|aproximadamente|menos|más|falso|mil|miles|millones|docenas?"
    r"|medi[oa]|tal vez|quizás|não|nem|quase|cerca|mais|milhões|milhares|dúzias?|mei[oa]|talvez"
    r"|quasi|circa|meno|più|forse|mila|milioni|mezz[oa]|dozzin[ae]|nicht|kein\w*|nie|wenn|etwa"
    r"|ungefähr|fast|mindestens|höchstens|weniger|mehr|vielleicht|tausend|millionen?|dutzend"
    r"|halb\w*|minus|niet|geen|als|ongeveer|bijna|minder|meer|duizend|miljoen|dozijn|half"
    r"|не|нет|если|около|почти|примерно|минус|менее|более|меньше|больше|тысяч\w*|миллион\w*"
    r"|половин\w*|дюжин\w*|ليس|لا|لم|لن|إذا|حوالي|تقريبا|تقريباً|أقل|أكثر|نصف|ألف|مليون)\b"
    r"|n['’]t\b|[不没無无非约若负错半倍几余]|如果|假设|假如|大概|左右|至少|至多|最多|最少|超过"
    r"|少于|多于|大于|小于|以上|以下|可能|也许|或|整除|次方|平方根|倍数|因数|进制|才能|第",
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
    if clause is None or UNCERTAIN.search(clause) or NOT_ASSERTED.search(clause):
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
        return _value(clause, bold[0])
    before, equals, after = clause.rpartition("=")
    if not equals:
        return _value(clause, clause)
    # The left side is a computation, which begins behind the last word.
    if not ARITHMETIC.search(before) and not EAST_ASIAN_SUBJECT.match(clause):
        return None
    return _value("=" + after, after)


def _value(clause: str, part: str) -> str | None:
    """Return the only number of a part of a clause with its percent sign or its unit."""
    numbers = list(NUMBER.finditer(part))
    if len(numbers) != 1 or "$" in part or "^" in clause:
        return None
    number = NUMBER.match(clause, clause.index(part) + numbers[0].start())
    if number is None:
        return None
    before = clause[: number.start()].rstrip(" \t:：(\\*$€£")
    after = clause[number.end() :].lstrip(" )\\").removeprefix("**").lstrip()
    # `在300分钟内` states a duration.
    is_duration = before.endswith("在") and DURATION.match(after)
    if not (STATING.search(before) or is_duration):
        return None
    return _with_unit(number, after)


def _with_unit(number: re.Match[str], after: str) -> str | None:
    """Return a number with its percent sign or the unit that a text begins with."""
    value = number["number"]
    if number["percent"]:
        return value + "%"
    if not after:
        return value
    # Brackets, commas and ellipses make the number a part of something else.
    if not after[0].isalnum():
        return None
    if EAST_ASIAN.match(after):
        return _with_counting_word(value, after)
    # The words of other scripts may scale the number.
    word = re.match(r"[A-Za-z]+", after)
    return f"{value} {word[0]}" if word else None


def _with_counting_word(value: str, after: str) -> str | None:
    """Return a number with the unit that follows it; None if a sign may change its value."""
    for word in sorted(EAST_ASIAN_UNITS, key=len, reverse=True):
        if after.removeprefix("个").startswith(word):
            return f"{value} {EAST_ASIAN_UNITS[word]}"
    if after[0] in VALUE_SIGNS:
        return None
    return value
