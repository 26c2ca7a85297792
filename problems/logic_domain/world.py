"""Draws a deduction problem: facts and rules about a few people, a hypothesis, and what distracts from it.

A proof is drawn from its end: the goal gets a rule, each condition of the rule is a fact or gets a rule of its own. Rules are about
named people or about everyone, and are used forwards, backwards on the opposite of their conclusion, or as a disjunction. In an
unprovable problem the rule of the goal is broken: it asks for one thing more that is not known, it leads the other way, or it is about
another person. Facts that nothing needs, rules that never apply, other reasons for what is so and converses of the rules in use distract.
Then the sentences are shuffled. A draft is kept when it is free of contradiction, its answer is the one that was meant, and its gold
solution has the number of steps asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from problems.logic_domain.language import (
    ANSWERS,
    FALSE,
    UNPROVABLE,
    World,
    write_choice,
    write_literal,
    write_rule,
)
from problems.logic_domain.models import Literal, consistent, ground, negated
from problems.logic_domain.proof import derivations, needed, solution

__all__ = ["ASKED", "Story", "draw"]

ASKED = "Is the hypothesis true, false or unprovable?"
NAMES = (
    *("Ana", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam"),
    *("Maya", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yara", "Zoe"),
)
# None means another one or its opposite, so that nothing follows from what the words mean.
TRAITS = (
    *(
        "able",
        "ambitious",
        "artistic",
        "barefoot",
        "brave",
        "busy",
        "careful",
        "clever",
        "curious",
        "elegant",
        "famous",
    ),
    *(
        "fit",
        "frank",
        "friendly",
        "funny",
        "generous",
        "grumpy",
        "hungry",
        "jealous",
        "loyal",
        "lucky",
        "married",
    ),
    *(
        "musical",
        "neat",
        "nervous",
        "patient",
        "polite",
        "proud",
        "quick",
        "religious",
        "rich",
        "shy",
        "sleepy",
    ),
    *(
        "strict",
        "strong",
        "stubborn",
        "sunburnt",
        "tall",
        "thirsty",
        "thrifty",
        "ticklish",
        "vegetarian",
        "wet",
        "young",
    ),
)
POSITIVE = 0.7
ABOUT_ANYONE = 0.65
FORWARDS, AS_DISJUNCTION = 0.7, 0.12
CONDITIONS, WEIGHTS = (1, 2, 3), (5, 5, 1)
TOLD_WITH_IF = 0.35
MERGED = 0.4
DISTRACTIONS = (2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A world, the question that states it, and the gold lines."""

    world: World
    question: str
    gold: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """That the premises bring the conclusion about, as it is used in the proof."""

    premises: tuple[Literal, ...]
    conclusion: Literal


