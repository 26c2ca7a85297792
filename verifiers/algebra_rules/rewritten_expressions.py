r"""Judge an expression without a relation by the expression of which it is another form.

Examples: `\[ 2(x + 3) + x \]` "Combining like terms:" `\[ 3x + 5 \]`; `(2y + 3)(y - 1) = 0`,
"expanding the left side, we get" `2y^2 + y + 3`. The words between the two say that the second is
the first in another form, and the first can be rewritten. The first is the expression directly
before, in the step or at the end of the step before. After "the left side", it is that side of the
equation before.

What is false is a suspicion: the words may speak of a part of the expression.

What is not covered: expressions outside of delimiters, parts that words name (the numerator, the
second term), decimals.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from verifiers.algebra_rules import ratios
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.identities import Equality, Relation, compare
from verifiers.algebra_rules.rewritings import is_normal
from verifiers.math.dialects.algebra import parse, tokens
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.lexer import Kind, written
from verifiers.math.syntax import Number, Tree, has_decimals, names, numbers, terms

REWRITTEN = "rewritten expression"

MAX_CHARS = 8_000
# The comparison of two expressions takes some milliseconds.
MAX_EXPRESSIONS = 40
# A closed formula of fewer numbers may be a part: "factoring out 4".
MIN_NUMBERS = 3
# The longest words between two forms of one expression.
MAX_BETWEEN = 160
FORMULA = re.compile(
    r"\$\$(?P<dollars>[^$]{1,1000})\$\$|\\\[(?P<display>(?:(?!\\\]).){1,1000})\\\]"
    r"|\\\((?P<inline>(?:(?!\\\)).){1,1000})\\\)|(?<![\\$])\$(?P<dollar>[^$\n]{1,1000})\$(?!\d)",
    re.DOTALL,
)
REWRITES = re.compile(
    r"\b(?:simplif|expand|combin|distribut|factor(?:ing|ed|s)?\b|multiply(?:ing)? out|collect"
    r"|rewrit|calculat|evaluat)",
    re.IGNORECASE,
)
# Words that name a part, another operation or another object.
PART = re.compile(
    r"\b(?:terms? (?:inside|of)|numerator|denominator|exponent|bracket|parenthes[ie]s|inside|under"
    r"|first|second|third|last|each (?:part|side|factor)|both|parts?|one of|coefficients?|where|if"
    r"|substitut\w*|plug\w*|set|let|mod(?:ulo)?|derivative|integra\w+|differentiat\w+|roots?"
    r"|top|bottom|middle|summand|the (?:square|cube|product|quadratic|\w* ?factor)|out|left over"
    r"|ignoring|apart|except|up to|constants?|doubl\w+|twice|hal[fv]\w*|by \d+"
    r"|common|gcd|now consider|next,? (?:we )?consider|using|with|for|sum|product|and)\b",
    re.IGNORECASE,
)
# All of the expression before the step, whatever the step says about its parts.
WHOLE = re.compile(
    r"\b(?:simplified|expanded|resulting|final) expression|expression (?:becomes|simplifies|is)\b",
    re.IGNORECASE,
)
SIDE = re.compile(r"\b(?:the )?(left|right)(?:[- ]hand)?[- ]side\b|\b([LR])HS\b", re.IGNORECASE)
BORDER = re.compile(r"[\s.,:;]*")


class _Expression(NamedTuple):
    start: int
    end: int
    text: str
    tree: Tree | None
    """None for a formula with a relation, and for one that is not understood."""
    is_continued: bool
    """Whether it begins with an equals sign: it is the next form of the expression before."""


def rewritten_expressions(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every expression that is not the other form of the expression before it."""
    step = context.claim.step
    if len(step) > MAX_CHARS or not REWRITES.search(step):
        return
    expressions = _expressions(step)
    before: _Expression | None = None
    end = 0
    for expression in expressions[:MAX_EXPRESSIONS]:
        words = step[end : expression.start]
        first = _source(words, before, context)
        second = expression.tree
        if first is not None and second is not None:
            judgement = _judge(first, second)
            if judgement is not None:
                yield expression.text, judgement
        before = expression
        end = expression.end


def _expressions(text: str) -> Sequence[_Expression]:
    """Return the formulas of a text that have no relation, or begin with one."""
    expressions = list[_Expression]()
    for match in FORMULA.finditer(text):
        content = next(group for group in match.groups() if group is not None)
        sequence = [
            token
            for token in tokens(f"${content}$")
            if token.kind not in (Kind.DELIMITER, Kind.STOP)
        ]
        is_continued = bool(sequence) and sequence[0].text == "="
        inner = sequence[is_continued:]
        has_relation = any(token.kind is Kind.RELATION for token in inner)
        tree = None if has_relation else parse(inner)
        start, end = match.span()
        expressions.append(_Expression(start, end, written(inner), tree, is_continued))
    return expressions


def _source(words: str, before: _Expression | None, context: Context) -> Tree | None:
    """Return the expression of which the words announce another form, or None."""
    if len(words) > MAX_BETWEEN or not REWRITES.search(words):
        return None
    side = SIDE.search(words)
    rest = SIDE.sub("", words)
    if WHOLE.search(words):
        return _last_of_step_before(context)
    if PART.search(rest):
        return None
    if side is not None:
        return _side(side[0].lower(), context) if before is None else None
    if before is not None:
        return before.tree
    return _last_of_step_before(context)


def _side(words: str, context: Context) -> Tree | None:
    """Return a side of the equation at the end of the step before."""
    if not context.last_before:
        return None
    chain = context.last_before[0]
    if len(chain.sides) != 2 or chain.relations != ("=",):
        return None
    is_left = "left" in words or words.startswith("l")
    return chain.sides[0 if is_left else 1].tree


def _last_of_step_before(context: Context) -> Tree | None:
    """Return the expression at the very end of the step before, or None."""
    if not context.claim.previous:
        return None
    text = context.claim.previous[-1][-MAX_CHARS:]
    expressions = _expressions(text)
    if not expressions or BORDER.fullmatch(text[expressions[-1].end :]) is None:
        return None
    return expressions[-1].tree


def _judge(first: Tree, second: Tree) -> StepJudgement | None:
    """Return the judgement on two forms of one expression, or None if it may be another one."""
    if has_decimals(first, second) or names(first) != names(second):
        return None
    if isinstance(first, Number) or (names(first) and is_normal(first)):
        return None
    if not names(first) and len(numbers(second)) < MIN_NUMBERS:
        return None
    relation = compare(first, second)
    if relation.equality is Equality.ALWAYS:
        return HOLDS
    if relation.equality not in (Equality.NEVER, Equality.NEVER_SEEN):
        return None
    if names(first) and not _is_whole(first, second, relation):
        return None
    return false(REWRITTEN, f"it is not {_describe(relation)} the expression before it")


def _describe(relation: Relation) -> str:
    if relation.counterexample:
        return f"equal, as at {relation.counterexample}, to"
    return "equal to"


def _is_whole(first: Tree, second: Tree, relation: Relation) -> bool:
    """Return whether the second expression is hardly a form of a part of the first one.

    They have a common term, or as many terms of the same powers.
    """
    if relation.left is None or relation.right is None:
        return False
    if ratios.shared_terms(relation.left, relation.right) > 0:
        return True
    has_as_many_terms = len(list(terms(first))) == len(list(terms(second)))
    return has_as_many_terms and bool(relation.left.monoms() == relation.right.monoms())
