r"""Extract the final answer that a solution states.

A statement is `\boxed{…}`, `<answer>…</answer>`, `#### …`, a last line `A: …`, or a phrase such as
"the answer is …". A number at the end of a text is not an answer by itself. Of several statements
the last counts, if the text shows that it is meant:

- Thinking (`<think>…</think>`) states nothing, and neither does a question that the model added.
- Boxes in a row, as in `\boxed{2} and \boxed{3}`, are one answer of several values.
- A later statement that differs counts if the text takes the earlier one back ("Wait, …"), or if
  the earlier one was an intermediate result. Otherwise the text states no answer: see
  `why_no_answer`. The same holds for a box in a check and for an answer that is taken back.

The answer is returned as written (`x = 5`, `(A)`, `\{1, 2\}`, `2 1/2`, `12%`), without its wrapping
and, after a plain number in prose, without words that only name what is counted. Units that convert
into others (`50 cents`) and words that change the value (`4 thirds`) stay.

What is not covered: answers in words before the phrase ("18 is the answer").
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from stepmark.thinking import after_thinking

__all__ = ["VERSION", "final_answer", "why_no_answer"]

# Increment when another answer is extracted from a text: existing grades are then recomputed.
VERSION = 5
# A solution whose last line or sentence states a short integer and which states nothing else is the
# most frequent one, and needs none of the rules.
PLAIN_LAST_LINE = re.compile(r"(?:The (?:final )?answer is:? |#### |A: )(-?\d{1,18})\.?", re.ASCII)
PLAIN_LAST_SENTENCE = re.compile(r"The (?:final )?answer is:? (-?\d{1,18})\.?", re.ASCII)
# Every statement contains one of these. Single signs come first, because Python searches them fast.
STATING = ("\\", "#", "案", "nswer", "NSWER", "orrect ")

BOX = re.compile(r"\\(?:boxed|fbox) ?\{")
# A brace, or an escaped sign.
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
HASHES = "####"
HEADING = re.compile(r"[^\W\d_]{4,}")
"""A word. `#### Step 3` with text below it is a heading, `#### 18` states an answer."""
LAST_LINE = re.compile(r"A: ?(?P<answer>\S.*)")
TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
PHRASE = re.compile(
    r"(?<![^\W\d_])(?:answer(?: (?:is|was|would be|will be|equals)\b:?|\*{0,2}:| ?=)"
    r"|correct (?:option|choice|answer) is\b:?|答案(?:[是为]|[:：])[:：]?)",
    re.IGNORECASE,
)
# In French, Spanish, Portuguese, Italian, German, Dutch, Russian, Japanese and Korean.
OTHER_LANGUAGES = re.compile(
    r"(?<![^\W\d_])(?:réponse|respuesta|resposta|risposta|antwort|antwoord|ответ|答え|정답)"
    r"(?: (?:finale?|correcte?|correcta|correta|corretta))?"
    r"(?: ?\*{0,2}[:：]| (?:est|es|é|è|ist|lautet|is|equals)(?= )| ?[は은])",
    re.IGNORECASE,
)
# A statement in another language is searched at the end only.
MAX_ENDING_CHARS = 300
# Parts of the beginnings of PHRASE and their distance from it: `str.rfind` is much faster than
# searching with a regular expression.
OPENINGS = (("nswer", 1), ("NSWER", 1), ("orrect ", 1), ("答案", 0))
# Words before a phrase that only supposes an answer.
SUPPOSING = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|whether|unless|imagine|say)\b[^.!?\n]*\Z",
    re.IGNORECASE,
)
SUPPOSING_CHARS = 40
# Words between the phrase and the answer.
FILLER = re.compile(
    r"[\s*:]*(?:(?:therefore|thus|hence|then|simply|just|exactly|indeed|equal to"
    r"|(?:the )?(?:option|choice)(?= ?\(?[A-J]\b)),?\s+)",
    re.IGNORECASE,
)
# What follows a phrase that states a value, and no property of the answer ("is correct").
VALUE = re.compile(r"\d|\\|\(?[A-J]\)?(?!\w)|(?:yes|no|true|false)\b", re.IGNORECASE)
# A full stop within a number or an abbreviation is not followed by white space.
SENTENCE_END = re.compile(r"\.(?=\s|$)|。")
DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
NUMBER_AND_WORDS = re.compile(
    r"(?P<number>[-−]?(?:\\?[$€£] ?)?[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?) +(?P<words>[^\d]+)"
)
# Words behind a number that change its value, state a bound or a condition, or name a unit that
# converts into others: the answer keeps them.
MEANINGFUL_WORDS = re.compile(
    r"^\W|[\\^=<>+*/~$%&|]|\b[b-z]\b|\b(?:[ap]\.?m"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty"
    r"|half|halves|\w*thirds?|\w*quarters?|\w+[xnrf]ths?|sevenths?|eighths?|hundredths?"
    r"|thousandths?|tenths?|tens|hundreds?|thousands?|\w+illions?|dozens?|scores?|gross|pairs?"
    r"|couples?|lakhs?|crores?|grand|bn|mn|and|or|to|by|in|mod|modulo|more|less|fewer|times|plus"
    r"|minus|divided|multiplied|over|percent|per ?cent|percentage|than|pi|squared|cubed|roots?"
    r"|factorial|degrees?|radians?|below|under|above|negative|short|past|before|after|until|till"
    r"|ago|early|late|loss|debt|deficit|least|most|about|approximately|roughly|if|unless|when|but"
    r"|not|instead|except|plus|base|binary|old|o'clock|fold|noon|midnight"
    r"|january|february|march|april|may|june|july|august|september|october|november|december"
    r"|cents?|penn(?:y|ies)|pence|nickels?|dimes?|dollars?|bucks?|euros?|pounds?|yen|rupees?|yuan"
    r"|pesos?|francs?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?"
    r"|months?|years?|yrs?|decades?|century|centuries"
    r"|inch(?:es)?|feet|foot|ft|yards?|yds?|miles?|mi|\w*met(?:er|re)s?|[cdkm]ms?|\w*grams?|kgs?"
    r"|kilos?|mgs?|ounces?|ozs?|lbs?|tons?|tonnes?|\w*lit(?:er|re)s?|[cdm]ls?|cups?|pints?|pts?"
    r"|quarts?|qts?|gallons?|gals?|(?:tea|table)spoons?|tsps?|tbsps?|acres?|hectares?|ha|[mk]ph"
    r"|kmh|\w*bytes?"
    # The units of physics, with the prefixes for thousands; single letters are above.
    r"|[kmg](?:b|w|j|a|v|n)|[kmg]?(?:wh|ev|pa|hz|cal|mol)|[mn]s"
    r"|(?:kilo|mega|giga|milli|micro|nano)\w+"
    r"|watts?|joules?|pascals?|hertz|amperes?|volts?|newtons?|calories?|moles?)\b",
    re.IGNORECASE,
)
# Rates, such as `per day`, are no units that convert.
RATE = re.compile(r"\b(?:per|an?|each|every) (?!hundred|thousand|cent\b)\w+")
# Names of points or units.
NAMES_IN_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
# The beginning of another question, which a model adds when it does not stop. Both patterns begin
# with a sign that is found quickly.
NEXT_QUESTION = re.compile(
    r"\n(?:[#* ]*(?:Question|Problem|Exercise|Example|Human|User|Q)\b[^\n:]{0,12}:"
    r"|### Instruction)"
)
NEXT_TURN = re.compile(
    r"<(?:\|(?:im_start|start_header_id)\|>user|\|(?:user|im_end|eot_id|end|endoftext)\|>|/s>)"
    r"|\[INST\]"
)
# Text that takes back what is before it. After the last statement, only clear words count.
TAKEN_BACK = re.compile(
    r"\b(?:wait|oops|hold on|scratch that|sorry|apologi[sz]e|correction|mistaken?|wrong|incorrect"
    r"|not (?:right|correct)|let(?: me|'s) (?:re|correct|fix|try again)"
    r"|misread|forgot|miscalculated|actually|instead|rather|but)\b|\bno[,:.!]",
    re.IGNORECASE,
)
TAKEN_BACK_AT_END = re.compile(
    r"\b(?:wait|oops|hold on|scratch that|correction:"
    r"|(?:that|this|it|which|answer)(?:'s| is| was| seems| looks)"
    r" (?:a )?(?:wrong|incorrect|not (?:right|correct)|mistake|mistaken)"
    r"|(?:made|making) (?:a|an|some) \w*\s?(?:mistake|error|slip)s?|I was wrong|I miscalculated"
    r"|let me (?:redo|retry|recalculate|recompute|reconsider|correct|fix|try again))\b|\bno, ",
    re.IGNORECASE,
)
# Directly behind a statement, these words deny or limit it.
DENIED_BEHIND = re.compile(
    r"[\s$.)\]\\]*(?:(?:is|was|seems|looks) (?:wrong|incorrect|not|too)\b|But\b|However\b)"
)
ENDING_SIGNS = " \n$.*)]}\\"
# Every match contains one of the words, which Python searches faster than a pattern.
DENIALS = ("not", "never", "n't", "n’t")
DENIED_BEFORE = re.compile(r"(?:\b(?:not|never|cannot be)|n['’]t)[\s$*]*(?:\\[(\[])?\s*\Z")
DENIED_CHARS = 20
CHECKING = re.compile(
    r"\b(?:check|checks|checking|double-check|verif\w+|substitut\w+ back|plug\w* (?:\w+ )?back"
    r"|back into|sanity|confirm\w*|indeed)\b",
    re.IGNORECASE,
)
# What may stand between the boxes of one answer, besides a name and an equals sign.
NAME_BEFORE_BOX = r"(?:[^\W\d_](?:_\{?\w\}?)?(?:\([^\W\d_]\))? ?= ?)"
BLANK = r"(?:\s|\$|\\q?quad|\\[)(\]\[, ])*"
BETWEEN_BOXES = re.compile(
    rf"{BLANK}(?:,|;|&|,? ?\b(?:and|or)\b|,? ?\\text ?\{{ ?(?:and|or) ?\}})"
    rf"{BLANK}{NAME_BEFORE_BOX}?"
)
NAMED_BOX = re.compile(rf"(?<![^\W\d_\\]){NAME_BEFORE_BOX}\Z")
BLANKS = re.compile(r"\$|\\[()\[\], ]|\\q?quad")
# Words that make a box the conclusion from another in its sentence.
CONCLUDING = re.compile(
    r"\b(?:so|thus|therefore|hence|answer|total|gives?|then|finally|result|equals)\b|=|⇒|→|\\implies",
    re.IGNORECASE,
)
PART = re.compile(r"^[*\s]*(?:\(?[a-h]\)|[a-h]\.|Part )", re.MULTILINE | re.IGNORECASE)
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d{1,30})\}\{(\d{1,30})\}")
NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?(?:/\d{1,30})?")
NAME_BEFORE_VALUE = re.compile(r"^[^\W\d_]=(?=[^=])")
INSIGNIFICANT = re.compile(r"\\[!,;: ]|\\left|\\right|[$\s{}*]|(?<=\d),(?=\d{3})|\.$")
# Bounds the work on a text without line breaks.
MAX_PHRASE_CHARS = 1_000
# Longer text between two boxes, and longer answers, are not read; some patterns are not linear.
MAX_JOINING_CHARS = 60
MAX_COMPARED_CHARS = 300
# Of more statements than this, only the last are compared.
MAX_STATEMENTS = 8


class Statement(NamedTuple):
    """A place where a text states an answer; `answer` is None if it is cut off or empty."""

    start: int
    end: int
    kind: str
    answer: str | None


class Search(NamedTuple):
    """The final answer of a text, or the reason why there is none."""

    answer: str | None
    reason: str = ""


def final_answer(text: str) -> str | None:
    r"""Return the final answer as written, without its wrapping.

    None if the text states no answer, ends within its last box, or does not show which of several
    statements counts.

    >>> final_answer(r"so \boxed{\frac{1}{2}}. Done.")
    '\\frac{1}{2}'
    >>> final_answer("The answer is 18 apples per day.")
    '18'
    """
    plain = text.rstrip()
    start = plain.rfind("\n") + 1
    pattern = PLAIN_LAST_LINE
    sentence_border = plain.rfind(". ", start)
    if sentence_border >= 0:
        start = sentence_border + len(". ")
        pattern = PLAIN_LAST_SENTENCE
    stated = pattern.fullmatch(plain, start)
    if stated and _states_nothing(text[:start]):
        return stated[1]
    return _search(text).answer


def why_no_answer(text: str) -> str:
    """Return why `final_answer` returns None for a text; "" if it returns an answer."""
    search = _search(text)
    if search.answer is not None:
        return ""
    return search.reason or "no final answer"


def _states_nothing(text: str) -> bool:
    """Return whether a text certainly has no statement and no thinking."""
    for part in STATING:
        if part in text:
            return False
    return after_thinking(text) == text


def _search(text: str) -> Search:
    visible = after_thinking(text)
    if visible is None:
        return Search(None, "the thinking has no end")
    statements = _statements(visible)
    if not statements:
        return Search(None, "no final answer")
    if len(statements) > 1:
        answered = _before_next_question(visible)
        if answered != visible:
            visible = answered
            statements = _statements(visible)
    return _decide(visible, statements)


def _before_next_question(text: str) -> str:
    """Return the text before a further question, if an answer is stated before it."""
    if not NEXT_QUESTION.search(text) and not NEXT_TURN.search(text):
        return text
    first = _first_statement_end(text)
    end = len(text)
    question = NEXT_QUESTION.search(text, first - 1)
    if question:
        end = question.start() + 1
    turn = NEXT_TURN.search(text, first)
    if turn:
        end = min(end, turn.start())
    return text[:end]


def _first_statement_end(text: str) -> int:
    """Return the position behind the beginning of the first statement, or of the text's end."""
    ends = [len(text)]
    for pattern in (BOX, PHRASE, TAG):
        match = pattern.search(text)
        if match:
            ends.append(match.end())
    hashes = text.find(HASHES)
    if hashes >= 0 and _line_after_hashes(text, hashes) is not None:
        ends.append(hashes + len(HASHES))
    return min(ends)


