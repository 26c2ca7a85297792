"""The equations that a text states about names, and the values that a step claims for them.

An equation counts if it is understood, and if it is not supposed and not one of several
alternatives. A claimed value is an exact number at the end of a chain that begins with a name:
`x = 9/3 = 3`.

What is not covered: decimals, inequalities, angles, lists of values (`x = 1, 2`), relations in
words, steps before this one that distinguish cases or refute something, words in Chinese.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from verifiers.algebra_rules.contexts import CASES, SUPPOSED, Context
from verifiers.algebra_rules.ratios import Polynomial, difference, ratios
from verifiers.algebra_rules.statements import Chain, chains
from verifiers.algebra_rules.values import difference_sign, evaluate
from verifiers.math import doubts, lexicon
from verifiers.math.intervals import Real
from verifiers.math.lexicon import PASSAGE, PROSE, REFUTATION, words
from verifiers.math.syntax import (
    MAYBE_CONSTANT,
    PI,
    Combined,
    Name,
    Number,
    Tree,
    UndefinedError,
    functions,
    has_decimals,
    is_power,
    names,
    numbers,
    walk,
)

OF_STEP_BEFORE = "an equation of the step before still holds"
OF_EARLIER_STEP = "an equation of an earlier step still holds"
OF_QUESTION = "an equation of the question holds"
# Words directly before a formula that suppose it, or make it one of several.
SUPPOSING = words(
    "either if suppose supposing assume assuming case cases when for at try trying test testing"
    " consider considering whether unless not without option choice instead"
)
# Words directly before a value that is chosen or inserted.
CHOOSING = words(
    "let let's set setting where with substitute substituting plug plugging put putting taking take"
)
# Words directly after a value that is discussed and not claimed: `x = 10 is too small`.
DISCUSSING = words("is isn't was does doesn't makes would fails cannot can't has")
ALTERNATIVES = words("or either 或")
# A shorter word directly before a formula may be a part of it, as a unit: `Rs x = 3`.
MIN_WORD = 4
BORDERS = PASSAGE | PROSE | words("set up see say")
# Formulas in which a fraction or an exponent may have lost its form: `72(100/R)2`.
FLATTENED = re.compile(r"[)\]}] ?\d")
# Of `96/x - 4`, the divisor may be `x - 4`.
DIVISION_IN_LINE = "a fraction in a line ends at the next sign"
DIGITS = re.compile(r"\bdigits?\b")
# With one of these words, `7x = 50, so x = 7` may be meant.
WHOLE = lexicon.ROUNDING | {"integer", "integers", "whole", "most", "least"}
# A step before with one of these words distinguishes cases, tries or refutes something.
DOUBTFUL = (CASES, SUPPOSED, REFUTATION, doubts.TRIED)
CHINESE = re.compile("[\u4e00-\u9fff]")
# Functions whose values need no unit of angles.
PLAIN_FUNCTIONS = frozenset(["root", "abs"])
WORDS_BEFORE = 4
# The first characters of signs that continue a formula behind a letter.
OPERATORS = frozenset("+-*/^_=<>≤≥≈≠(")
# Shorter numbers often consist of digits that occur elsewhere.
MIN_LOST_DIGITS = 3
# The texts before a step are read from their end for at most this many steps.
MAX_STEPS_BEFORE = 16
MAX_EQUATIONS = 40
MAX_STEP_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class StatedEquation:
    """`left = right` about `names`; `assumption` says where it is stated, unless in the step."""

    chain: Chain
    left: Tree
    right: Tree
    names: frozenset[str]
    assumption: str = ""
    is_value: bool = False
    """Whether it is a name and its value."""


@dataclass(frozen=True, slots=True)
class ClaimedValue:
    """A value that a step claims for a name; `index` is the position of the chain in the step."""

    chain: Chain
    name: str
    value: Real
    index: int
    is_alternative: bool
    """Whether it is one of several values: `x = 2 or x = 3`."""


def is_chinese(context: Context) -> bool:
    """Return whether the step is in Chinese, whose words are not understood."""
    return CHINESE.search(context.claim.step) is not None


def may_be_rounded(step: str) -> bool:
    """Return whether a step may round values to whole numbers."""
    return not WHOLE.isdisjoint(step.lower().split())


def names_alternative(words_around: Sequence[str]) -> bool:
    r"""Return whether "or" is among words; inside mathematics, `\text{or}` becomes two letters."""
    if not ALTERNATIVES.isdisjoint(words_around):
        return True
    return ("o", "r") in pairwise(words_around)


def is_supposed(chain: Chain) -> bool:
    """Return whether the words around a chain suppose it, or make it one of several."""
    near = chain.before[-WORDS_BEFORE:]
    if not SUPPOSING.isdisjoint(near):
        return True
    return names_alternative(near) or names_alternative(chain.after)


def equation_of(chain: Chain, assumption: str = "") -> StatedEquation | None:
    """Return the equation that a chain states about names, or None.

    A longer chain continues with values: `x - 6 = 3 · 18 = 54`. Values of names are left out.
    """
    if set(chain.relations) != {"="} or FLATTENED.search(chain.text) or not _is_bordered(chain):
        return None
    left = chain.sides[0].tree
    right = chain.sides[1].tree
    if left is None or right is None or not (_is_plain(left) and _is_plain(right)):
        return None
    for side in chain.sides[2:]:
        if side.tree is None or names(side.tree):
            return None
    variables = names(left) | names(right)
    if not variables or not all(map(is_letter, variables)):
        return None
    for name, value in ((left, right), (right, left)):
        if isinstance(name, Name) and not names(value):
            return None
    return StatedEquation(chain, left, right, variables, assumption)


def is_letter(name: str) -> bool:
    """Return whether a name is a letter with or without index, and no function or constant."""
    return "(" not in name and "“" not in name and name not in MAYBE_CONSTANT


def _is_plain(tree: Tree) -> bool:
    """Return whether a tree has only exact numbers, no angles and no unusual functions."""
    return not has_decimals(tree) and PI not in walk(tree) and functions(tree) <= PLAIN_FUNCTIONS


def converts_unit(before: Chain, after: Chain) -> bool:
    """Return whether the second chain has another unit: `60x = 1 hour`, `x = 1 minute`."""
    unit = lexicon.singular("".join(after.after[:1]))
    return unit in lexicon.FAMILIES and unit != lexicon.singular("".join(before.after[:1]))


def has_lost_bar(first: Iterable[Tree], second: Iterable[Tree]) -> bool:
    """Return whether a number may be a fraction without its bar: `x - 618` and `x - 6 = 3 · 18`.

    The arguments are the sides of two equations.
    """
    digits = list[str]()
    for side in second:
        digits += [str(number.value) for number in numbers(side)]
    for side in first:
        for number in numbers(side):
            text = str(number.value)
            if len(text) < MIN_LOST_DIGITS:
                continue
            for cut in range(1, len(text)):
                if text[:cut] in digits and text[cut:] in digits:
                    return True
    return False


def in_line(*sequence: Chain) -> str:
    """Return the assumption that a division in a sum or a product takes, or nothing."""
    for chain in sequence:
        if "/" not in chain.text:
            continue
        for side in chain.sides:
            if side.tree is not None and any(map(_has_division_inside, walk(side.tree))):
                return DIVISION_IN_LINE
    return ""


def _has_division_inside(tree: Tree) -> bool:
    """Return whether a sum or a product has a fraction with names as its operand."""
    if not isinstance(tree, Combined) or tree.operator not in "+-*":
        return False
    for operand in (tree.left, tree.right):
        if isinstance(operand, Combined) and operand.operator == "/" and names(operand):
            return True
    return False


@dataclass(frozen=True)
class Stated:
    """What is stated about names, in a step and before it."""

    context: Context

    @cached_property
    def here(self) -> Sequence[StatedEquation]:
        """The equations and values of the step, in text order."""
        return _statements(self.context.chains, "")

    @cached_property
    def before(self) -> Sequence[StatedEquation]:
        """The equations and values of the question and of the steps before, in text order.

        Steps before one that distinguishes cases or refutes something do not count.
        """
        question = self.context.claim.question
        equations = list[StatedEquation]()
        # In "AB = 1B", letters are digits.
        if not DIGITS.search(question):
            equations += _statements(_before_options(self.context.question), OF_QUESTION)
        # A value of one case need not solve the equations of the others.
        if any(is_supposed(chain) for chain in self.context.chains):
            return equations
        of_steps = list[StatedEquation]()
        assumption = OF_STEP_BEFORE
        for text in reversed(self.context.claim.previous[-MAX_STEPS_BEFORE:]):
            sequence = chains(text[-MAX_STEP_CHARS:])
            if any(map(is_supposed, sequence)) or any(word.search(text) for word in DOUBTFUL):
                break
            of_steps = [*_statements(sequence, assumption), *of_steps]
            assumption = OF_EARLIER_STEP
        return (equations + of_steps)[-MAX_EQUATIONS:]

    @cached_property
    def claims(self) -> Sequence[ClaimedValue]:
        """The values that the step claims, in text order."""
        claims = list[ClaimedValue]()
        alternatives = _alternatives(self.context.chains)
        for index, chain in enumerate(self.context.chains):
            value = None if _is_discussed(chain) else _final_value(chain)
            name = chain.sides[0].tree
            if value is not None and isinstance(name, Name):
                is_alternative = index in alternatives
                claims.append(ClaimedValue(chain, name.text, value, index, is_alternative))
        return claims


def _before_options(sequence: Sequence[Chain]) -> Sequence[Chain]:
    """Return the chains of a question before its question mark, behind which the options are."""
    for index, chain in enumerate(sequence):
        if "?" in chain.before:
            return sequence[:index]
    return sequence


def _statements(sequence: Sequence[Chain], assumption: str) -> Sequence[StatedEquation]:
    """Return the equations and values that are claimed, and not one of several."""
    equations = list[StatedEquation]()
    alternatives = _alternatives(sequence)
    for index, chain in enumerate(sequence):
        if index in alternatives:
            continue
        # What a question supposes is given: "if 2x + 3 = 7".
        is_case = assumption != OF_QUESTION and is_supposed(chain)
        equation = None if is_case else equation_of(chain, assumption)
        if equation is None and not _is_discussed(chain):
            equation = _value_equation(chain, assumption)
        if equation is not None:
            equations.append(equation)
    return equations


def _value_equation(chain: Chain, assumption: str) -> StatedEquation | None:
    name = chain.sides[0].tree
    value = _final_value(chain)
    if not isinstance(name, Name) or not isinstance(value, Fraction):
        return None
    number = Number(value)
    return StatedEquation(chain, name, number, names(name), assumption, is_value=True)


def _is_discussed(chain: Chain) -> bool:
    """Return whether a value is supposed, chosen or discussed, and not claimed."""
    if not (SUPPOSING | CHOOSING).isdisjoint(chain.before[-WORDS_BEFORE:]):
        return True
    return not DISCUSSING.isdisjoint(chain.after[:1])


def polynomials(*trees: Tree) -> Sequence[Polynomial] | None:
    """Return the polynomials whose roots solve the equations of two trees each.

    They are elements of one ring. The result is None unless all trees are ratios of polynomials.
    """
    if not all(_is_polynomial(tree) for tree in trees):
        return None
    fractions = ratios(*trees)
    if fractions is None:
        return None
    pairs = zip(fractions[::2], fractions[1::2], strict=True)
    return [difference(left, right) for left, right in pairs]


def exclude_each_other(first: StatedEquation, second: StatedEquation) -> bool:
    """Return whether two equations in one name, the same for both, have no common root.

    A rewriting, which all numbers solve, excludes nothing.
    """
    if first.names != second.names or len(first.names) != 1:
        return False
    pair = polynomials(first.left, first.right, second.left, second.right)
    if pair is None or pair[0].is_ground or pair[1].is_ground:
        return False
    return bool(pair[0].gcd(pair[1]).is_ground)


def _alternatives(sequence: Sequence[Chain]) -> set[int]:
    """Return the positions of chains that "or" joins, also in lists: `a = 0, b = 1, or c = 2`."""
    alternatives = set[int]()
    for index in range(len(sequence) - 1, 0, -1):
        between = sequence[index].before
        is_list = between == (",",) and index in alternatives
        if is_list or ("." not in between and names_alternative(between)):
            alternatives |= {index - 1, index}
    return alternatives


def _final_value(chain: Chain) -> Real | None:
    """Return the value of a letter, with which a chain begins and which all closed sides have."""
    subject = chain.sides[0].tree
    if not isinstance(subject, Name) or not is_letter(subject.text):
        return None
    if set(chain.relations) != {"="} or not _is_bordered(chain):
        return None
    value: Real | None = None
    for side in chain.sides[1:]:
        if side.tree is None or has_decimals(side.tree) or "degrees" in functions(side.tree):
            return None
        if names(side.tree):
            continue
        try:
            number = evaluate(side.tree, {})
        except UndefinedError:
            return None
        if value is not None and difference_sign(value, number) != 0:
            return None
        value = number
    last = chain.sides[-1].tree
    return None if last is None or names(last) else value


def _is_bordered(chain: Chain) -> bool:
    """Return whether the signs next to a chain do not belong to its first and last sides."""
    # `DB : DC = AB : AC` is a proportion.
    if chain.after[:1] == (":",) or _continues_with_letter(chain.after):
        return False
    word = "".join(chain.before[-1:])
    if word in BORDERS or not (word.isalpha() or word.startswith("\\")):
        return True
    return word.isalpha() and len(word) >= MIN_WORD


def _continues_with_letter(words_after: Sequence[str]) -> bool:
    r"""Return whether a letter that is taken for a word may be a factor: `t = \frac{1}{3} u.`.

    A letter before an operator begins another formula.
    """
    if not words_after or len(words_after[0]) > 1 or not words_after[0].isalpha():
        return False
    return len(words_after) == 1 or words_after[1][0] not in OPERATORS


def _is_polynomial(tree: Tree) -> bool:
    """Return whether the tree has no functions, names in words or variables in exponents."""
    for part in walk(tree):
        if is_power(part) and not isinstance(part.right, Number):
            return False
        if isinstance(part, Name) and ("(" in part.text or "“" in part.text):
            return False
    return not functions(tree)
