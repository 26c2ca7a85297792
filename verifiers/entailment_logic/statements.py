"""The parser of the `entailment` language.

    statement
        Ana is kind and not tall
        Ana is kind or Ben is tall
        x > 3 and y = x + 2
        everyone who is kind is tall
        no one who is kind is tall
        everyone is kind or not tall
        if someone is kind, then they are not tall
        if x > 3 and Ana is kind, then 0 < 2y <= 7
    step
        Step 2: STATEMENT; STATEMENT; therefore, STATEMENT.
        Since STATEMENT, STATEMENT.
        STATEMENT and STATEMENT, so STATEMENT.
        STATEMENT. STATEMENT. Hence STATEMENT.
    answer
        The answer is true. (or false, unprovable)
    problem
        STATEMENT. Suppose that STATEMENT. Show that STATEMENT.
        STATEMENT. Hypothesis: STATEMENT. Is the hypothesis true, false or unprovable?

A statement is parsed into clauses. A clause is a set of atoms of which at least one holds. An atom
states that a named person, or anyone, has a trait or does not have it, or it compares linear sums
of numbers.

A text is parsed completely or not at all. What is not covered:

- Statements that are ambiguous in English (`not kind and tall`, `everyone is not kind`).
- Pronouns, and quantifiers such as `some` and `most`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from verifiers.entailment_logic.cursor import NotInLanguageError, TokenCursor
from verifiers.entailment_logic.linear import (
    NUMBER,
    LinearRelation,
    negate_relation,
    parse_relations,
)

__all__ = [
    "ANSWERS",
    "Atom",
    "Clause",
    "LogicAnswer",
    "LogicProblem",
    "LogicStep",
    "Trait",
    "negate",
    "parse_problem",
    "parse_step",
]

ANSWERS = ("true", "false", "unprovable")
QUESTION = "Is the hypothesis true, false or unprovable?"
ANSWER = re.compile(rf"The answer is ({'|'.join(ANSWERS)})\.?\s*")
# Limits that bound the time of the parser and of z3.
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
TRAIT_WORD = re.compile(r"[a-z]{2,}")


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that cannot be traits.
KEYWORDS = _word_set(
    "and or not is are if then who they one no everyone someone anyone that therefore so hence thus"
)
# Capitalised words that cannot be names of people.
NOT_NAMES = _word_set(
    "He She It They We You This That These Those There Here Who What Which "
    "Someone Somebody Something Anyone Anybody Anything Everyone Everybody Everything "
    "No Nobody Nothing None Not All Each Every Some Most Many Few Any "
    "Both Neither Either "
    "One If Then Therefore So Hence Thus Since Because Step Hypothesis"
)
CONCLUSION_WORDS = frozenset(["therefore", "so", "hence", "thus"])
REASON_WORDS = frozenset(["since", "because"])
SEPARATORS = frozenset([";", ",", "."])
# First words of sentences that give a fact, and of sentences that ask for a proof of one.
GIVEN_WORDS = frozenset(["suppose", "assume", "given", "let"])
TASK_WORDS = frozenset(["show", "prove"])


class Trait(NamedTuple):
    """The claim that a person has a trait, or does not have it if `holds` is false.

    An empty `subject` means anyone.
    """

    subject: str
    trait: str
    holds: bool


Atom = Trait | LinearRelation
Clause = frozenset[Atom]


@dataclass(frozen=True, slots=True)
class LogicStep:
    """The premises and the conclusion of a step."""

    premises: tuple[Clause, ...]
    conclusion: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class LogicAnswer:
    """The last line of a solution to a puzzle: one of `ANSWERS`."""

    answer: str


@dataclass(frozen=True, slots=True)
class LogicProblem:
    """The facts that a problem gives, and the hypothesis of a puzzle.

    In a puzzle, words have no meaning beyond the facts.
    """

    facts: tuple[Clause, ...]
    hypothesis: tuple[Clause, ...] = ()

    @property
    def is_puzzle(self) -> bool:
        """Whether the problem asks for the truth of a hypothesis."""
        return bool(self.hypothesis)


def negate(atom: Atom) -> Atom:
    """Return the atom that holds exactly when the given one does not."""
    if isinstance(atom, LinearRelation):
        return negate_relation(atom)
    return atom._replace(holds=not atom.holds)


@lru_cache(maxsize=256)
def parse_problem(text: str) -> LogicProblem | None:
    """Return the content of a problem, or None if any sentence of it is not in the language."""
    if len(text) > MAX_PROBLEM_CHARS:
        return None
    body, question, rest = text.rstrip().partition(QUESTION)
    facts = list[Clause]()
    hypotheses = list[tuple[Clause, ...]]()
    try:
        # The part after the last period is empty in a complete text.
        *sentences, incomplete = _split(_tokenize(body), ".")
        for sentence in sentences:
            if _is_hypothesis(sentence):
                hypotheses.append(_parse_statement(sentence[2:]))
            else:
                facts += _parse_sentence(sentence)
    except NotInLanguageError:
        return None
    if rest or incomplete:
        return None
    if len(facts) > MAX_CLAUSES or len(_people(facts)) > MAX_PEOPLE:
        return None
    # A hypothesis without the question, or the question without one hypothesis, is incomplete.
    if len(hypotheses) != bool(question):
        return None
    return LogicProblem(tuple(facts), *hypotheses)


@lru_cache(maxsize=256)
def parse_step(text: str) -> LogicStep | LogicAnswer | None:
    """Return the content of a step, or None if it is not in the language."""
    if len(text) > MAX_STEP_CHARS:
        return None
    answer = ANSWER.fullmatch(text)
    if answer:
        return LogicAnswer(answer[1])
    try:
        return _parse_step_tokens(_tokenize(text))
    except NotInLanguageError:
        return None


def _people(clauses: Iterable[Clause]) -> set[str]:
    people = set[str]()
    for clause in clauses:
        for atom in clause:
            if isinstance(atom, Trait) and atom.subject:
                people.add(atom.subject)
    return people


def _tokenize(text: str) -> Sequence[str]:
    tokens = list[str]()
    for match in TOKEN.finditer(text):
        if match["foreign"]:
            raise NotInLanguageError
        if not match["space"]:
            tokens.append(match[0])
    return tokens


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


def _parse_sentence(sentence: Sequence[str]) -> tuple[Clause, ...]:
    """Return the clauses that a sentence of a problem gives; none if it asks for a proof."""
    first_word = sentence[0].lower() if sentence else ""
    if first_word not in GIVEN_WORDS and first_word not in TASK_WORDS:
        return _parse_statement(sentence)
    content = sentence[1:]
    if list(content[:1]) == ["that"]:
        content = content[1:]
    # A task is parsed too, because every sentence must be in the language.
    clauses = _parse_statement(content)
    if first_word in TASK_WORDS:
        return ()
    return clauses


def _parse_step_tokens(tokens: Sequence[str]) -> LogicStep:
    if len(tokens) > 2 and tokens[0] == "Step" and tokens[1].isdigit() and tokens[2] == ":":
        tokens = tokens[3:]
    if tokens and tokens[-1] == ".":
        tokens = tokens[:-1]
    premise_tokens, conclusion_tokens = _split_step(tokens)
    premises = list[Clause]()
    for premise in _split_list(premise_tokens):
        premises += _parse_statement(premise)
    if len(premises) > MAX_PREMISES:
        raise NotInLanguageError
    return LogicStep(tuple(premises), _parse_statement(conclusion_tokens))


def _split_step(tokens: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the tokens of the premises and of the conclusion: `A, so B` or `since A, B`."""
    if tokens and tokens[0].lower() in REASON_WORDS:
        parts = _split_list(tokens[1:])
        if len(parts) != 2:
            raise NotInLanguageError
        return parts[0], parts[1]
    positions = [index for index, token in enumerate(tokens) if token.lower() in CONCLUSION_WORDS]
    if len(positions) != 1 or positions[0] == 0:
        raise NotInLanguageError
    premises = tokens[: positions[0]]
    conclusion = tokens[positions[0] + 1 :]
    if premises[-1] in SEPARATORS:
        premises = premises[:-1]
    if conclusion and conclusion[0] == ",":
        conclusion = conclusion[1:]
    return premises, conclusion