def _statements(text: str) -> Sequence[Statement]:
    """Return the last statements in their order, without those inside of others."""
    candidates = _inner_statements(text)
    candidates += _tags(text)
    stripped = text.rstrip()
    line_start = stripped.rfind("\n") + 1
    if stripped.startswith("A:", line_start):
        stated = LAST_LINE.fullmatch(stripped, line_start)
        if stated and not BOX.search(stated["answer"]):
            answer = _strip_wrapping(stated["answer"])
            candidates.append(Statement(line_start, len(text), "hashes", answer))
    if not candidates:
        return _stated_in_other_language(text)
    if len(candidates) < 2:
        return candidates
    candidates.sort()
    tags = [statement for statement in candidates if statement.kind == "tag"]
    statements = list[Statement]()
    for statement in candidates[-MAX_STATEMENTS:]:
        if any(tag.start < statement.start and statement.end <= tag.end for tag in tags):
            continue
        # "Final answer: the answer is 5" states one answer.
        if statements and statements[-1].kind != "tag" and statement.start < statements[-1].end:
            statements.pop()
        statements.append(statement)
    return statements


def _inner_statements(text: str) -> list[Statement]:
    """Return the last statements of each kind, apart from tags."""
    candidates = list[Statement]()
    # Python searches single signs much faster than words.
    if "\\" in text and "box" in text:
        candidates += _boxes(text)
    if "#" in text:
        candidates += _hashes(text)
    candidates += _phrases(text)
    return candidates


