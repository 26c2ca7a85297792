"""The language of the deduction problems: its statements, read and written, and what makes a step true.

A statement is one of

    Ana is kind and not tall                                  Ana is kind or Ben is not tall
    everyone who is kind and not tall is happy                if someone is kind, then they are not happy
    no one who is kind is tall                                everyone is kind or not tall
    if Ana is kind and Ben is not tall, then Cara is happy

A step names its premises and concludes from them, and a solution ends with the answer:

    Step 2: Ana is kind; everyone who is kind is happy; therefore, Ana is happy.
    The answer is true.

Names and traits are those of the problem. Readings are compared, never texts: `no one who is kind is tall` is
`if someone is tall, then they are not kind`. What English leaves open is not in the language: `not kind and tall`, `everyone is not kind`.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

from problems.logic_domain.models import Clause, Literal, follows, negated, restates
from stepmark.records import Problem, Verdict

__all__ = [
    "ANSWERS",
    "FALSE",
    "TRUE",
    "UNPROVABLE",
    "Step",
    "World",
    "judge_lines",
    "read",
    "read_step",
    "step_line",
    "write_choice",
    "write_literal",
    "write_rule",
]

TRUE, FALSE, UNPROVABLE = ANSWERS = ("true", "false", "unprovable")
MAX_LINE = 2_000
NAME = r"[A-Z][a-z]+"
TRAIT = r"(?!(?:not|and|or|is|are|if|then|who|they|one|someone|everyone|therefore)\b)[a-z]{2,}"
SOME = rf"{TRAIT}(?: and {TRAIT})*(?: and not {TRAIT})*"
TRAITS = rf"(?:{SOME}|not {TRAIT}(?: and not {TRAIT})*)"
SAYING = rf"{NAME} is {TRAITS}"
SAYINGS = rf"{SAYING}(?: and {SAYING})*"
FORMS: Sequence[re.Pattern[str]] = [
    re.compile(pattern)
    for pattern in (
        rf"(?P<all>{SAYINGS})",
        rf"(?P<any>{NAME} is (?:not )?{TRAIT}(?: or {NAME} is (?:not )?{TRAIT})+)",
        rf"[Ee]veryone is (?P<either>{TRAIT}(?: or {TRAIT})*(?: or not {TRAIT})*)",
        rf"[Ee]veryone who is (?P<who>{TRAITS}) is (?P<every>{SOME})",
        rf"[Ii]f someone is (?P<who>{TRAITS}), then they are (?P<every>{TRAITS})",
        rf"[Nn]o one who is (?P<who>{TRAITS}) is (?P<never>{TRAIT})",
        rf"[Ii]f (?P<if>{SAYINGS}), then (?P<all>{SAYINGS})",
    )
]
STEP = re.compile(
    r"(?:Step \d{1,4}: )?(?P<premises>[^;\n]+(?:; [^;\n]+)*); therefore, (?P<conclusion>[^;.\n]+)\.\n?"
)
ANSWER = re.compile(rf"The answer is (?P<answer>{'|'.join(ANSWERS)})\.\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step states, as clauses."""

    premises: frozenset[Clause]
    conclusion: frozenset[Clause]


@dataclass(frozen=True, kw_only=True)
class World:
    """What a problem states, sentence by sentence and without full stops, and the literal that is to be decided."""

    given: tuple[str, ...]
    hypothesis: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The world that a problem of this source keeps in its metadata."""
        kept = json.loads(problem.metadata["world"])
        return cls(given=tuple(kept["given"]), hypothesis=kept["hypothesis"])

    @cached_property
    def clauses(self) -> frozenset[Clause]:
        """All that is given."""
        return frozenset(clause for sentence in self.given for clause in read(sentence) or ())

    @cached_property
    def goal(self) -> Literal:
        """The hypothesis."""
        ((literal,),) = read(self.hypothesis) or frozenset()
        return literal

    @cached_property
    def answer(self) -> str:
        """Whether the hypothesis follows, its opposite does, or neither."""
        if follows(self.clauses, frozenset([self.goal])):
            return TRUE
        return FALSE if follows(self.clauses, frozenset([negated(self.goal)])) else UNPROVABLE

    @cached_property
    def vocabulary(self) -> frozenset[str | None]:
        """The names and traits, and None for anyone."""
        literals = {self.goal}.union(*self.clauses)
        return frozenset(
            [
                None,
                *(literal.subject for literal in literals),
                *(literal.trait for literal in literals),
            ]
        )

    def speaks_of(self, clauses: Iterable[Clause]) -> bool:
        """Whether all names and traits are the problem's."""
        return all(
            {literal.subject, literal.trait} <= self.vocabulary
            for clause in clauses
            for literal in clause
        )


@lru_cache(maxsize=4096)
def read(statement: str) -> frozenset[Clause] | None:
    """The clauses of a statement; None when it is none.

    >>> read("no one who is kind is tall") == read("if someone is tall, then they are not kind")
    True
    """
    if len(statement) > MAX_LINE:
        return None
    found = next((match for form in FORMS if (match := form.fullmatch(statement))), None)
    return (
        None
        if found is None
        else _clauses({kind: text for kind, text in found.groupdict().items() if text is not None})
    )