class _Draft:
    """A problem being drawn."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = random.sample(NAMES, random.choice((2, 3, 3, 4)))
        self.unused = iter(random.sample(TRAITS, len(TRAITS)))
        self.facts: list[Literal] = []
        self.rules: list[_Rule] = []

    def literal(self, subject: str | None = None) -> Literal:
        """Something not yet spoken of."""
        return Literal(
            subject or self.random.choice(self.names),
            next(self.unused),
            self.random.random() < POSITIVE,
        )

    def prove(self, goal: Literal, steps: int) -> None:
        """Facts and rules from which the goal follows in so many steps."""
        if steps == 0:
            self.facts.append(goal)
            return
        size = self.random.choices(CONDITIONS, WEIGHTS)[0]
        subject = goal.subject if self.random.random() < ABOUT_ANYONE else None
        premises = tuple(self.literal(subject) for _ in range(size))
        self.rules.append(_Rule(premises=premises, conclusion=goal))
        shares = [self.random.randrange(size) for _ in range(steps - 1)]
        for index, premise in enumerate(premises):
            self.prove(premise, shares.count(index))

    def distract(self) -> None:
        """One sentence more that nothing needs."""
        self.random.choice(
            (
                _idle_fact,
                _idle_fact,
                _same_trait,
                _idle_rule,
                _converse,
                _other_reason,
                _other_reason,
            )
        )(self)

    def known(self) -> Literal:
        """Something that the proof speaks of."""
        return self.random.choice([*self.facts, *(rule.conclusion for rule in self.rules)])

    def sentences(self) -> Sequence[str]:
        """All of it, shuffled."""
        told = [*self._facts(), *map(self._told, self.rules)]
        self.random.shuffle(told)
        return told

    def _facts(self) -> Sequence[str]:
        """Facts about the same person now and then in one sentence."""
        told: list[str] = []
        for fact in self.facts:
            sentence = write_literal(fact)
            if (
                told
                and told[-1].startswith(f"{fact.subject} is ")
                and not fact.holds
                and self.random.random() < MERGED
            ):
                told[-1] += f" and {sentence.removeprefix(f'{fact.subject} is ')}"
            else:
                told.append(sentence)
        return told

    def _told(self, rule: _Rule) -> str:
        """A rule as a sentence: it may be told the other way round, since the proof can use it so."""
        literals = [*(negated(premise) for premise in rule.premises), rule.conclusion]
        if len({literal.subject for literal in literals}) == 1 and (
            len(literals) > 2 or self.random.random() < ABOUT_ANYONE
        ):
            literals = [literal._replace(subject=None) for literal in literals]
        how = self.random.random()
        if how > 1 - AS_DISJUNCTION and (
            literals[0].subject is not None or any(literal.holds for literal in literals)
        ):
            return write_choice(literals)
        head = literals[-1] if how < FORWARDS else literals[0]
        conditions = [negated(literal) for literal in literals if literal != head]
        return write_rule(conditions, head, plainly=self.random.random() > TOLD_WITH_IF)


def _idle_fact(draft: _Draft) -> None:
    draft.facts.append(draft.literal())


def _same_trait(draft: _Draft) -> None:
    """A fact that the proof uses, of another person: the rules about everyone apply to that one too, as far as it goes."""
    fact = draft.random.choice(draft.facts)
    draft.facts.append(fact._replace(subject=draft.random.choice(draft.names)))


def _idle_rule(draft: _Draft) -> None:
    """A rule of which one condition is so and another is not known."""
    met = draft.known()
    draft.rules.append(
        _Rule(premises=(met, draft.literal(met.subject)), conclusion=draft.literal(met.subject))
    )


def _other_reason(draft: _Draft) -> None:
    """What would bring about something that the proof speaks of, and need not be so itself."""
    known = draft.known()
    draft.rules.append(_Rule(premises=(draft.literal(known.subject),), conclusion=known))


def _converse(draft: _Draft) -> None:
    rule = draft.random.choice(draft.rules)
    draft.rules.append(_turned(rule))


def _turned(rule: _Rule) -> _Rule:
    return _Rule(premises=(rule.conclusion, *rule.premises[1:]), conclusion=rule.premises[0])


def _ask_more(draft: _Draft, rule: _Rule) -> _Rule:
    return _Rule(
        premises=(*rule.premises, draft.literal(rule.conclusion.subject)),
        conclusion=rule.conclusion,
    )


def _turn(_draft: _Draft, rule: _Rule) -> _Rule:
    return _turned(rule)


def _move(draft: _Draft, rule: _Rule) -> _Rule:
    """The rule about another person; told of everyone it would be the same, so it names this one twice."""
    other = draft.random.choice([name for name in draft.names if name != rule.conclusion.subject])
    return _Rule(premises=rule.premises, conclusion=rule.conclusion._replace(subject=other))


BREAKS: Sequence[Callable[[_Draft, _Rule], _Rule]] = (_ask_more, _turn, _move)


def draw(random: Random, steps: int) -> Story:
    """A problem whose gold solution has exactly `steps` steps before the answer; each answer is as likely."""
    answer = random.choice(ANSWERS)
    return next(story for _ in count() if (story := _attempt(random, steps, answer)) is not None)


def _attempt(random: Random, steps: int, answer: str) -> Story | None:
    """One draft; None when it is not what was asked for."""
    draft = _Draft(random)
    goal = draft.literal()
    draft.prove(goal, steps + (answer == UNPROVABLE))
    goals = draft.rules[0].premises if answer == UNPROVABLE else (goal,)
    if answer == UNPROVABLE:
        draft.rules[0] = random.choice(BREAKS)(draft, draft.rules[0])
    for _ in range(random.randint(*DISTRACTIONS)):
        draft.distract()
    opposite = random.random() < 1 / 2 if answer == UNPROVABLE else answer == FALSE
    world = World(
        given=tuple(draft.sentences()),
        hypothesis=write_literal(negated(goal) if opposite else goal),
    )
    found = derivations(world.given)
    fits = (
        found.keys() >= set(goals)
        and len(needed(found, goals)) == steps
        and _is_sound(world)
        and world.answer == answer
    )
    return (
        Story(world=world, question=_question(world), gold=solution(world, goals)) if fits else None
    )


def _is_sound(world: World) -> bool:
    names = {literal.subject for clause in world.clauses for literal in clause if literal.subject}
    return consistent(ground(world.clauses, names))


def _question(world: World) -> str:
    told = (f"{sentence[0].upper()}{sentence[1:]}." for sentence in world.given)
    return " ".join((*told, f"Hypothesis: {world.hypothesis}.", ASKED))
