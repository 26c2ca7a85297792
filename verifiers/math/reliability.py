"""The rules and assumptions that are reliable enough for a verdict, by measurement.

`python -m benchmarks.formal` measures them and writes the table in `docs/methods/formal.md`. A rule
or an assumption is listed here if at least 99 % of its decided alarms were true. Everything that is
not listed gives a suspicion.

Few alarms prove little. The rules for claimed solutions, solution sets, linear systems, roots,
listed items, finite sums, function formulas, stated identities and units had at most six judged
alarms each, all true. On 440 steps that were written to mislead them, they raised 108 alarms, of
which about 95 were false: after `2x = 15`, "thus x = 8 boxes are needed". They give suspicions.

So do the rules for comparisons, function values, substitutions, number predicates, congruences and
divisors, which had few judged alarms. On 716 steps that were written to mislead them, they gave 282
alarms, nearly all false: "15 is divisible by 2 more than 3".

The rules for other forms of equations and expressions, pairs, known expressions, points, digits,
remainders, exchanges, approximations and rounding have few judged alarms outside of one set. They
give suspicions until steps that are written to mislead them have been judged.
"""

from collections.abc import Sequence

RELIABLE_RULES = frozenset(
    [
        "equation",
        "closed form",
        "complex number",
        "rewriting",
        "no solution",
        "radicands",
        "consequence",
        "reversed inequality",
        "value of a name",
    ]
)
RELIABLE_ASSUMPTIONS = frozenset(
    [
        "words precede it",
        "words follow it",
        "units are skipped",
        "a number before a bracket multiplies",
        "decimals are not rounded further",
        "a remark in brackets is skipped",
        "percent signs are hundredths or units",
    ]
)


def is_reliable(rule: str, assumptions: Sequence[str]) -> bool:
    """Return whether a false statement, read with these assumptions, is a verdict."""
    return rule in RELIABLE_RULES and RELIABLE_ASSUMPTIONS.issuperset(assumptions)
