"""Parsing of judge replies: the verdict on each step, in JSON or in lines of a fixed form.

A verdict is read only where nothing around it negates or limits it. What is not covered: verdicts
in prose, in another language or in any other wording. A step without a verdict in a known form is
UNKNOWN.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.judging.quotations import Quotations
from stepmark.records import Verdict
from stepmark.thinking import after_thinking

__all__ = [
    "MAX_REPLY_CHARS",
    "StepVerdict",
    "read_step_verdict",
    "read_verdicts",
    "reply_schema",
]

# About 70,000 tokens. Parsing takes linear time, and the worst reply of this length blocks the
# event loop for some tenths of a second.
MAX_REPLY_CHARS = 1 << 18
"""The number of characters of a reply that are stored; a longer reply is not parsed."""
# Rationales are stored once per step; the critiques table contains the whole reply.
MAX_RATIONALE_CHARS = 500

# A line on one step that ends with a verdict: "Step 3: ... correct", "**Step 3**: Incorrect.",
# "Step 3: \boxed{incorrect}". A line that starts with a brace is JSON, hence the `{` in the first
# class. Possessive quantifiers and classes without a line break keep the search linear, because a
# hostile reply with a million line breaks must not block the event loop.
VERDICT_LINE = re.compile(
    r"^(?:[^\w\n{]|_)*+step[^\w\n]*+(?P<number>\d{1,6})\b"
    r"(?P<before>[^\n]*)\b(?P<verdict>correct|incorrect)\b(?P<after>[^\w\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
# Between the number and the verdict of a line on several steps ("Step 1-3: incorrect"), which
# leaves open which of them is meant, or on a part of a step ("Step 2.1").
RANGE = re.compile(
    r"\.\d|\s*(?:[-–—&,]|(?:and|to|or|through|until)\b)\s*(?:steps?\s*)?\d+\s*"
    r"(?:[:|)]|(?:is|are)\b|$)",
    re.IGNORECASE,
)
# A step that a line mentions: "unlike step 1, which is incorrect" is no verdict on another one.
STEP_MENTION = re.compile(
    r"\bsteps?[^\w\n]*+(?P<number>\d{1,6})(?:\s*(?:[-–,&]|and|to|or)\s*\d{1,6})*+"
    r"|\b(?:previous|earlier|preceding|prior|other|last|next|following)\s+(?:step|line|one)s?\b",
    re.IGNORECASE,
)
# What is before the name of another step that begins a statement, and after one that ends it.
HEADING_START = re.compile(r"(?:^|[.;:!?|,→])[^\w.;:!?|,→]*+\Z")
SENTENCE_END = re.compile(r"[.;!]\s")
# The borders of the sentence that states a verdict. A dot within a number is none.
SENTENCE_BORDER = re.compile(
    r"[.;!?|](?=[^\w]|$)|[→⇒—]|->|=>|\b(?:so|thus|hence|therefore)\b", re.IGNORECASE
)
# The borders of its last clause.
CLAUSE_BORDER = re.compile(r"[,:–]|(?<=\s)-(?=\s)")
# What is left of the verdict by its nearest border, in words: "Method: correct" is no verdict on
# the step, but a longer text is an explanation.
MAX_LABEL_WORDS = 3
# A clause that states the verdict on something before it, not on the step.
RELATIVE_WORDS = frozenset(("which", "that"))
VERBS = frozenset(("is", "are", "was"))
# Words for the step of the line, also behind the name of another step.
OWN_SUBJECTS = frozenset(("this", "it"))
FORMULA = re.compile(r"[\d=<>]")
CONTRAST = re.compile(
    r"\b(?:not|no|never|without|avoids?|avoiding|unlike|instead|rather|but|however|although|though"
    r"|while|whereas|reference|actual|actually|really)\b|n['’]t\b",
    re.IGNORECASE,
)
# The words that may occur between the last border and a verdict: "this is", "step 2 is", "\boxed".
# A word that is not in the list can change the meaning: "far from", "only partially", "7 would be".
FILLER_WORDS = """
it this that which the step is are was am i find judge mark marked also again still clearly
definitely entirely completely fully all everything overall final my verdict judgement judgment
assessment boxed text textbf mathbf mathrm b strong
"""
# What can be incorrect and makes the step incorrect, but is only a part of a correct step.
PART_WORDS = """
conclusion answer result value sum product calculation computation arithmetic equation statement
claim reasoning
"""
FILLERS = {
    Verdict.CORRECT: frozenset(FILLER_WORDS.split()),
    Verdict.INCORRECT: frozenset(FILLER_WORDS.split() + PART_WORDS.split()),
}
# A condition or a doubt in the sentence: "if x > 0, this is correct", "might be: incorrect".
HEDGE = re.compile(
    r"\b(?:if|unless|assuming|provided|would|could|might|may|should|perhaps|maybe|possibly|probably"
    r"|likely|unlikely|whether|unsure|uncertain|unclear|doubt\w*|seems?|appears?|looks?|almost"
    r"|nearly|partially|partly|mostly|except|apart|cannot|can['’]?t|according|reviews?|reviewers?"
    r"|critiques?|graders?|otherwise|suppos\w*)\b|\?|~~|/[ *]*$",
    re.IGNORECASE,
)
# Words against the verdict "correct" anywhere in the line. "No errors" is none of them.
AGAINST_CORRECT = re.compile(
    r"\b(?:wrong|incorrect\w*|errors?|erroneous|mistakes?|mistaken|invalid|false|flaw\w*|fail\w*"
    r"|not|never|no|nor|neither|hardly|without|instead|slips?|typos?|should\s+(?:be|have)"
    r"|correct(?:ed|ing|ions?)|fix(?:ed|ing|es)?)\b|n['’]t\b|[❌✗✘✖✕👎☐]|\[\s\]",
    re.IGNORECASE,
)
NO_ERRORS = re.compile(
    r"\b(?:no|any|without|free\s+of)\s+(?:\w+\s+)?(?:errors?|mistakes?|flaws?)\b",
    re.IGNORECASE,
)
# Words against "incorrect": "correct", unless it describes another word, as in "the correct sum".
AGAINST_INCORRECT = re.compile(
    r"\bcorrect(?:ly)?\b(?!\s+[^\W\d_])|\bcorrect\s+(?:and|but|or|nor|however|although|though|yet)\b"
    r"|[✓✔✅👍☐]|\[\s\]",
    re.IGNORECASE,
)
# What a reply writes after its verdicts: the verdict before is withdrawn, or the last words speak
# of an error or of none.
RETRACTION = re.compile(
    r"^[^\w\n]*+(?:wait|actually|hmm+|sorry|oops|correction|no(?=[,.!])|scratch that"
    r"|on second thought|on reflection)\b",
    re.IGNORECASE | re.MULTILINE,
)
NO_JUDGEMENT = re.compile(
    r"\b(?:cannot|can['’]?t|unable to)\s+(?:\w+\s+)?(?:judge|decide|tell)\b", re.IGNORECASE
)
ERROR_WORD = re.compile(
    r"\b(?:wrong|incorrect\w*|errors?|erroneous|mistakes?|mistaken|flaw\w*|invalid|false|fail\w*"
    r"|slips?)\b",
    re.IGNORECASE,
)
ALL_CORRECT = re.compile(
    r"\b(?:all|every)\s+(?:of\s+)?(?:the\s+)?(?:\w+\s+)?steps?\s+(?:is|are)\s+correct\b",
    re.IGNORECASE,
)
# "Step 2 is actually correct", but not "step 2 is not correct".
STEP_CORRECT = re.compile(
    r"\bstep\s+(?P<number>\d{1,6})\s+(?:is|was)\s+(?:(?!(?:not|never|no)\b)\w+\s+){0,2}?correct\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W\d_]+|\d+")

# A backslash that JSON does not allow, or that is TeX: `\sqrt`, `\(`, `\frac`, `\beta`. No text has
# a form feed or a backspace before a letter.
JSON_ESCAPE = re.compile(r"\\(?:[\"\\/nrt]|[bf](?![A-Za-z])|u[0-9a-fA-F]{4})|\\")
# The start of an object. Failed attempts may read this multiple of the reply in all. Each counts as
# at least this share of the reply, because an error computes its line number: the search stays
# linear.
JSON_OBJECT = re.compile(r"\{\s*+\"")
MAX_FAILED_READING = 8
ATTEMPTS_PER_READING = 64


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """The verdict of one reply on one step, and its justification in the words of the reply."""

    verdict: Verdict = Verdict.UNKNOWN
    rationale: str = ""


def reply_schema(last: int, first: int = 1) -> str:
    """Return the JSON schema of a reply on the steps `first` to `last`, as text.

    Each step has a critique followed by a verdict ("correct", "incorrect" or "unknown"). The
    critique comes first, so that a model reasons before it decides.
    """
    step = _object_schema(
        {
            "step": {"type": "integer", "minimum": first, "maximum": last},
            "critique": {"type": "string"},
            "verdict": {"type": "string", "enum": list(Verdict)},
        }
    )
    steps = last - first + 1
    step_list = {"type": "array", "minItems": steps, "maxItems": steps, "items": step}
    return json.dumps(_object_schema({"steps": step_list}))


def read_verdicts(reply: str, steps: int, solution: Sequence[str] = ()) -> Sequence[StepVerdict]:
    """Return the verdicts of a reply on the steps 1 to `steps`.

    A step is UNKNOWN where the reply has no verdict on it or two different ones. Every step is
    UNKNOWN when the reply is longer than `MAX_REPLY_CHARS`, when its last words contradict or
    withdraw its verdicts, or when it has a verdict on a step that does not exist: its numbers then
    mean other steps.

    Args:
        reply: The text of the reply.
        steps: The number of steps.
        solution: The steps that the request contains. Verdicts that the reply copies from them, and
            those in quotations, are not the judge's own (see `quotations`).
    """
    verdicts_by_step = _verdicts_by_step(reply, solution)
    if not verdicts_by_step.keys() <= set(range(1, steps + 1)):
        return [StepVerdict()] * steps
    return [_agreed_verdict(verdicts_by_step.get(number, [])) for number in range(1, steps + 1)]


def read_step_verdict(reply: str, number: int, solution: Sequence[str] = ()) -> StepVerdict:
    """Return the verdict of a reply on the only step that it was asked about.

    Verdicts on other steps are ignored: the reply may repeat the example of the prompt.
    """
    return _agreed_verdict(_verdicts_by_step(reply, solution).get(number, []))


def _verdicts_by_step(reply: str, solution: Sequence[str]) -> Mapping[int, Sequence[StepVerdict]]:
    """Return all verdicts of a reply by step number; none if its last words do not agree."""
    if len(reply) > MAX_REPLY_CHARS:
        return {}
    answer = after_thinking(reply)
    if answer is None:
        return {}
    quotations = Quotations.of(solution)
    answer = quotations.removed_from(answer)
    documents, text, end_of_documents = _separate_json(answer)
    own = list[tuple[int, StepVerdict]]()
    quoted = list[tuple[int, StepVerdict]]()
    copied_documents = _documents_in(solution) if documents else ()
    for document in documents:
        numbered_verdicts = quoted if document in copied_documents else own
        numbered_verdicts.extend(_read_json(document))
    # Blank lines of the same length, because `end_of_documents` is a position in the text.
    text = VERDICT_LINE.sub(
        lambda line: " " * len(line[0]) if quotations.has_copied(line[0]) else line[0], text
    )
    lines = list(VERDICT_LINE.finditer(text))
    for line, numbered_verdict in zip(lines, _read_lines(lines, text), strict=True):
        numbered_verdicts = quoted if quotations.may_be_copied(line[0]) else own
        numbered_verdicts.append(numbered_verdict)
    verdicts_by_step = _preferred(own, quoted, len(solution))
    end_of_verdicts = end_of_documents
    if lines:
        end_of_verdicts = max(end_of_verdicts, lines[-1].end())
    if _contradicts(text[end_of_verdicts:], _incorrect_steps(verdicts_by_step)):
        return {}
    return verdicts_by_step


def _documents_in(solution: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Return the JSON objects that a solution contains."""
    documents, _, _ = _separate_json("".join(solution)[:MAX_REPLY_CHARS])
    return documents


