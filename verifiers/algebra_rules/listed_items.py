r"""Judge what a step says about the items that it lists: their number, sum and product.

Examples: `The divisors of 6 are 1, 2, 3 and 6, so there are 5 divisors`; `There are three primes
between 10 and 20: 11, 13, 17 and 19`; `The numbers are 3, 4 and 5. Their sum is 11`. The list must
be complete as written: it ends with its sentence, and nothing says that it is a part ("such as",
"first", dots). The counted noun is that of the list, without other words that restrict it.

What is not covered: items in words, lists that continue in another sentence, and sums of several
lists.
"""

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.lexer import Kind
from verifiers.math.lexicon import NUMBER_WORDS, singular, words

COUNT = "count of listed items"
TOTAL = "sum or product of listed items"

# How much text around a list may speak about it.
MAX_AROUND = 160
OPEN = r"(?:\\\(|\$)? ?"
CLOSE = r"(?: ?\\\)|\$)?"
# A number, a power that may have its value behind it, or a pair or triple of numbers.
NUMBER = (
    r"[-−]?\d{1,9}(?:\.\d{1,6})?(?:\^\{?\d{1,2}\}?(?: ?= ?\d{1,9})?)?(?! ?[-+*/^=!×·]|\w| ?\\[a-z])"
)
TUPLE = r"\( ?[-−]?\d{1,6}(?: ?, ?[-−]?\d{1,6}){1,3} ?\)"
ITEM = rf"{OPEN}(?:{NUMBER}|{TUPLE}){CLOSE}"
AND = r"(?:and|\\text\{ ?and ?\})"
LIST = re.compile(
    rf"(?<![\w.,^_=+*/-])(?:\\left)?(?:\\\{{|\{{)? ?{ITEM}"
    rf"(?: ?,{{1,2}} ?(?:{AND} )?{ITEM}| {AND} {ITEM})+"
    r" ?(?:\\right)?(?:\\\}|\})?(?:\$|\\\))?"
)
SINGLE_ITEM = re.compile(f"({TUPLE})|({NUMBER})")
# `1,000` may be one number.
GROUPED = re.compile(r"\d,\d{3}(?!\d)")
# Signs that make two items of one.
SIGNS = ("\\pm", "±", "\\mp")
END = r"(?: ?\)| ?\\\]| ?\$)*(?:\.(?!\d)|;|\n|$)"
ENDS = re.compile(END)
NUMERAL = rf"(\d{{1,3}}|{'|'.join(NUMBER_WORDS[1:13])})"
SHOWN = rf"(?:\\boxed\{{ ?)?(?:\$|\\\()? ?(?:\\boxed\{{ ?)?{NUMERAL} ?\}}?(?:\$|\\\))?\}}?"
ADJECTIVES = (
    r"(?:(?:prime|positive|negative|perfect|even|odd|possible|different|distinct|such|composite"
    r"|integer|natural|whole|real|unique|two-digit|three-digit|single-digit|proper) ){0,3}"
)
NOUNS = (
    "numbers|integers|primes|divisors|factors|multiples|values|digits|squares|cubes|solutions"
    "|elements|roots|terms|composites|possibilities|points|pairs|triples|outcomes|options"
    "|remainders|residues|candidates|members"
)
TUPLES = words("point pair triple outcome solution possibility combination")
# `There are 3 primes between 1 and 6: ` or `3 composites (` before a list.
COUNT_BEFORE = re.compile(
    rf"(?:^|[\s(]){SHOWN} {ADJECTIVES}({NOUNS})((?: [^.;:!?(\n]{{0,60}})?)"
    r"(?::|, namely,?| \(| are:?|[.,] (?:they|these|which) are:?) ?$",
    re.IGNORECASE,
)
# `, so there are 4 divisors` behind a list.
COUNT_AFTER = re.compile(
    rf"[\s.,;)]{{0,4}}(?:(?:so|thus|hence|therefore|and|for|giving|which (?:means|gives)|meaning"
    rf"|that is),? ){{0,2}}(?:(?:we have|there are|there is|that is|this gives) )?"
    rf"(?:(?:a total of|in total|exactly|a total) )?{SHOWN} ([a-z0-9 -]{{1,60}}?){END}",
    re.IGNORECASE,
)
# The noun phrase of a list: `The positive divisors of 12 are`.
HEAD = re.compile(r"(?:^|[.;:!?,\n])([^.;:!?,\n]{1,120}?) (?:are|are:|are as follows:) ?$")
TOTAL_AFTER = re.compile(
    r"[\s.,;)]{0,4}(?:(?:so|thus|hence|therefore|and|then|now|with),? ){0,2}"
    r"(?:their (sum|product|total)|the (sum|product|total) of"
    r" (?:these|those|them|all (?:of )?these)"
    r"(?: (?:\w+ )?(?:numbers|values|integers|digits|primes|factors|divisors|multiples"
    r"|solutions))?)"
    r" (?:is|equals|=) ",
    re.IGNORECASE,
)
# Words before a list that make it a part of the items, or something else.
PARTIAL = re.compile(
    r"\b(?:such as|for example|e\.g|includ\w*|among|first|last|some|other|others|remaining|rest"
    r"|next|at least|at most|more than|fewer|less than \w+ (?:are|of)|either|not|except|besides"
    r"|only if|another|also|additional\w*|each|respectively|ways?|sets?|groups?|cases?)\b",
    re.IGNORECASE,
)
FILLERS = words("such possible different distinct total of them these those in all altogether the")


