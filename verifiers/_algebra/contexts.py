"""What surrounds a statement and bears on how it may be read: the conditions on its variables, doubts that the words raise."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from verifiers._algebra.formulas import Tree, names
from verifiers._algebra.statements import Chain, chains
from verifiers.math.lexicon import OTHER_ARITHMETIC, REFUTATION, RESTATING
from verifiers.base import StepClaim

__all__ = ["Condition", "Context"]

MAX_CONTEXT_CHARS = 20_000
"""How much of the problem and of the steps before, from its end, is searched for conditions."""
MAX_CONDITIONS = 40
MAX_WORDS = 16
ENDINGS = frozenset([".", ",", ":", ";", "\n"])
COMPLEX = re.compile(r"complex|imaginary|conjugate|modulus|\bi ?\^ ?\{?2|a \+ bi", re.IGNORECASE)
UNITY = re.compile(
    r"roots? of unity|\\omega|ω|primitive root|finite field|\\mathbb\{?[FZ]_|matri(?:x|ces)|\\\\?mathbf|\\vec", re.IGNORECASE
)
SUPPOSED = re.compile(
    r"no (?:real |integer |such )?(?:solutions?|values?|roots?)|inconsistent|not true|not satisf\w+|not hold|never|absurd|suppos\w+"
    r"|guess|invalid|does(?: not|n't)|is(?: not|n't)|do(?: not|n't)|reject|discard|fails?\b|\?"
    r"|whether|verify|check|test\b|try\b|trial|let's see",
    re.IGNORECASE,
)
HAPPENING = re.compile(r"\b(?:either|cases?|otherwise|respectively|swap\w*|replac\w+|increment\w*|updat\w+|iterat\w+|new)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """`left = right`, stated of variables and not true of all their values."""

    left: Tree
    right: Tree
    names: frozenset[str]


@dataclass(frozen=True)
class Context:
    """A step with what comes before it."""

    claim: StepClaim

    @cached_property
    def chains(self) -> Sequence[Chain]:
        """The step's chains; a step that begins with a relation goes on with the step before."""
        found = chains(self.claim.step)
        if found and self.last_before and not found[0].sides[0].text and _continues(found[0].before):
            found = (replace(found[0], sides=(self.last_before[0].sides[-1], *found[0].sides[1:])), *found[1:])
        return found

    @cached_property
    def has_other_arithmetic(self) -> bool:
        """Whether another arithmetic than that of numbers may be meant."""
        return any(OTHER_ARITHMETIC.search(text) or UNITY.search(text) for text in self._texts)

    @cached_property
    def is_refuted(self) -> bool:
        """Whether the step may state something in order to deny it."""
        return REFUTATION.search(self.claim.step) is not None

    @cached_property
    def is_supposed(self) -> bool:
        """Whether the step may state something in order to try it."""
        return SUPPOSED.search(self.claim.step) is not None

    @cached_property
    def has_cases(self) -> bool:
        """Whether a name may mean one thing here and another there."""
        return HAPPENING.search(self.claim.step) is not None

    @cached_property
    def is_complex(self) -> bool:
        """Whether `i` is the imaginary unit."""
        return any(COMPLEX.search(text) for text in self._texts)

    @cached_property
    def last_before(self) -> Sequence[Chain]:
        """The chain that the step before ends with, if it does: what this step may go on from."""
        found = chains(self.claim.previous[-1][-MAX_CONTEXT_CHARS:]) if self.claim.previous else ()
        return found[-1:] if found and set(found[-1].after) <= ENDINGS else ()

    @cached_property
    def given(self) -> Sequence[Chain]:
        """The chains of the problem."""
        return chains(self.claim.question[-MAX_CONTEXT_CHARS:])

    @cached_property
    def before(self) -> Sequence[Chain]:
        """The chains of the steps before."""
        return chains("\n".join(self.claim.previous)[-MAX_CONTEXT_CHARS:])

    @cached_property
    def conditions(self) -> Sequence[Condition]:
        """The first links of all chains up to this step, this step's own included, that may restrict variables."""
        found = list[Condition]()
        for chain in (*self.given, *self.before, *self.chains):
            left, right = chain.sides[0].parsed, chain.sides[1].parsed
            if chain.relations[0] == "=" and left is not None and right is not None and (named := names(left) | names(right)):
                found.append(Condition(left, right, named))
        return found[-MAX_CONDITIONS:]

    @property
    def _texts(self) -> tuple[str, ...]:
        return (self.claim.question, *self.claim.previous, self.claim.step)


def _continues(words: Sequence[str]) -> bool:
    """Whether a formula that begins with a relation goes on with the last one."""
    return not words or (len(words) <= MAX_WORDS and not RESTATING.isdisjoint(words))
