"""The small language of `entailment`: what it reads, and what it makes of it.

    statement   Ana is kind and not tall            Ana is kind or Ben is tall         x > 3 and y = x + 2
                everyone who is kind is tall        no one who is kind is tall         everyone is kind or not tall
                if someone is kind, then they are not tall                             if x > 3 and Ana is kind, then 0 < 2y <= 7
    step        Step 2: STATEMENT; STATEMENT; therefore, STATEMENT.                    Since STATEMENT, STATEMENT.
                STATEMENT and STATEMENT, so STATEMENT.                                 STATEMENT. STATEMENT. Hence STATEMENT.
    answer      The answer is true.                                                    (false, unprovable)
    problem     STATEMENT. Suppose that STATEMENT. Show that STATEMENT. Hypothesis: STATEMENT. Is the hypothesis true, false or unprovable?

A statement becomes clauses: each a set of atoms of which one holds. An atom says that somebody, or anyone, has a trait or has not, or
compares linear sums of numbers, which are single small letters and digits. A text is read to its last character or not at all. What
English leaves open (`not kind and tall`, `everyone is not kind`), pronouns and words such as `some` or `most` are not read.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from verifiers.entailment_logic.cursor import Cursor, UnreadError
from verifiers.entailment_logic.linear import NUMBER, Relation, opposite, relations

__all__ = [
    "ANSWERS",
    "Answer",
    "Atom",
    "Clause",
    "Problem",
    "Step",
    "Trait",
    "negated",
    "read_problem",
    "read_step",
]

ANSWERS = ("true", "false", "unprovable")
ASKED = "Is the hypothesis true, false or unprovable?"
ANSWER = re.compile(rf"The answer is ({'|'.join(ANSWERS)})\.?\s*")
MAX_STEP_CHARS = 2_000
MAX_PROBLEM_CHARS = 20_000
MAX_CLAUSES = 100
MAX_PEOPLE = 40
MAX_PREMISES = 20
TOKEN = re.compile(
    rf"[A-Za-z]++(?![0-9])|{NUMBER}|[<>!]=|==|[-+*/()<>=≤≥≠−·×,;:.]|(?P<space>\s)|(?P<foreign>.)",
    re.DOTALL,
)
NAME = re.compile(r"[A-Z][a-z]+")
WORD = re.compile(r"[a-z]{2,}")
KEYWORDS = frozenset(
    (
        *(
            "and",
            "or",
            "not",
            "is",
            "are",
            "if",
            "then",
            "who",
            "they",
            "one",
            "no",
            "everyone",
            "someone",
            "anyone",
            "that",
        ),
        *("therefore", "so", "hence", "thus"),
    )
)
NO_NAMES = frozenset(
    (
        *(
            "He",
            "She",
            "It",
            "They",
            "We",
            "You",
            "This",
            "That",
            "These",
            "Those",
            "There",
            "Here",
            "Who",
            "What",
            "Which",
        ),
        *(
            "Someone",
            "Somebody",
            "Something",
            "Anyone",
            "Anybody",
            "Anything",
            "Everyone",
            "Everybody",
            "Everything",
        ),
        *(
            "No",
            "Nobody",
            "Nothing",
            "None",
            "Not",
            "All",
            "Each",
            "Every",
            "Some",
            "Most",
            "Many",
            "Few",
            "Any",
        ),
        *("Both", "Neither", "Either"),
        *(
            "One",
            "If",
            "Then",
            "Therefore",
            "So",
            "Hence",
            "Thus",
            "Since",
            "Because",
            "Step",
            "Hypothesis",
        ),
    )
)
CONCLUDING = frozenset(["therefore", "so", "hence", "thus"])
REASONING = frozenset(["since", "because"])
SEPARATORS = frozenset([";", ",", "."])
GIVING = frozenset(["suppose", "assume", "given", "let"])
ASKING = frozenset(["show", "prove"])


class Trait(NamedTuple):
    """That `subject` has the trait, or has it not; anyone, when there is no subject."""

    subject: str
    trait: str
    holds: bool


Atom = Trait | Relation
Clause = frozenset[Atom]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step starts from and what it concludes."""

    premises: tuple[Clause, ...]
    conclusion: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The last line of a solution."""

    answer: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is given. Words mean nothing beyond what is said of them where the problem asks for a hypothesis, as a puzzle does."""

    given: tuple[Clause, ...]
    hypothesis: tuple[Clause, ...] = ()

    @property
    def is_puzzle(self) -> bool:
        """Whether a hypothesis is to be called true, false or unprovable."""
        return bool(self.hypothesis)