def listed_items(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about its lists, with the judgements."""
    count = 0
    for match in LIST.finditer(text):
        listed = match[0]
        before = text[max(0, match.start() - MAX_AROUND) : match.start()]
        if GROUPED.search(listed) or before.rstrip().endswith(SIGNS):
            continue
        count += 1
        items = [item[0] or item[1] for item in SINGLE_ITEM.findall(listed)]
        after = text[match.end() : match.end() + MAX_AROUND]
        yield from _count_before(before, listed, items, after)
        head = HEAD.search(before)
        if head is not None and not PARTIAL.search(head[1]):
            yield from _count_after(head[1], listed, items, after)
            if count == 1:
                yield from _total(listed, items, after)


def _count_before(
    before: str, listed: str, items: Sequence[str], after: str
) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the judgement of `There are three primes: 2, 3, 5`."""
    match = COUNT_BEFORE.search(before)
    if match is None or not ENDS.match(after):
        return
    numeral, noun, rest = match.groups()
    if PARTIAL.search(before[max(0, match.start() - MAX_AROUND) :]) or PARTIAL.search(rest):
        return
    if _are_of_kind(items, noun):
        statement = f"{match[0].strip()} {listed.strip()}"
        yield statement, _judge_count(numeral, items)


def _count_after(
    head: str, listed: str, items: Sequence[str], after: str
) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the judgement of `The primes are 2, 3, 5, so there are three primes`."""
    match = COUNT_AFTER.match(after)
    if match is None:
        return
    numeral, phrase = match.groups()
    head_words = {singular(word) for word in re.findall(r"[\w-]+", head)}
    counted = [singular(word) for word in phrase.split()]
    other_words = [word for word in counted if word not in head_words | FILLERS]
    is_named = (
        any(word in head_words for word in counted) or "them" in counted or "these" in counted
    )
    nouns = [word for word in counted if word in TUPLES] or counted[-1:]
    if is_named and not other_words and _are_of_kind(items, nouns[0]):
        statement = f"{head.strip()} are {listed.strip()}{match[0].rstrip()}"
        yield statement, _judge_count(numeral, items)


def _total(listed: str, items: Sequence[str], after: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the judgement of `… are 2, 3, 5. Their sum is 10`."""
    match = TOTAL_AFTER.match(after)
    if match is None:
        return
    stated = _value(after[match.end() :])
    values = [_value(item) for item in items if not item.startswith("(")]
    numbers = [value for value in values if value is not None]
    if stated is None or len(numbers) != len(items):
        return
    is_product = "product" in (match[1], match[2])
    total = math.prod(numbers) if is_product else sum(numbers, Fraction(0))
    statement = f"{listed.strip()}{match[0].rstrip()} {stated}"
    if total == stated:
        yield statement, HOLDS
    else:
        yield statement, false(TOTAL, f"it is {total}")


def _are_of_kind(items: Sequence[str], noun: str) -> bool:
    """Return whether items can be what the noun says: pairs are tuples, and numbers are not."""
    are_tuples = {item.startswith("(") for item in items}
    if len(are_tuples) > 1:
        return False
    kind = singular(noun)
    if kind in ("solution", "possibility", "outcome", "option", "candidate", "element", "member"):
        return True
    return (kind in TUPLES) is are_tuples.pop()


def _judge_count(numeral: str, items: Sequence[str]) -> StepJudgement:
    """Judge a count. Equal items may count once."""
    lower = numeral.lower()
    number = int(numeral) if numeral.isdigit() else NUMBER_WORDS.index(lower)
    if number in (len(items), len(set(items))):
        return HOLDS
    return false(COUNT, f"{len(items)} are listed")


def _value(text: str) -> Fraction | None:
    """Return the value of the formula at the start of a text, if it is closed and complete."""
    sequence = tokens(text.strip().lstrip("$").removeprefix("\\("))
    parsed = parse(sequence)
    if parsed is None:
        return None
    tree, length = parsed
    # A unit, or another word that changes what the number says.
    if any(token.kind is Kind.WORD for token in sequence[:length]):
        return None
    following = sequence[length : length + 1]
    if following and following[0].text not in (".", ",", ";", "=", "$", "\\)", "\n"):
        return None
    return exact_value(tree)
