"""Draw deduction problems: facts and rules about a few people, a hypothesis, and distractors.

A proof is drawn from its end: the goal gets a rule, and each condition of the rule is a fact or
gets its own rule. Rules are about named people or about everyone. They are used forwards, backwards
on the negation of their conclusion, or as a disjunction. In an unprovable problem the rule of the
goal is broken: it has one more condition that is not known, its direction is reversed, or it is
about another person. Distractors are unneeded facts, rules that never apply, alternative reasons
for known facts, and converses of the rules in use. Then the sentences are shuffled.

A draft is accepted if it is consistent, has the intended answer, and its gold solution has the
requested number of steps.

Every draw from the random stream is part of the definition of a problem: an additional draw, or two
draws in another order, would change all problems of all seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from problems.logic_domain.language import (
    ANSWERS,
    FALSE,
    UNPROVABLE,
    LogicWorld,
    write_disjunction,
    write_literal,
    write_rule,
)
from problems.logic_domain.models import Literal, consistent, ground, names_in, negated
from problems.logic_domain.proof import derivations, needed, solution

__all__ = ["INSTRUCTION", "LogicStory", "draw"]

INSTRUCTION = "Is the hypothesis true, false or unprovable?"
# fmt: off
NAMES = (
    "Ana", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam",
    "Maya", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yara", "Zoe",
)
# fmt: on
# No trait implies another one or its opposite, so that nothing follows from the meaning of words.
# fmt: off
TRAITS = (
    "able", "ambitious", "artistic", "barefoot", "brave", "busy", "careful", "clever", "curious",
    "elegant", "famous", "fit", "frank", "friendly", "funny", "generous", "grumpy", "hungry",
    "jealous", "loyal", "lucky", "married", "musical", "neat", "nervous", "patient", "polite",
    "proud", "quick", "religious", "rich", "shy", "sleepy", "strict", "strong", "stubborn",
    "sunburnt", "tall", "thirsty", "thrifty", "ticklish", "vegetarian", "wet", "young",
)
# fmt: on
# Probabilities: of a literal to be positive, of a rule to be about everyone, of a rule to be
# written forwards or as a disjunction, of a rule about everyone to be written with "if someone", of
# a fact to join the sentence before it.
POSITIVE_RATE = 0.7
ABOUT_ANYONE_RATE = 0.65
FORWARDS_RATE = 0.7
DISJUNCTION_RATE = 0.12
IF_SOMEONE_RATE = 0.35
MERGE_RATE = 0.4
# The number of conditions of a rule, and how often each is drawn.
CONDITION_COUNTS = (1, 2, 3)
CONDITION_WEIGHTS = (5, 5, 1)
# Fewest and most distractors of a problem.
DISTRACTORS = (2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicStory:
    """A world of statements, the question that states it, and the gold lines."""

    world: LogicWorld
    question: str
    gold: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """An implication from premises to a conclusion, as the proof uses it."""

    premises: tuple[Literal, ...]
    conclusion: Literal


class _Draft:
    """A problem under construction."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = random.sample(NAMES, random.choice((2, 3, 3, 4)))
        self.unused_traits = iter(random.sample(TRAITS, len(TRAITS)))
        self.facts: list[Literal] = []
        self.rules: list[_Rule] = []

    def new_literal(self, subject: str | None = None) -> Literal:
        """Return a literal with an unused trait, about a random person if no subject is given."""
        if not subject:
            subject = self.random.choice(self.names)
        trait = next(self.unused_traits)
        holds = self.random.random() < POSITIVE_RATE
        return Literal(subject, trait, holds)

    def prove(self, goal: Literal, steps: int) -> None:
        """Add facts and rules from which the goal follows in exactly `steps` steps."""
        if steps == 0:
            self.facts.append(goal)
            return
        size = self.random.choices(CONDITION_COUNTS, CONDITION_WEIGHTS)[0]
        subject = None
        if self.random.random() < ABOUT_ANYONE_RATE:
            # The conditions are about the person of the goal, so the rule can be about everyone.
            subject = goal.subject
        premises = tuple(self.new_literal(subject) for _ in range(size))
        self.rules.append(_Rule(premises=premises, conclusion=goal))
        # One step is the rule itself; each other one belongs to a random premise.
        owners = [self.random.randrange(size) for _ in range(steps - 1)]
        for index, premise in enumerate(premises):
            self.prove(premise, owners.count(index))

    def distract(self) -> None:
        """Add one sentence that the proof does not need."""
        # Repeated entries are drawn more often.
        distractors = (
            _add_unneeded_fact,
            _add_unneeded_fact,
            _add_same_trait,
            _add_inapplicable_rule,
            _add_converse,
            _add_alternative_reason,
            _add_alternative_reason,
        )
        self.random.choice(distractors)(self)

    def used_literal(self) -> Literal:
        """Return a random fact, or the conclusion of a rule."""
        conclusions = [rule.conclusion for rule in self.rules]
        return self.random.choice([*self.facts, *conclusions])

    def sentences(self) -> Sequence[str]:
        """Return the facts and rules as shuffled sentences without full stops."""
        sentences = [*self._fact_sentences(), *map(self._rule_sentence, self.rules)]
        self.random.shuffle(sentences)
        return sentences

    def _fact_sentences(self) -> Sequence[str]:
        """Return the facts as sentences; some facts about one person share a sentence."""
        sentences: list[str] = []
        for fact in self.facts:
            sentence = write_literal(fact)
            subject = f"{fact.subject} is "
            # Only a negated trait is appended: "is not kind and tall" is ambiguous.
            can_merge = bool(sentences) and sentences[-1].startswith(subject) and not fact.holds
            if can_merge and self.random.random() < MERGE_RATE:
                sentences[-1] += f" and {sentence.removeprefix(subject)}"
            else:
                sentences.append(sentence)
        return sentences

    def _rule_sentence(self, rule: _Rule) -> str:
        """Return a rule as a sentence.

        The sentence may state the contrapositive or a disjunction, since the proof can use these in
        the same way.
        """
        literals = [*map(negated, rule.premises), rule.conclusion]
        has_one_subject = len({literal.subject for literal in literals}) == 1
        # A rule about one person with several conditions is always written about everyone.
        if has_one_subject and (len(literals) > 2 or self.random.random() < ABOUT_ANYONE_RATE):
            literals = [literal._replace(subject=None) for literal in literals]
        draw_of_form = self.random.random()
        # "Everyone is not kind or not tall" is ambiguous, so it is not written.
        can_be_disjunction = literals[0].subject is not None or any(
            literal.holds for literal in literals
        )
        if draw_of_form > 1 - DISJUNCTION_RATE and can_be_disjunction:
            return write_disjunction(literals)
        head = literals[0]
        if draw_of_form < FORWARDS_RATE:
            head = literals[-1]
        conditions = [negated(literal) for literal in literals if literal != head]
        plainly = self.random.random() > IF_SOMEONE_RATE
        return write_rule(conditions, head, plainly=plainly)