def _boxes(text: str) -> Iterator[Statement]:
    """Yield the last boxes, of nested ones the innermost; a box without an end has no answer."""
    starts = [(match.start(), match.end()) for match in BOX.finditer(text)][-MAX_STATEMENTS:]
    for index, (start, content_start) in enumerate(starts):
        next_start = starts[index + 1][0] if index + 1 < len(starts) else len(text)
        end = _closing_brace(text, content_start)
        # The inner of two nested boxes is yielded instead.
        if next_start < end:
            continue
        before = text[max(0, start - DENIED_CHARS) : start]
        if any(word in before for word in DENIALS) and DENIED_BEFORE.search(before):
            continue
        content = text[content_start:end] if end < len(text) else ""
        yield Statement(start, min(end + 1, len(text)), "box", _strip_wrapping(content))


def _closing_brace(text: str, start: int) -> int:
    """Return the position of the brace that closes the one before `start`; the end without one."""
    depth = 1
    for brace in BRACE.finditer(text, start):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
        if depth == 0:
            return brace.start()
    return len(text)


def _tags(text: str) -> Iterator[Statement]:
    if "<" not in text or "<answer" not in text:
        return
    for match in [*TAG.finditer(text)][-MAX_STATEMENTS:]:
        inner = match[1]
        statements = _inner_statements(inner)
        answer = _strip_wrapping(inner)
        if statements:
            answer = _decide(inner, sorted(statements)).answer
        yield Statement(match.start(), match.end(), "tag", answer)