def _split_list(tokens: Sequence[str]) -> Sequence[Sequence[str]]:
    """Split at punctuation marks. `, then` is not a separator; `, and` is a single one."""
    parts: list[list[str]] = [[]]
    next_tokens = [*tokens, ""][1:]
    for token, next_token in zip(tokens, next_tokens, strict=True):
        if token in SEPARATORS and next_token != "then":
            parts.append([])
            continue
        follows_separator = len(parts) > 1 and not parts[-1]
        if token != "and" or not follows_separator:
            parts[-1].append(token)
    return parts


def _parse_statement(tokens: Sequence[str]) -> tuple[Clause, ...]:
    cursor = TokenCursor(tokens)
    parse = _STATEMENT_PARSERS.get(cursor.current.lower(), _parse_plain)
    clauses = parse(cursor)
    if cursor.current:
        raise NotInLanguageError
    return clauses


def _parse_plain(cursor: TokenCursor) -> tuple[Clause, ...]:
    """Parse `A and B` or `A or B`. A statement with both is ambiguous."""
    atoms = _parse_claim(cursor)
    if cursor.current != "or":
        return tuple(frozenset([atom]) for atom in _parse_conjunction(cursor, atoms))
    alternatives = [_require_single(atoms)]
    while cursor.accept("or"):
        alternatives.append(_require_single(_parse_claim(cursor)))
    return (frozenset(alternatives),)