def _preferred(
    own: Sequence[tuple[int, StepVerdict]],
    quoted: Sequence[tuple[int, StepVerdict]],
    steps: int,
) -> Mapping[int, Sequence[StepVerdict]]:
    """Return the verdicts by step: the own ones, and quoted ones where there is no own one.

    A judge can write its verdicts in the form of a quotation, and with the words of the solution.
    Quoted verdicts on steps that do not exist are not the judge's mistake.
    """
    verdicts_by_step: dict[int, list[StepVerdict]] = {}
    for number, step_verdict in own:
        verdicts_by_step.setdefault(number, []).append(step_verdict)
    with_own = frozenset(verdicts_by_step)
    for number, step_verdict in quoted:
        if number not in with_own and (number <= steps or not steps):
            verdicts_by_step.setdefault(number, []).append(step_verdict)
    return verdicts_by_step


def _incorrect_steps(verdicts_by_step: Mapping[int, Sequence[StepVerdict]]) -> set[int]:
    incorrect = set[int]()
    for number, step_verdicts in verdicts_by_step.items():
        if any(step_verdict.verdict is Verdict.INCORRECT for step_verdict in step_verdicts):
            incorrect.add(number)
    return incorrect


def _contradicts(last_words: str, incorrect: set[int]) -> bool:
    """Return whether the words after all verdicts contradict or withdraw them.

    Args:
        last_words: The text after the verdicts.
        incorrect: The numbers of the steps that they call incorrect.
    """
    if NO_JUDGEMENT.search(last_words) or RETRACTION.search(last_words):
        return True
    for statement in STEP_CORRECT.finditer(last_words):
        if int(statement["number"]) in incorrect:
            return True
    if not ERROR_WORD.search(NO_ERRORS.sub("", last_words)):
        return bool(incorrect) and ALL_CORRECT.search(last_words) is not None
    mentioned = set[int]()
    for mention in STEP_MENTION.finditer(last_words):
        if mention["number"]:
            mentioned.add(int(mention["number"]))
    if not incorrect:
        return True
    return bool(mentioned) and not mentioned & incorrect