def _hashes(text: str) -> Iterator[Statement]:
    """Yield the lines after the last `####`, without headings."""
    end = len(text)
    for _ in range(MAX_STATEMENTS):
        position = text.rfind(HASHES, 0, end)
        if position < 0:
            return
        end = position
        line = _line_after_hashes(text, position)
        if line is None or BOX.search(line):
            continue
        yield Statement(
            position, position + len(HASHES) + len(line), "hashes", _strip_wrapping(line)
        )


def _line_after_hashes(text: str, position: int) -> str | None:
    """Return the rest of the line after `####`; None if it is a heading."""
    start = position + len(HASHES)
    line_end = text.find("\n", start)
    if line_end < 0:
        return text[start:]
    line = text[start:line_end]
    has_text_below = not text[line_end : line_end + MAX_PHRASE_CHARS].isspace()
    if has_text_below and HEADING.search(line):
        return None
    return line


def _phrases(text: str) -> Iterator[Statement]:
    """Yield the last phrases that state an answer, last one first.

    Candidates are searched backwards with `str.rfind`, because most of the time of grading is spent
    in this function.
    """
    last = [text.rfind(opening) for opening, _ in OPENINGS]
    count = 0
    while count < MAX_STATEMENTS:
        position = max(last)
        if position < 0:
            return
        index = last.index(position)
        opening, distance = OPENINGS[index]
        last[index] = text.rfind(opening, 0, position + len(opening) - 1)
        phrase = PHRASE.match(text, position - distance) if position >= distance else None
        if phrase is None:
            continue
        count += 1
        start = phrase.start()
        statement = _stated_by(text, phrase)
        if statement is not None and not SUPPOSING.search(
            text[max(0, start - SUPPOSING_CHARS) : start]
        ):
            yield statement