def _add_unneeded_fact(draft: _Draft) -> None:
    draft.facts.append(draft.new_literal())


def _add_same_trait(draft: _Draft) -> None:
    """Add a fact of the proof about another person; rules about everyone then apply to both."""
    fact = draft.random.choice(draft.facts)
    draft.facts.append(fact._replace(subject=draft.random.choice(draft.names)))


def _add_inapplicable_rule(draft: _Draft) -> None:
    """Add a rule with one condition that holds and one that is not known."""
    condition = draft.used_literal()
    unknown = draft.new_literal(condition.subject)
    conclusion = draft.new_literal(condition.subject)
    draft.rules.append(_Rule(premises=(condition, unknown), conclusion=conclusion))


def _add_alternative_reason(draft: _Draft) -> None:
    """Add a rule that would derive a literal of the proof from a condition that is not known."""
    conclusion = draft.used_literal()
    premise = draft.new_literal(conclusion.subject)
    draft.rules.append(_Rule(premises=(premise,), conclusion=conclusion))


def _add_converse(draft: _Draft) -> None:
    draft.rules.append(_converse(draft.random.choice(draft.rules)))


def _converse(rule: _Rule) -> _Rule:
    """Return the rule with its conclusion and first premise exchanged."""
    return _Rule(premises=(rule.conclusion, *rule.premises[1:]), conclusion=rule.premises[0])


def _with_unknown_condition(draft: _Draft, rule: _Rule) -> _Rule:
    unknown = draft.new_literal(rule.conclusion.subject)
    return _Rule(premises=(*rule.premises, unknown), conclusion=rule.conclusion)


def _reversed(_draft: _Draft, rule: _Rule) -> _Rule:
    return _converse(rule)


def _about_another_person(draft: _Draft, rule: _Rule) -> _Rule:
    """Return the rule with a conclusion about another person.

    Such a rule is never written about everyone, because then it would be the original rule.
    """
    other_names = [name for name in draft.names if name != rule.conclusion.subject]
    other = draft.random.choice(other_names)
    return _Rule(premises=rule.premises, conclusion=rule.conclusion._replace(subject=other))


BREAKS: Sequence[Callable[[_Draft, _Rule], _Rule]] = (
    _with_unknown_condition,
    _reversed,
    _about_another_person,
)


def draw(random: Random, steps: int) -> LogicStory:
    """Return a problem whose gold solution has exactly `steps` steps before the answer.

    The three answers are equally likely.
    """
    # Drawn once, not per draft: otherwise rejected drafts would change the shares of the answers.
    answer = random.choice(ANSWERS)
    while True:
        story = _attempt(random, steps, answer)
        if story is not None:
            return story


def _attempt(random: Random, steps: int, answer: str) -> LogicStory | None:
    """Return one draft, or None if it does not have the requested steps and answer."""
    draft = _Draft(random)
    goal = draft.new_literal()
    goals: Sequence[Literal] = (goal,)
    if answer == UNPROVABLE:
        # The gold steps derive the conditions of the rule for the goal; the rule itself is the
        # additional step, and it is broken.
        draft.prove(goal, steps + 1)
        goals = draft.rules[0].premises
        draft.rules[0] = random.choice(BREAKS)(draft, draft.rules[0])
    else:
        draft.prove(goal, steps)
    for _ in range(random.randint(*DISTRACTORS)):
        draft.distract()
    negate_hypothesis = answer == FALSE
    if answer == UNPROVABLE:
        negate_hypothesis = random.random() < 1 / 2
    hypothesis = goal
    if negate_hypothesis:
        hypothesis = negated(goal)
    world = LogicWorld(given=tuple(draft.sentences()), hypothesis=write_literal(hypothesis))
    derived = derivations(world.given)
    is_provable = derived.keys() >= set(goals)
    # The conditions that need a model search come last, because they cost most.
    if not is_provable or len(needed(derived, goals)) != steps:
        return None
    if not _is_consistent(world) or world.answer != answer:
        return None
    return LogicStory(world=world, question=_question(world), gold=solution(world, goals))


def _is_consistent(world: LogicWorld) -> bool:
    return consistent(ground(world.clauses, names_in(world.clauses)))


def _question(world: LogicWorld) -> str:
    sentences: list[str] = []
    for sentence in world.given:
        # Only the first letter: `capitalize` would lower the names in the rest.
        sentences.append(f"{sentence[0].upper()}{sentence[1:]}.")
    return " ".join([*sentences, f"Hypothesis: {world.hypothesis}.", INSTRUCTION])