def negated(atom: Atom) -> Atom:
    """The opposite."""
    return opposite(atom) if isinstance(atom, Relation) else atom._replace(holds=not atom.holds)


@lru_cache(maxsize=256)
def read_problem(text: str) -> Problem | None:
    """What a problem states; None as soon as one sentence of it is not in the language."""
    if len(text) > MAX_PROBLEM_CHARS:
        return None
    body, asked, rest = text.rstrip().partition(ASKED)
    try:
        *sentences, end = _split(_tokens(body), ".")
        given = [clause for sentence in sentences for clause in _sentence(sentence)]
        hypotheses = [
            _statement(sentence[2:]) for sentence in sentences if _is_hypothesis(sentence)
        ]
    except UnreadError:
        return None
    people = {
        atom.subject
        for clause in given
        for atom in clause
        if isinstance(atom, Trait) and atom.subject
    }
    if (
        rest
        or end
        or len(given) > MAX_CLAUSES
        or len(people) > MAX_PEOPLE
        or len(hypotheses) != bool(asked)
    ):
        return None
    return Problem(tuple(given), *hypotheses)


@lru_cache(maxsize=256)
def read_step(text: str) -> Step | Answer | None:
    """What a step states; None when it is not in the language."""
    if len(text) > MAX_STEP_CHARS:
        return None
    if answer := ANSWER.fullmatch(text):
        return Answer(answer[1])
    try:
        return _step(_tokens(text))
    except UnreadError:
        return None


def _tokens(text: str) -> Sequence[str]:
    found = list[str]()
    for match in TOKEN.finditer(text):
        if match["foreign"]:
            raise UnreadError
        if not match["space"]:
            found.append(match[0])
    return found


