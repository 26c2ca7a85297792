"""The context of a statement: conditions on its variables and doubts that the words raise."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from verifiers.algebra_rules.statements import Chain, chains
from verifiers.base import StepClaim
from verifiers.math import doubts
from verifiers.math.lexicon import RESTATING
from verifiers.math.syntax import Tree, names

# The question and the previous steps are searched from their end for at most this many characters.
MAX_CONTEXT_CHARS = 20_000
MAX_CONDITIONS = 40
# More words than this between two formulas start a new thought.
MAX_WORDS = 16
ENDINGS = frozenset([".", ",", ":", ";", "\n"])
COMPLEX = re.compile(r"complex|imaginary|conjugate|modulus|\bi ?\^ ?\{?2|a \+ bi", re.IGNORECASE)
ABSTRACT_ALGEBRA = re.compile(
    r"roots? of unity|\\omega|ω|primitive root|finite field|\\mathbb\{?[FZ]_|matri(?:x|ces)"
    r"|\bvectors?\b|\\\\?mathbf|\\vec|(?:\\pi|π) ?\( ?[a-z] ?\)",
    re.IGNORECASE,
)
SUPPOSED = re.compile(
    r"no (?:real |integer |such )?(?:solutions?|values?|roots?)|inconsistent|not true"
    r"|not satisf\w+|not hold|never|absurd|suppos\w+"
    r"|guess|invalid|does(?: not|n't)|is(?: not|n't)|do(?: not|n't)|reject|discard|fails?\b|\?"
    r"|whether|verify|check|test\b|try\b|trial|let's see",
    re.IGNORECASE,
)
NOT_SUPPOSED = "the statement is claimed, not supposed"
ONE_CASE = "a name has one value in all cases"
GIVEN_I = re.compile(
    r"(?<![\w^{\\])i\$? ?= ?\$?-?\d|\\sum_\{? ?i\b|\b(?:over|index|row|column) \$?i\b"
)
CASES = re.compile(
    r"\b(?:either|cases?|otherwise|respectively|swap\w*|replac\w+|increment\w*|updat\w+|iterat\w+"
    r"|new)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """`left = right`, stated about the variables `names`."""

    left: Tree
    right: Tree
    names: frozenset[str]


@dataclass(frozen=True)
class Context:
    """A step together with the question and the previous steps."""

    claim: StepClaim

    @cached_property
    def chains(self) -> Sequence[Chain]:
        """The chains of the step; if it begins with a relation, the step before is continued."""
        step_chains = chains(self.claim.step)
        if not step_chains or step_chains[0].sides[0].text or not self.last_before:
            return step_chains
        first, *rest = step_chains
        words = first.before
        if words and (len(words) > MAX_WORDS or RESTATING.isdisjoint(words)):
            return step_chains
        sides = (self.last_before[0].sides[-1], *first.sides[1:])
        return (replace(first, sides=sides), *rest)

    @cached_property
    def has_other_arithmetic(self) -> bool:
        """Whether the text may be about objects with other rules than numbers, such as matrices."""
        return any(ABSTRACT_ALGEBRA.search(text) for text in self._texts)

    @cached_property
    def doubts(self) -> Sequence[str]:
        """What every rule assumes about the words of the step and of those before it."""
        supposed = [NOT_SUPPOSED] if SUPPOSED.search(self.claim.step) else []
        return (*supposed, *doubts.of_claim(self.claim))

    @cached_property
    def cases(self) -> str:
        """The assumption that names have one meaning; empty if the step has no cases."""
        return ONE_CASE if CASES.search(self.claim.step) else ""

    @cached_property
    def gives_i_a_value(self) -> bool:
        """Whether `i` is a variable: it has a value, or is the index of a sum."""
        return any(GIVEN_I.search(text) for text in self._texts)

    @cached_property
    def is_complex(self) -> bool:
        """Whether `i` is the imaginary unit."""
        return any(COMPLEX.search(text) for text in self._texts)

    @cached_property
    def last_before(self) -> Sequence[Chain]:
        """The chain at the very end of the previous step, or nothing."""
        if not self.claim.previous:
            return ()
        last = chains(self.claim.previous[-1][-MAX_CONTEXT_CHARS:])[-1:]
        return last if last and set(last[0].after) <= ENDINGS else ()

    @cached_property
    def question(self) -> Sequence[Chain]:
        """The chains of the question."""
        return chains(self.claim.question[-MAX_CONTEXT_CHARS:])

    @cached_property
    def all_chains(self) -> Sequence[Chain]:
        """The chains of the question, the previous steps and this step."""
        previous = "\n".join(self.claim.previous)
        return (*self.question, *chains(previous[-MAX_CONTEXT_CHARS:]), *self.chains)

    @cached_property
    def conditions(self) -> Sequence[Condition]:
        """The first links of all chains that may restrict variables."""
        conditions = list[Condition]()
        for chain in self.all_chains:
            left = chain.sides[0].parsed
            right = chain.sides[1].parsed
            if chain.relations[0] != "=" or left is None or right is None:
                continue
            variables = names(left) | names(right)
            if variables:
                conditions.append(Condition(left, right, variables))
        return conditions[-MAX_CONDITIONS:]

    @property
    def _texts(self) -> tuple[str, ...]:
        return (self.claim.question, *self.claim.previous, self.claim.step)
