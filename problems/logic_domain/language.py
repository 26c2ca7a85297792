"""The language of the deduction problems, and the oracle that judges their steps.

A statement has one of these forms:

    Ana is kind and not tall                        Ana is kind or Ben is not tall
    everyone who is kind and not tall is happy      if someone is kind, then they are not happy
    no one who is kind is tall                      everyone is kind or not tall
    if Ana is kind and Ben is not tall, then Cara is happy

A step names its premises and draws a conclusion from them, and a solution ends with the answer:

    Step 2: Ana is kind; everyone who is kind is happy; therefore, Ana is happy.
    The answer is true.

Names and traits are those of the problem. The oracle compares clauses, never texts: `no one who is
kind is tall` equals `if someone is tall, then they are not kind`. Statements that English leaves
ambiguous are not in the language: `not kind and tall`, `everyone is not kind`.

No code is shared with `verifiers.entailment`: with shared code, a bug in the oracle and in the
verifier would confirm itself.
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
    "LogicWorld",
    "Step",
    "judge_lines",
    "parse_statement",
    "parse_step",
    "step_line",
    "write_disjunction",
    "write_literal",
    "write_rule",
]

TRUE = "true"
FALSE = "false"
UNPROVABLE = "unprovable"
ANSWERS = (TRUE, FALSE, UNPROVABLE)
# Far above any line of a gold solution; it bounds the work of the regular expressions.
MAX_LINE = 2_000
NAME = r"[A-Z][a-z]+"
# The words of the grammar are no traits.
TRAIT = r"(?!(?:not|and|or|is|are|if|then|who|they|one|someone|everyone|therefore)\b)[a-z]{2,}"
# Positive traits come before negated ones: "not kind and tall" is ambiguous.
POSITIVE_FIRST = rf"{TRAIT}(?: and {TRAIT})*(?: and not {TRAIT})*"
TRAITS = rf"(?:{POSITIVE_FIRST}|not {TRAIT}(?: and not {TRAIT})*)"
FACT = rf"{NAME} is {TRAITS}"
FACTS = rf"{FACT}(?: and {FACT})*"
FORMS: Sequence[re.Pattern[str]] = (
    re.compile(rf"(?P<all>{FACTS})"),
    re.compile(rf"(?P<any>{NAME} is (?:not )?{TRAIT}(?: or {NAME} is (?:not )?{TRAIT})+)"),
    re.compile(rf"[Ee]veryone is (?P<either>{TRAIT}(?: or {TRAIT})*(?: or not {TRAIT})*)"),
    re.compile(rf"[Ee]veryone who is (?P<who>{TRAITS}) is (?P<every>{POSITIVE_FIRST})"),
    re.compile(rf"[Ii]f someone is (?P<who>{TRAITS}), then they are (?P<every>{TRAITS})"),
    re.compile(rf"[Nn]o one who is (?P<who>{TRAITS}) is (?P<never>{TRAIT})"),
    re.compile(rf"[Ii]f (?P<if>{FACTS}), then (?P<all>{FACTS})"),
)
STEP = re.compile(
    r"(?:Step \d{1,4}: )?"
    r"(?P<premises>[^;\n]+(?:; [^;\n]+)*); therefore, (?P<conclusion>[^;.\n]+)\.\n?"
)
ANSWER = re.compile(rf"The answer is (?P<answer>{'|'.join(ANSWERS)})\.\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step as clauses."""

    premises: frozenset[Clause]
    conclusion: frozenset[Clause]