def _clauses(parts: Mapping[str, str]) -> frozenset[Clause]:
    conditions = [*_sayings(parts.get("if", "")), *_traits(None, parts.get("who", ""))]
    unless = [negated(literal) for literal in conditions]
    if "any" in parts:
        return frozenset(
            [
                frozenset(
                    literal for saying in parts["any"].split(" or ") for literal in _sayings(saying)
                )
            ]
        )
    if "either" in parts:
        return frozenset(
            [
                frozenset(
                    literal
                    for trait in parts["either"].split(" or ")
                    for literal in _traits(None, trait)
                )
            ]
        )
    heads = [
        *_sayings(parts.get("all", "")),
        *_traits(None, parts.get("every", "")),
        *map(negated, _traits(None, parts.get("never", ""))),
    ]
    return frozenset(frozenset([*unless, head]) for head in heads)


def _sayings(text: str) -> Sequence[Literal]:
    return [
        literal
        for name, traits in re.findall(rf"({NAME}) is ({TRAITS})", text)
        for literal in _traits(name, traits)
    ]


def _traits(subject: str | None, text: str) -> Sequence[Literal]:
    return [
        Literal(subject, trait.removeprefix("not "), not trait.startswith("not "))
        for trait in text.split(" and ")
        if trait
    ]


def write_literal(literal: Literal) -> str:
    """The statement of a literal about somebody."""
    return f"{literal.subject} is {_trait(literal)}"


def write_rule(conditions: Sequence[Literal], head: Literal, *, plainly: bool = True) -> str:
    """The rule that the conditions bring the head about; unless `plainly`, one about anyone is told with "if", too."""
    if head.subject is not None:
        return f"if {' and '.join(map(write_literal, conditions))}, then {write_literal(head)}"
    who = " and ".join(map(_trait, _so_first(conditions)))
    if not plainly:
        return f"if someone is {who}, then they are {_trait(head)}"
    return (
        f"everyone who is {who} is {_trait(head)}"
        if head.holds
        else f"no one who is {who} is {head.trait}"
    )


def write_choice(literals: Sequence[Literal]) -> str:
    """That one of the literals holds; of those about anyone, one has to be no "not"."""
    if literals[0].subject is not None:
        return " or ".join(map(write_literal, literals))
    return f"everyone is {' or '.join(map(_trait, _so_first(literals)))}"


def _so_first(literals: Sequence[Literal]) -> Sequence[Literal]:
    """What is so before what is not so: "not kind and tall" could mean that it is not both."""
    return sorted(literals, key=lambda literal: not literal.holds)


def _trait(literal: Literal) -> str:
    return literal.trait if literal.holds else f"not {literal.trait}"


def step_line(premises: Sequence[str], conclusion: str, number: int) -> str:
    """The line of step `number` (1-based)."""
    return f"Step {number}: {'; '.join((*premises, 'therefore, ' + conclusion))}.\n"


def read_step(line: str) -> Step | None:
    """What a line states; None when it is no step."""
    found = STEP.fullmatch(line) if len(line) <= MAX_LINE else None
    if found is None:
        return None
    premises, conclusion = (
        [read(premise) for premise in found["premises"].split("; ")],
        read(found["conclusion"]),
    )
    if conclusion is None or None in premises:
        return None
    return Step(
        premises=frozenset(clause for premise in premises for clause in premise or ()),
        conclusion=conclusion,
    )


def judge_lines(world: World, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    """The truth of every line, with the kind of mistake.

    A step is wrong when a premise does not follow from the problem, or when the conclusion does not follow from the premises that the step
    names. It is right when each premise restates one sentence of the problem or one conclusion of an earlier step that is right. A premise
    that follows from the problem, but was not shown before, makes it unknown: a leap, not a falsehood. The answer is right when it is
    the true one and, unless that is "unprovable", was shown; the true one without proof is unknown. So is a line outside the language.
    """
    known = set(world.clauses)
    return [_judge_line(world, known, line) for line in lines]


def _judge_line(world: World, known: set[Clause], line: str) -> tuple[Verdict, str]:
    if answer := ANSWER.fullmatch(line):
        return _judge_answer(world, known, answer["answer"])
    step = read_step(line)
    if step is None or not world.speaks_of((*step.premises, *step.conclusion)):
        return Verdict.UNKNOWN, "not in the step language"
    unshown = [premise for premise in step.premises if not _is_shown(known, premise)]
    if not all(follows(world.clauses, premise) for premise in unshown):
        return Verdict.INCORRECT, "premise"
    if not all(follows(step.premises, clause) for clause in step.conclusion):
        return Verdict.INCORRECT, "conclusion"
    if unshown:
        return Verdict.UNKNOWN, "a premise was not shown"
    known |= step.conclusion
    return Verdict.CORRECT, ""


def _judge_answer(world: World, known: Collection[Clause], answer: str) -> tuple[Verdict, str]:
    if answer != world.answer:
        return Verdict.INCORRECT, "answer"
    shown = world.goal if answer == TRUE else negated(world.goal)
    if answer != UNPROVABLE and not _is_shown(known, frozenset([shown])):
        return Verdict.UNKNOWN, "the answer was not shown"
    return Verdict.CORRECT, ""


def _is_shown(known: Collection[Clause], clause: Clause) -> bool:
    return clause in known or any(restates(one, clause) for one in known)