def _require_single(atoms: Sequence[Atom]) -> Atom:
    if len(atoms) != 1:
        raise NotInLanguageError
    return atoms[0]


def _parse_conjunction(cursor: TokenCursor, first: Sequence[Atom] = ()) -> Sequence[Atom]:
    """Parse claims joined by `and`. `first` are the atoms of a first claim already parsed."""
    atoms = list(first or _parse_claim(cursor))
    while cursor.accept("and"):
        atoms += _parse_claim(cursor)
    return atoms


def _parse_claim(cursor: TokenCursor) -> Sequence[Atom]:
    """Parse one person and their traits, or one chain of comparisons."""
    if not NAME.fullmatch(cursor.current):
        return parse_relations(cursor)
    name = cursor.advance()
    if name in NOT_NAMES:
        raise NotInLanguageError
    cursor.expect("is")
    return _parse_traits(cursor, name)


def _parse_traits(cursor: TokenCursor, subject: str, joined: str = "and") -> Sequence[Trait]:
    """Parse traits joined by a word, up to one that begins another claim.

    A positive trait after a negative one is ambiguous: the `not` may apply to both.
    """
    traits = [_parse_trait(cursor, subject)]
    while cursor.current == joined and _starts_trait(cursor.following):
        cursor.advance()
        traits.append(_parse_trait(cursor, subject))
        if traits[-1].holds and not traits[-2].holds:
            raise NotInLanguageError
    return traits


def _starts_trait(token: str) -> bool:
    return token == "not" or _is_trait(token)


def _parse_trait(cursor: TokenCursor, subject: str) -> Trait:
    holds = not cursor.accept("not")
    if not _is_trait(cursor.current):
        raise NotInLanguageError
    return Trait(subject, cursor.advance(), holds)


def _is_trait(word: str) -> bool:
    return TRAIT_WORD.fullmatch(word) is not None and word not in KEYWORDS


def _parse_if(cursor: TokenCursor) -> tuple[Clause, ...]:
    cursor.advance()
    if cursor.accept("someone"):
        return _parse_if_someone(cursor)
    conditions = _parse_conjunction(cursor)
    cursor.accept(",")
    cursor.expect("then")
    return _rule(conditions, _parse_conjunction(cursor))


def _parse_if_someone(cursor: TokenCursor) -> tuple[Clause, ...]:
    cursor.expect("is")
    conditions = _parse_traits(cursor, "")
    cursor.accept(",")
    for word in ("then", "they", "are"):
        cursor.expect(word)
    return _rule(conditions, _parse_traits(cursor, ""))


def _parse_everyone(cursor: TokenCursor) -> tuple[Clause, ...]:
    cursor.advance()
    if cursor.accept("is"):
        alternatives = _parse_traits(cursor, "", joined="or")
        return (frozenset(_require_positive_first(alternatives)),)
    for word in ("who", "is"):
        cursor.expect(word)
    conditions = _parse_traits(cursor, "")
    cursor.expect("is")
    return _rule(conditions, _require_positive_first(_parse_traits(cursor, "")))


def _parse_no_one(cursor: TokenCursor) -> tuple[Clause, ...]:
    cursor.advance()
    for word in ("one", "who", "is"):
        cursor.expect(word)
    conditions = _parse_traits(cursor, "")
    cursor.expect("is")
    (excluded,) = _require_positive_first([_parse_trait(cursor, "")])
    return _rule(conditions, [negate(excluded)])


def _require_positive_first(traits: Sequence[Trait]) -> Sequence[Trait]:
    """Reject `everyone is not kind`, which may mean that not everyone is kind."""
    if not traits[0].holds:
        raise NotInLanguageError
    return traits


def _rule(conditions: Sequence[Atom], conclusions: Sequence[Atom]) -> tuple[Clause, ...]:
    """Return "if all conditions hold, all conclusions hold" as one clause per conclusion."""
    negated_conditions = [negate(condition) for condition in conditions]
    return tuple(frozenset([*negated_conditions, conclusion]) for conclusion in conclusions)


# Parsers by the first word of a statement.
_STATEMENT_PARSERS: dict[str, Callable[[TokenCursor], tuple[Clause, ...]]] = {
    "if": _parse_if,
    "everyone": _parse_everyone,
    "no": _parse_no_one,
}