@dataclass(frozen=True, kw_only=True)
class LogicWorld:
    """The statements of a problem, without full stops, and the hypothesis, a single literal.

    The field names are also the keys of the JSON in the metadata of a problem.
    """

    given: tuple[str, ...]
    hypothesis: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the world in the metadata of a problem of the source `logic`."""
        stored = json.loads(problem.metadata["world"])
        return cls(given=tuple(stored["given"]), hypothesis=stored["hypothesis"])

    @cached_property
    def clauses(self) -> frozenset[Clause]:
        """The clauses of all statements."""
        clauses: set[Clause] = set()
        for sentence in self.given:
            clauses.update(parse_statement(sentence) or ())
        return frozenset(clauses)

    @cached_property
    def goal(self) -> Literal:
        """The literal of the hypothesis."""
        ((literal,),) = parse_statement(self.hypothesis) or frozenset()
        return literal

    @cached_property
    def answer(self) -> str:
        """TRUE if the hypothesis follows, FALSE if its negation follows, else UNPROVABLE."""
        if follows(self.clauses, frozenset([self.goal])):
            return TRUE
        if follows(self.clauses, frozenset([negated(self.goal)])):
            return FALSE
        return UNPROVABLE

    @cached_property
    def vocabulary(self) -> frozenset[str | None]:
        """The names and traits of the problem, and None for anyone."""
        words: set[str | None] = {None}
        for literal in {self.goal}.union(*self.clauses):
            words.add(literal.subject)
            words.add(literal.trait)
        return frozenset(words)

    def covers_vocabulary_of(self, clauses: Iterable[Clause]) -> bool:
        """Return whether all names and traits in the clauses are those of the problem."""
        for literal in frozenset[Literal]().union(*clauses):
            if literal.subject not in self.vocabulary or literal.trait not in self.vocabulary:
                return False
        return True


# Statements of one problem recur in its premises, solutions and corrupted solutions.
@lru_cache(maxsize=4096)
def parse_statement(statement: str) -> frozenset[Clause] | None:
    """Return the clauses of a statement, or None for other text.

    >>> rule = parse_statement("if someone is tall, then they are not kind")
    >>> parse_statement("no one who is kind is tall") == rule
    True
    """
    if len(statement) > MAX_LINE:
        return None
    for form in FORMS:
        match = form.fullmatch(statement)
        if match:
            parts = {kind: text for kind, text in match.groupdict().items() if text is not None}
            return _clauses(parts)
    return None


def _clauses(parts: Mapping[str, str]) -> frozenset[Clause]:
    """Return the clauses of a statement from the named groups of its form."""
    if "any" in parts:
        choices: list[Literal] = []
        for fact in parts["any"].split(" or "):
            choices.extend(_facts(fact))
        return frozenset([frozenset(choices)])
    if "either" in parts:
        choices = []
        for trait in parts["either"].split(" or "):
            choices.extend(_literals(None, trait))
        return frozenset([frozenset(choices)])
    conditions = [*_facts(parts.get("if", "")), *_literals(None, parts.get("who", ""))]
    heads = [*_facts(parts.get("all", "")), *_literals(None, parts.get("every", ""))]
    heads.extend(negated(literal) for literal in _literals(None, parts.get("never", "")))
    # "If A, then B" is the clause "not A or B", one for each head.
    exceptions = [negated(literal) for literal in conditions]
    return frozenset(frozenset([*exceptions, head]) for head in heads)


def _facts(text: str) -> Sequence[Literal]:
    """Return the literals of facts such as "Ana is kind and Ben is not tall"."""
    literals: list[Literal] = []
    for name, traits in re.findall(rf"({NAME}) is ({TRAITS})", text):
        literals.extend(_literals(name, traits))
    return literals


def _literals(subject: str | None, text: str) -> Sequence[Literal]:
    """Return the literals of a list of traits such as "kind and not tall"."""
    literals: list[Literal] = []
    for trait in text.split(" and "):
        if trait:
            holds = not trait.startswith("not ")
            literals.append(Literal(subject, trait.removeprefix("not "), holds))
    return literals


def write_literal(literal: Literal) -> str:
    """Return the statement of a literal about a named person."""
    return f"{literal.subject} is {_trait(literal)}"


def write_rule(conditions: Sequence[Literal], head: Literal, *, plainly: bool = True) -> str:
    """Return the rule that the head holds if all conditions hold.

    Args:
        conditions: Literals with the same kind of subject as the head.
        head: A literal about a person or about anyone.
        plainly: Write a rule about anyone with "everyone" or "no one" instead of "if".
    """
    if head.subject is not None:
        facts = " and ".join(map(write_literal, conditions))
        return f"if {facts}, then {write_literal(head)}"
    who = " and ".join(map(_trait, _positive_first(conditions)))
    if not plainly:
        return f"if someone is {who}, then they are {_trait(head)}"
    if head.holds:
        return f"everyone who is {who} is {_trait(head)}"
    return f"no one who is {who} is {head.trait}"


def write_disjunction(literals: Sequence[Literal]) -> str:
    """Return the statement that one of the literals holds.

    Of literals about anyone, at least one must be positive.
    """
    if literals[0].subject is not None:
        return " or ".join(map(write_literal, literals))
    return f"everyone is {' or '.join(map(_trait, _positive_first(literals)))}"


def _positive_first(literals: Sequence[Literal]) -> Sequence[Literal]:
    """Return positive literals before negated ones, because "not kind and tall" is ambiguous."""
    return sorted(literals, key=lambda literal: not literal.holds)


def _trait(literal: Literal) -> str:
    if literal.holds:
        return literal.trait
    return f"not {literal.trait}"


def step_line(premises: Sequence[str], conclusion: str, number: int) -> str:
    """Return the line of step `number` (1-based)."""
    return f"Step {number}: {'; '.join((*premises, 'therefore, ' + conclusion))}.\n"


def parse_step(line: str) -> Step | None:
    """Return the clauses of a step, or None for another line."""
    if len(line) > MAX_LINE:
        return None
    match = STEP.fullmatch(line)
    if match is None:
        return None
    premises: set[Clause] = set()
    for statement in match["premises"].split("; "):
        clauses = parse_statement(statement)
        if clauses is None:
            return None
        premises.update(clauses)
    conclusion = parse_statement(match["conclusion"])
    if conclusion is None:
        return None
    return Step(premises=frozenset(premises), conclusion=conclusion)


def judge_lines(world: LogicWorld, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    """Return the truth of every line, with the kind of mistake ("" for a correct line).

    - INCORRECT: a premise does not follow from the problem, or the conclusion does not follow from
      the premises that the step names, or the answer is wrong.
    - CORRECT: each premise restates one sentence of the problem or one conclusion of an earlier
      correct step. An answer is correct if it is the true one and, unless that is "unprovable", was
      derived before.
    - UNKNOWN: a premise follows from the problem, but was not derived before (a leap, no
      falsehood); the true answer without proof; a line outside the language.
    """
    accepted = set(world.clauses)
    return [_judge_line(world, accepted, line) for line in lines]


def _judge_line(world: LogicWorld, accepted: set[Clause], line: str) -> tuple[Verdict, str]:
    """Judge one line; a correct step adds its conclusion to `accepted`."""
    answer = ANSWER.fullmatch(line)
    if answer:
        return _judge_answer(world, accepted, answer["answer"])
    step = parse_step(line)
    if step is None or not world.covers_vocabulary_of((*step.premises, *step.conclusion)):
        return Verdict.UNKNOWN, "not in the step language"
    unproven = [premise for premise in step.premises if not _is_accepted(accepted, premise)]
    if not all(follows(world.clauses, premise) for premise in unproven):
        return Verdict.INCORRECT, "premise"
    if not all(follows(step.premises, clause) for clause in step.conclusion):
        return Verdict.INCORRECT, "conclusion"
    if unproven:
        return Verdict.UNKNOWN, "a premise was not shown"
    accepted |= step.conclusion
    return Verdict.CORRECT, ""


def _judge_answer(
    world: LogicWorld, accepted: Collection[Clause], answer: str
) -> tuple[Verdict, str]:
    if answer != world.answer:
        return Verdict.INCORRECT, "answer"
    if answer == UNPROVABLE:
        # No sequence of steps can prove that nothing follows.
        return Verdict.CORRECT, ""
    proven = world.goal
    if answer == FALSE:
        proven = negated(world.goal)
    if not _is_accepted(accepted, frozenset([proven])):
        return Verdict.UNKNOWN, "the answer was not shown"
    return Verdict.CORRECT, ""


def _is_accepted(accepted: Collection[Clause], clause: Clause) -> bool:
    if clause in accepted:
        return True
    return any(restates(earlier, clause) for earlier in accepted)
