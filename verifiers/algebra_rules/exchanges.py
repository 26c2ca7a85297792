"""Suspect a state after an exchange: `Ann and Bo swap balls: Ann: red, Bo: blue, Cy: green`.

The step before ends with a state, which gives each name a value. After the exchange, the two names
have each other's values, and all other names keep theirs. What is false is a suspicion: the words
may describe something that the values do not.

What is not covered: words that suppose or undo an exchange, states in sentences ("Ann has the red
ball"), exchanges of more than two names, several exchanges in one step, states that lack names of
the one before.
"""

import re
from collections.abc import Iterator, Mapping

from verifiers.algebra_rules.contexts import Context
from verifiers.math.findings import HOLDS, StepJudgement, false

EXCHANGE = "exchange"

# Names are compared one by one; a step with more of them is no state.
MAX_NAMES = 40
MAX_CHARS = 4_000
WORDS = r"[A-Z][\w'-]{0,30}"
EXCHANGED = re.compile(
    rf"\b({WORDS}) and ({WORDS}) (?:swap(?:s|ped)?|trade[sd]?|switch(?:es|ed)?|exchange[sd]?)\b"
    r"[^.:\n]{0,60}:"
)
# Words that suppose or undo an exchange, describe another one, or put the state before it.
OTHER = re.compile(
    r"\b(?:before|until|unless|undo|not|nothing|if|when|twice|times|back|but|which|in turn|even"
    r"|takes?|gets?|stays?)\b",
    re.IGNORECASE,
)
VERB = re.compile(r"\b(?:swap|trade|switch|exchange)(?:s|d|ed|ped)?\b")
STATE = re.compile(rf"({WORDS}) ?: ?([^:,;\n]{{1,60}}?) ?(?=[,;]|\.?\s*$)")


def exchanges(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield a state that does not follow from an exchange, or holds, with the judgement."""
    claim = context.claim
    if not claim.previous or len(claim.step) > MAX_CHARS or len(claim.previous[-1]) > MAX_CHARS:
        return
    exchanged = list(EXCHANGED.finditer(claim.step))
    if len(exchanged) != 1 or OTHER.search(claim.step[: exchanged[0].end()]):
        return
    # `Ann and Bo swap, and then Bo and Cy trade: ...` is two exchanges.
    if len(VERB.findall(exchanged[0][0])) != 1:
        return
    first, second = exchanged[0].groups()
    before = _state(claim.previous[-1])
    after = _state(claim.step[exchanged[0].end() :])
    if before.keys() != after.keys() or not {first, second} <= before.keys() or first == second:
        return
    expected = {**before, first: before[second], second: before[first]}
    statement = exchanged[0][0].rstrip(":")
    for name, value in expected.items():
        if not _are_same(value, after[name]):
            yield statement, false(EXCHANGE, f"{name} then has {value}, not {after[name]}")
            return
    yield statement, HOLDS


def _state(text: str) -> Mapping[str, str]:
    """Return the values of the names in a text; empty if a name has two of them."""
    values = dict[str, str]()
    for name, value in STATE.findall(text):
        if name in values or len(values) == MAX_NAMES:
            return {}
        values[name] = value.strip().rstrip(".").lower()
    return values


def _are_same(first: str, second: str) -> bool:
    """Return whether two values name the same thing: one may be shortened to some of its words."""
    words = [set(value.split()) for value in (first, second)]
    return words[0] <= words[1] or words[1] <= words[0]