def _stated_in_other_language(text: str) -> Sequence[Statement]:
    """Return the last statement near the end of a text that has none in English or Chinese."""
    phrase = None
    for match in OTHER_LANGUAGES.finditer(text, max(0, len(text) - MAX_ENDING_CHARS)):
        phrase = match
    if phrase is None:
        return []
    statement = _stated_by(text, phrase)
    if statement is None:
        return []
    return [statement]


def _stated_by(text: str, phrase: re.Match[str]) -> Statement | None:
    """Return the statement of a phrase; None for a question, or a box, which states it itself."""
    after = text[phrase.end() : phrase.end() + MAX_PHRASE_CHARS].strip().lstrip("*").lstrip()
    if after.lstrip("$\\([ ").startswith(("boxed{", "boxed {")):
        return None
    while filler := FILLER.match(after):
        after = after[filler.end() :]
    formula = _display_formula(after)
    if formula is not None:
        first_sentence = formula
        answer = _strip_wrapping(formula)
    else:
        line = after.partition("\n")[0].partition("<|")[0]
        first_sentence = SENTENCE_END.split(line, maxsplit=1)[0]
        answer = _strip_unit(_strip_wrapping(first_sentence))
    if first_sentence.endswith("?") or "boxed" in first_sentence or "<answer>" in first_sentence:
        return None
    kind = "phrase" if _has_value(answer) else "words"
    if text[: phrase.start()].lower().endswith("final "):
        kind = "final"
    # The sentence is found again, because what was stripped before it has any length.
    end = text.find(first_sentence, phrase.end()) + len(first_sentence)
    return Statement(phrase.start(), end, kind, answer)


def _has_value(answer: str | None) -> bool:
    if answer is None:
        return False
    return bool(VALUE.match(answer)) or "\\" in answer or any(map(str.isdigit, answer))


def _decide(text: str, statements: Sequence[Statement]) -> Search:
    """Return the answer of the statement that counts."""
    if len(statements) > 1:
        values = [statement for statement in statements if statement.kind != "words"]
        # "The answer is Friday" counts if nothing else is stated.
        statements = values or statements
    last = statements[-1]
    # Most texts end behind the statement, apart from signs.
    if text[last.end :].strip(ENDING_SIGNS) and (
        DENIED_BEHIND.match(text, last.end) or TAKEN_BACK_AT_END.search(text, last.end)
    ):
        return Search(None, "the answer is taken back")
    if len(statements) == 1:
        return Search(last.answer)
    joined = _joined_boxes(text, statements)
    if joined is not None:
        return Search(joined)
    if last.answer is None:
        return Search(None)
    earlier = statements[-2]
    if earlier.answer is None or _is_same(earlier.answer, last.answer):
        return Search(last.answer)
    between = text[earlier.end : last.start]
    if TAKEN_BACK.search(between):
        return Search(last.answer)
    if CHECKING.search(between):
        return Search(None, "a check states another value")
    return _decide_unexplained(text, earlier, last, between)