def _split(tokens: Sequence[str], separator: str) -> Sequence[Sequence[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _is_hypothesis(sentence: Sequence[str]) -> bool:
    return list(sentence[:2]) == ["Hypothesis", ":"]


def _sentence(sentence: Sequence[str]) -> Iterable[Clause]:
    """What a sentence of a problem gives: nothing, when it is what is asked for."""
    first = sentence[0].lower() if sentence else ""
    if _is_hypothesis(sentence):
        return ()
    if first in GIVING or first in ASKING:
        given = _statement(sentence[2:] if sentence[1:2] == ["that"] else sentence[1:])
        return given if first in GIVING else ()
    return _statement(sentence)


def _step(tokens: Sequence[str]) -> Step:
    if len(tokens) > 2 and tokens[0] == "Step" and tokens[1].isdigit() and tokens[2] == ":":
        tokens = tokens[3:]
    if tokens and tokens[-1] == ".":
        tokens = tokens[:-1]
    before, after = _parted(tokens)
    premises = tuple(clause for premise in _listed(before) for clause in _statement(premise))
    if len(premises) > MAX_PREMISES:
        raise UnreadError
    return Step(premises, _statement(after))


def _parted(tokens: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Premises and conclusion: `A, so B` or `since A, B`."""
    if tokens and tokens[0].lower() in REASONING:
        before, *rest = _listed(tokens[1:])
        if len(rest) != 1:
            raise UnreadError
        return before, rest[0]
    places = [index for index, token in enumerate(tokens) if token.lower() in CONCLUDING]
    if len(places) != 1 or places[0] == 0:
        raise UnreadError
    before, after = tokens[: places[0]], tokens[places[0] + 1 :]
    return before[:-1] if before[-1] in SEPARATORS else before, after[1:] if after[:1] == [
        ","
    ] else after


def _listed(tokens: Sequence[str]) -> Sequence[Sequence[str]]:
    """What stands between the marks of punctuation, `, then` being none and `, and` being one."""
    parts: list[list[str]] = [[]]
    for token, following in zip(tokens, (*tokens, "")[1:], strict=True):
        if token in SEPARATORS and following != "then":
            parts.append([])
        elif token != "and" or parts[-1] or len(parts) == 1:
            parts[-1].append(token)
    return parts


def _statement(tokens: Sequence[str]) -> tuple[Clause, ...]:
    words = Cursor(tokens)
    found = _READERS.get(words.next.lower(), _plain)(words)
    if words.next:
        raise UnreadError
    return found


def _plain(words: Cursor) -> tuple[Clause, ...]:
    """`A and B`, or `A or B`: never both in one statement."""
    atoms = _claim(words)
    if words.next != "or":
        return tuple(frozenset([atom]) for atom in _conjunction(words, atoms))
    either = _only(atoms)
    while words.take("or"):
        either += _only(_claim(words))
    return (frozenset(either),)


def _only(atoms: Sequence[Atom]) -> list[Atom]:
    if len(atoms) != 1:
        raise UnreadError
    return [*atoms]


def _conjunction(words: Cursor, first: Sequence[Atom] = ()) -> Sequence[Atom]:
    atoms = list(first or _claim(words))
    while words.take("and"):
        atoms += _claim(words)
    return atoms


def _claim(words: Cursor) -> Sequence[Atom]:
    """One subject and its traits, or one chain of comparisons."""
    if NAME.fullmatch(words.next):
        name = words.pop()
        if name in NO_NAMES:
            raise UnreadError
        words.expect("is")
        return _traits(words, name)
    return relations(words)


def _traits(words: Cursor, subject: str, joined: str = "and") -> Sequence[Trait]:
    """Traits up to an `and` that begins another claim; a plain one after a `not` could be meant to be under it."""
    traits = [_trait(words, subject)]
    while words.next == joined and (words.after == "not" or _is_trait(words.after)):
        words.pop()
        traits.append(_trait(words, subject))
        if traits[-1].holds and not traits[-2].holds:
            raise UnreadError
    return traits


def _trait(words: Cursor, subject: str) -> Trait:
    holds = not words.take("not")
    if not _is_trait(words.next):
        raise UnreadError
    return Trait(subject, words.pop(), holds)


def _is_trait(word: str) -> bool:
    return WORD.fullmatch(word) is not None and word not in KEYWORDS


def _if(words: Cursor) -> tuple[Clause, ...]:
    words.pop()
    about_anyone = words.take("someone")
    if about_anyone:
        words.expect("is")
    conditions = _traits(words, "") if about_anyone else _conjunction(words)
    words.take(",")
    words.expect("then")
    if about_anyone:
        words.expect("they")
        words.expect("are")
    return _rule(conditions, _traits(words, "") if about_anyone else _conjunction(words))


def _everyone(words: Cursor) -> tuple[Clause, ...]:
    words.pop()
    if words.take("is"):
        either = _traits(words, "", joined="or")
        return (frozenset(_positive_first(either)),)
    words.expect("who")
    words.expect("is")
    conditions = _traits(words, "")
    words.expect("is")
    return _rule(conditions, _positive_first(_traits(words, "")))


def _no(words: Cursor) -> tuple[Clause, ...]:
    words.pop()
    for word in ("one", "who", "is"):
        words.expect(word)
    conditions = _traits(words, "")
    words.expect("is")
    return _rule(conditions, [negated(atom) for atom in _positive_first([_trait(words, "")])])


def _positive_first(traits: Sequence[Trait]) -> Sequence[Trait]:
    """`everyone is not kind` may mean that not everyone is."""
    if not traits[0].holds:
        raise UnreadError
    return traits


def _rule(conditions: Sequence[Atom], conclusions: Sequence[Atom]) -> tuple[Clause, ...]:
    unless = [negated(condition) for condition in conditions]
    return tuple(frozenset([*unless, conclusion]) for conclusion in conclusions)


_READERS: dict[str, Callable[[Cursor], tuple[Clause, ...]]] = {
    "if": _if,
    "everyone": _everyone,
    "no": _no,
}