def _read_json(document: Mapping[str, Any]) -> Iterator[tuple[int, StepVerdict]]:
    """Yield (step number, verdict) from a JSON object; invalid parts are skipped."""
    if not isinstance(document.get("steps"), list):
        return
    for item in document["steps"]:
        numbered_verdict = _read_json_item(item)
        if numbered_verdict is not None:
            yield numbered_verdict


def _separate_json(reply: str) -> tuple[Sequence[Mapping[str, Any]], str, int]:
    """Return the outermost JSON objects in a text, which may be in a code fence or between words.

    Backslashes of TeX are taken as they are where a text is not JSON otherwise.

    Returns:
        The objects, the text around them, and the position of the last object in this text.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object_of_unique_keys, strict=False)
    attempt_cost = len(reply) // ATTEMPTS_PER_READING + 1
    remaining = MAX_FAILED_READING * (len(reply) + 1)
    documents: list[Mapping[str, Any]] = []
    texts: list[str] = []
    text_start = 0
    position = 0
    is_repaired = False
    while remaining > 0 and (match := JSON_OBJECT.search(reply, position)):
        start = match.start()
        try:
            document, position = decoder.raw_decode(reply, start)
        except json.JSONDecodeError as error:
            if "escape" in error.msg and not is_repaired:
                is_repaired = True
                reply = reply[:start] + JSON_ESCAPE.sub(_literal_backslash, reply[start:])
                position = start
                continue
            remaining -= max(error.pos - start, attempt_cost)
            position = start + 1
        except (ValueError, RecursionError):  # too many digits, a duplicate key, nested too deeply
            remaining -= len(reply) - start
            position = start + 1
        else:
            documents.append(document)
            texts.append(reply[text_start:start])
            text_start = position
    before = "\n".join(texts)
    return documents, f"{before}\n{reply[text_start:]}", len(before)


def _literal_backslash(escape: re.Match[str]) -> str:
    return escape[0] if len(escape[0]) > 1 else r"\\"


def _object_of_unique_keys(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """Build a JSON object; raise ValueError on a duplicate key, since it gives two values."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("duplicate key")
    return values