def _decide_unexplained(text: str, earlier: Statement, last: Statement, between: str) -> Search:
    """Decide between two statements that differ, without words that explain why."""
    both = Search(None, f"two answers: {earlier.answer} and {last.answer}"[:200])
    if earlier.kind == last.kind == "box":
        is_one_sentence = not SENTENCE_END.search(between) and "\n" not in between
        is_part = bool(PART.search(text, text.rfind("\n", 0, last.start) + 1, last.start))
        if is_part or (is_one_sentence and not CONCLUDING.search(between)):
            return both
        return Search(last.answer)
    # An intermediate answer comes before a box, a tag or a final answer.
    order = ("phrase", "words", "box", "final", "hashes", "tag")
    is_phrase_again = earlier.kind == last.kind == "phrase"
    is_later = is_phrase_again or order.index(earlier.kind) < order.index(last.kind)
    is_final = earlier.kind == "phrase" or last.kind in ("tag", "final")
    if is_later and is_final:
        return Search(last.answer)
    return both


def _joined_boxes(text: str, statements: Sequence[Statement]) -> str | None:
    r"""Return boxes in a row as one answer: `x = \boxed{3}` and `y = \boxed{4}`."""
    row = [statements[-1]]
    for statement in reversed(statements[:-1]):
        if row[0].start - statement.end > MAX_JOINING_CHARS:
            break
        if not BETWEEN_BOXES.fullmatch(text, statement.end, row[0].start):
            break
        row.insert(0, statement)
    if len(row) < 2 or any(box.kind != "box" or not box.answer for box in row):
        return None
    line_start = text.rfind("\n", 0, row[0].start) + 1
    name = NAMED_BOX.search(text[max(line_start, row[0].start - 12) : row[0].start])
    joined = (name[0] if name else "") + (row[0].answer or "")
    for box, following in pairwise(row):
        joined += text[box.end : following.start] + (following.answer or "")
    return " ".join(BLANKS.sub(" ", joined).split())


def _is_same(left: str, right: str) -> bool:
    """Return whether two answers are spellings of one value."""
    if max(len(left), len(right)) > MAX_COMPARED_CHARS:
        return left == right
    a = _canonical(left)
    b = _canonical(right)
    return a == b or (isinstance(a, str) and isinstance(b, str) and a.lower() == b.lower())


def _canonical(answer: str) -> Fraction | str:
    answer = INSIGNIFICANT.sub("", FRACTION.sub(r"\1\2/\3", _strip_unit(answer) or ""))
    answer = NAME_BEFORE_VALUE.sub("", answer.replace("\\", ""))
    number = re.match(r"-?\d{1,30}(?:\.\d{1,30})?(?:/\d{1,30})?", answer)
    if number is None:
        return answer
    words = answer[number.end() :]
    # Units such as dollars may be missing on one side.
    if not words.isalpha() and words:
        return answer
    try:
        return Fraction(number[0])
    except (ValueError, ZeroDivisionError):
        return answer


def _display_formula(text: str) -> str | None:
    r"""Return the formula that a text begins with, if it is set off by `$$` or `\[`."""
    if not text.startswith(("$$", "\\[")):
        return None
    closing_delimiter = "$$" if text.startswith("$") else "\\]"
    formula, closing, _ = text[2:].partition(closing_delimiter)
    return formula if closing else None


def _strip_unit(answer: str | None) -> str | None:
    """Remove the words after a number that only name what is counted: `18 apples` is 18.

    `5 pm`, `3 or 4`, `2 million`, `4 thirds` and `50 cents` are returned unchanged.
    """
    quantity = NUMBER_AND_WORDS.fullmatch(answer or "")
    if quantity is None:
        return answer
    words = quantity["words"]
    if MEANINGFUL_WORDS.search(RATE.sub("", words)) or NAMES_IN_CAPITALS.search(words):
        return answer
    return quantity["number"]


def _strip_wrapping(answer: str) -> str | None:
    """Remove emphasis, delimiters of mathematics and a final full stop; None if nothing is left."""
    answer = _strip_stop(answer.strip().strip("*`").strip()).strip()
    if answer.startswith(("$", "\\")):
        for opening, closing in DELIMITERS:
            inner = answer[len(opening) : -len(closing)]
            # `$3$ and $4$` is two formulas, not one in a pair of delimiters.
            if answer == opening + inner + closing and inner and closing not in inner:
                answer = inner.strip()
    return _strip_stop(answer) or None


def _strip_stop(answer: str) -> str:
    """Remove a full stop; an ellipsis belongs to the number before it."""
    if answer.endswith(".."):
        return answer
    return answer.removesuffix(".")