def _read_json_item(item: object) -> tuple[int, StepVerdict] | None:
    match item:
        # `True` would match as step 1.
        case {"step": int(number), "verdict": str(word), **rest} if number is not True:
            if word.lower() not in list(Verdict):
                return None
            rationale = str(rest.get("critique", "")).strip()[:MAX_RATIONALE_CHARS]
            return number, StepVerdict(Verdict(word.lower()), rationale)
    return None


def _read_lines(lines: Sequence[re.Match[str]], text: str) -> Iterator[tuple[int, StepVerdict]]:
    """Yield (step number, verdict) from every line of the form "Step k: ... correct"."""
    for index, line in enumerate(lines):
        next_start = len(text)
        if index + 1 < len(lines):
            next_start = lines[index + 1].start()
        verdict = Verdict(line["verdict"].lower())
        is_stated = _is_stated(verdict, line["before"], line["after"], line["number"])
        if not is_stated or RETRACTION.search(text, line.end(), next_start):
            verdict = Verdict.UNKNOWN
        yield int(line["number"]), StepVerdict(verdict, line[0].strip()[:MAX_RATIONALE_CHARS])


def _is_stated(verdict: Verdict, before: str, after: str, number: str) -> bool:
    """Return whether a line states its verdict without a doubt, a condition or a contradiction.

    Args:
        verdict: The last word of the line.
        before: The line between the number of the step and the verdict.
        after: The signs after the verdict.
        number: The number of the step.
    """
    sentence = SENTENCE_BORDER.split(before)[-1]
    if HEDGE.search(sentence) or HEDGE.search(after):
        return False
    fillers = FILLERS[verdict].union([number])
    if not _has_step_as_subject(sentence, fillers) or _is_on_other_step(before, fillers, number):
        return False
    line = before + after
    if verdict is Verdict.CORRECT:
        return not AGAINST_CORRECT.search(NO_ERRORS.sub("", line))
    return not AGAINST_INCORRECT.search(line)


def _has_step_as_subject(sentence: str, fillers: frozenset[str]) -> bool:
    """Return whether the words before a verdict state it on the step.

    Args:
        sentence: The last sentence before the verdict.
        fillers: The words that may occur between the last border and the verdict.
    """
    *clauses, last_clause = CLAUSE_BORDER.split(sentence)
    words = WORD.findall(last_clause.lower())
    if not fillers.issuperset(words):
        return False
    label = clauses[-1].lower() if clauses else ""
    label_words = WORD.findall(label)
    if not words:
        is_short = len(label_words) <= MAX_LABEL_WORDS and not NO_ERRORS.search(label)
        return FORMULA.search(label) is not None or not is_short or fillers.issuperset(label_words)
    if words[0] in RELATIVE_WORDS:
        return not CONTRAST.search(sentence)
    return words[0] not in VERBS or not label_words


def _is_on_other_step(before: str, fillers: frozenset[str], number: str) -> bool:
    """Return whether a line states its verdict on another step that it mentions."""
    if RANGE.match(before):
        return True
    last_mention: re.Match[str] | None = None
    for mention in STEP_MENTION.finditer(before):
        if mention["number"] != number:
            last_mention = mention
    if last_mention is None:
        return False
    rest = before[last_mention.end() :]
    # "It builds on step 2. Correct." ends the sentence on the other step, unlike "Step 2. Correct."
    is_heading = HEADING_START.search(before, 0, last_mention.start()) is not None
    if SENTENCE_END.match(rest) and not is_heading:
        return False
    words = set(WORD.findall(rest.lower()))
    return words <= fillers and not words & OWN_SUBJECTS


def _agreed_verdict(verdicts: Sequence[StepVerdict]) -> StepVerdict:
    """Return the verdict that all of them share, with the first rationale, or UNKNOWN."""
    distinct = {step_verdict.verdict for step_verdict in verdicts}
    return verdicts[0] if len(distinct) == 1 else StepVerdict()


def _object_schema(properties: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
