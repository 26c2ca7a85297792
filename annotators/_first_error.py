"""Where the first error of a trace is: the posterior over its place, given what became of completions that begin as the trace does.

The first error e of a trace of T steps is one of them, or none (written e = T). A completion that goes on from the trace's first t steps

    where t <= e   is right with chance                    h q^(T-t-1): it has to pass the step that was failed (h), and the others (q)
                   repeats the trace's wrong answer with   (1-h) c q^(T-t-1), by failing in the same way (c)
    where t > e    is right with chance                    epsilon: the error does no harm, or is undone
                   repeats the trace's wrong answer with   (1-epsilon) k^(T-t), since it goes on faithfully from what is wrong

and ends in another answer otherwise; where nothing is wrong, it is right with q^(T-t). So a completion tells in two ways: a right answer
says that the prefix is sound, the trace's own wrong answer again says that it is not. Binary search and Monte Carlo hear the first alone.

A completion that goes on word for word as the trace does, and leaves it later, counts step by step: it has passed each step up to there,
and left one. Some steps can be put in one way only; whoever leaves the trace there has failed the step, or has righted it. Before the
error a step is passed with q, at the error the trace's own mistake is repeated with (1-h) c, behind it a step is repeated with k, but for
those at which the trace goes astray once more: such a step few completions repeat. Of each step all completions tell together, since of
which kind it is is the same for all of them. And they are alike: a model that stumbles over a sound step does so again and again. So n
completions that pass or leave the same step count as

    n / (1 + ALIKE (n - 1))

of them, the effective size of a sample whose members are correlated (Kish 1965, Survey Sampling, 8.2).

Nobody knows (q, h, c) and (epsilon, k) of a trace: they lie on two grids, and how much weight each value has is learned from all traces of
a run by expectation maximisation (the nonparametric estimate of a mixing distribution: Laird 1978). Given e, what the completions say of
the two is independent, so all that is known of a trace is two tables of T + 1 rows. What other methods say of the steps multiplies in.

What is not covered: steps that are harder than others, but for the one that was failed; completions whose outcome is unknown, which say
nothing. How alike completions are is not learned, and taken to be the same for all models: where they are drawn independently,
confidence is too low, where they are more alike, too high (`benchmarks/README.md`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from annotators import _signs
from annotators._signs import Floats, Signs

__all__ = ["OTHER", "RIGHT", "SAME", "Belief", "Observation", "Weights", "default", "fitted", "told"]

ENDS = RIGHT, SAME, OTHER = 0, 1, 2
"""How a completion ends: in the right answer, in the trace's own wrong one, in another."""
SLIP = 0.01
"""The chance that a completion does what no point of a grid explains."""
ASTRAY = 0.2
"""The chance that a trace makes a mistake of its own at a step behind its error."""
ASTRAY_REPEATED = (0.1, 0.6)
"""How often a completion repeats such a step; either is as likely."""
NEGLIGIBLE = 1e-6
"""The chance of a first error that is of no account for what to buy next."""
ALIKE = 0.2
"""The correlation of what two completions do at one step, beyond what the model explains; chosen on pocket problems of two seeds."""
WORDED = 0.05
"""How often a step that can be put in many ways is put in the trace's own words."""
STRENGTH = 150.0
"""What the default weights count for beside what is learned, in traces."""
ROUNDS = 25
"""Of expectation maximisation: by then the fourth digit stands."""
TOGETHER = 128
"""Traces that are learned from in one table: with more it is no faster, and takes more memory at a time."""

Axis = Mapping[float, float]

# Values, and their weights before anything is learned.
RELIABILITY: Axis = {0.5: 1, 0.7: 2, 0.85: 4, 0.93: 5, 0.98: 6, 0.998: 2}
PASSING: Axis = {0.03: 2, 0.25: 3, 0.6: 3, 0.95: 3}
REPEATING: Axis = {0.15: 1, 0.65: 1, 0.97: 1}
ENDING: Axis = {0.05: 1, 1.0: 1}  # the last step's chance to go wrong, to another's: it often only repeats a result
HARMLESS: Axis = {0.003: 12, 0.03: 8, 0.1: 4, 0.3: 1, 0.8: 0.1}
FAITHFUL: Axis = {0.4: 1, 0.7: 1, 0.85: 2, 0.94: 3, 0.985: 3}


def _grid(*axes: Axis) -> tuple[Floats, Floats]:
    """The points of a grid, one row an axis, and their weights: products of the axes'."""
    weights = np.array([np.prod(shares) for shares in product(*(axis.values() for axis in axes))], dtype=float)
    return np.array(list(product(*axes))).T, weights / weights.sum()


_BEFORE_AXES = (RELIABILITY, PASSING, REPEATING)
_AFTER_AXES = (HARMLESS, FAITHFUL)
(_Q, _H, _C), _BEFORE = _grid(*_BEFORE_AXES)
(_E, _K), _AFTER = _grid(*_AFTER_AXES)
(_L,), _ENDING = _grid(ENDING)
_REPEATED = np.stack([_K, *(share + 0 * _K for share in ASTRAY_REPEATED)])
"""How often a step behind the error is repeated, by its kind (rows)."""
_KINDS = np.array([1 - ASTRAY, *(ASTRAY / len(ASTRAY_REPEATED) for _ in ASTRAY_REPEATED)])
_LOG_PASS = np.log(np.concatenate([_Q, (1 - _H) * _C, _Q, *_REPEATED]))
"""Of passing a step in the trace's words, by its kind and the point of a grid (see `_Chances`)."""
_LOG_RIGHT, _LOG_WRONG = np.log(_E), np.log(1 - _E)
# By reliability (columns), what each point of the first grid has of the chance to pass the next step, if it was failed and if nothing is
# wrong, and to fail it in the same way: what comes after it is the same for all points of one reliability.
_OF_RELIABILITY = _Q[:, None] == np.array(list(RELIABILITY))
_PASS_NEXT, _PASS_ANY, _ALIKE_NEXT = (_OF_RELIABILITY * chance[:, None] for chance in (_H, _Q, (1 - _H) * _C))


class Observation(NamedTuple):
    """A completion: sampled from the trace's first `start` steps, it went on as the trace does up to `leaves` steps, and ended `how`."""

    start: int
    leaves: int
    how: int


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is learned: the weights of the points of both grids and of the values of `ENDING`, which sum to 1, and the rates of signs."""

    before: Floats
    ending: Floats
    after: Floats
    signs: Floats

    @cached_property
    def last(self) -> Floats:
        """[wrong or not, point of the first grid]: the log-chance of the last step, once all others went well."""
        wrong = (1 - _Q) * (self.ending @ _L)
        return np.log([wrong, 1 - wrong])


def default(methods: int = 0) -> Weights:
    """Before anything is learned, with signs of so many methods."""
    return Weights(before=_BEFORE, ending=_ENDING, after=_AFTER, signs=_signs.normal(_signs.prior(methods)))


def told(weights: Weights, methods: Sequence[str] = ()) -> Mapping[str, Mapping[str, Any]]:
    """The weights in words: of each value of each axis, and what each method's signs are worth."""
    axes = {
        "reliability": (_Q, weights.before),
        "passing": (_H, weights.before),
        "repeating": (_C, weights.before),
        "ending": (_L, weights.ending),
        "harmless": (_E, weights.after),
        "faithful": (_K, weights.after),
    }
    by_axis = {
        name: {f"{value:g}": round(float(points[values == value].sum()), 4) for value in np.unique(values)}
        for name, (values, points) in axes.items()
    }
    return {**by_axis, "signs": _signs.told(weights.signs, methods)} if methods else by_axis


class Belief:
    """All that is known of one trace."""

    def __init__(self, signs: Signs, *, right: bool, verbatim: float) -> None:
        """`signs`: what others say of each step. `right`: how the trace ended. `verbatim`: the share of steps put in one way only."""
        self.steps = steps = signs.shape[1]
        self._met = _signs.met(signs)
        self._right = right
        self._chances = _chances(steps, verbatim)
        self._heard = np.zeros(steps)  # completions that passed each step or left the trace there
        self._passed = np.zeros(steps)  # those that passed it in the trace's words
        self._left = np.zeros((steps, len(ENDS)))  # and those that left the trace there, by how they ended
        self._ended = np.zeros(len(ENDS))  # and those that never left it
        self._changed = slice(0, 0)  # the steps that `_by_step` is behind with
        self._by_step = _Told(*(table.copy() for table in self._chances.untouched))

    def see(self, seen: Observation) -> None:
        """Take a completion into account."""
        start, leaves, how = seen
        self._heard[start : leaves + 1] += 1
        self._passed[start:leaves] += 1
        if leaves < self.steps:
            self._left[leaves, how] += 1
        else:
            self._ended[how] += 1
        known = self._changed
        self._changed = slice(min(start, known.start), max(leaves + 1, known.stop)) if known.stop else slice(start, leaves + 1)

    def posterior(self, weights: Weights) -> Floats:
        """The chance of every first error: 0 … T-1, and T for none."""
        return self.known().given(weights)[0]

    def evidence(self, weights: Weights) -> float:
        """The log-likelihood of all that was seen."""
        return float(np.logaddexp.reduce(self.known().joint(weights)[0]))

    def gains(self, weights: Weights) -> tuple[Floats, Floats]:
        """The posterior, and what one completion from each of the prefixes 0 … T-1 is expected to tell of the first error, in nats."""
        chance, before, after = self.known().given(weights)
        kept = np.flatnonzero(chance > NEGLIGIBLE)
        likely, before, after = chance[kept], before[kept], after[kept]
        pass_next, alike_next = before @ _PASS_NEXT, before @ _ALIKE_NEXT  # [first error, reliability]
        if kept[-1] == self.steps:  # where nothing is wrong, the next step is one like the others
            pass_next[-1], alike_next[-1] = before[-1] @ _PASS_ANY, 0
        onward, is_behind = self._chances.onward, self._chances.is_behind[:, kept]
        right = np.where(is_behind, after @ _E, onward @ pass_next.T)
        same = np.where(is_behind, self._updated().again @ after.T, onward @ alike_next.T)
        ends = _ends(right, same)  # [end, prefix, first error]
        mean = ends @ likely
        new = _effective(self._heard + 1) - _effective(self._heard)  # the share of one more completion that its likes have not told
        return chance, new * ((ends * np.log(ends)).sum(axis=0) @ likely - (mean * np.log(mean)).sum(axis=0))

    def known(self) -> "_Known":
        """What is known so far, before it is weighed."""
        answer = np.zeros(self.steps + 1)
        answer[-1] = 0.0 if self._right else -np.inf
        return _Known(self._before(), self._after(), self._met, answer, np.array([self.steps + 1]))

    def _before(self) -> Floats:
        """[first error, point]: log-likelihoods of the steps up to the error, and of its place."""
        ahead, at, flawless = self._updated().before.swapaxes(0, 1)
        logs = self._chances.prior.copy()
        logs[1:-1] += np.cumsum(ahead[:-1], axis=0)
        logs[:-1] += at
        logs[-1] += flawless.sum(axis=0)
        return logs

    def _after(self) -> Floats:
        """The same of the steps behind the error, and of the trace's own end."""
        behind, logs = self._updated().behind, np.zeros((self.steps + 1, len(_E)))
        logs[: self.steps - 1] = np.cumsum(behind[:0:-1], axis=0)[::-1]
        right = self._ended[RIGHT] + self._right
        wrong = self._ended[SAME] + self._ended[OTHER] + (not self._right)
        logs[:-1] += right * _LOG_RIGHT + wrong * _LOG_WRONG
        return logs

    def _updated(self) -> "_Told":
        """What the completions say step by step, brought up to date."""
        steps = self._changed
        if steps.stop:
            share = 1 / (1 + ALIKE * (self._heard[steps] - 1))
            told = self._chances.told(steps, share * self._passed[steps], share[:, None] * self._left[steps])
            for table, rows in zip(self._by_step, told, strict=True):
                table[steps] = rows
            self._changed = slice(0, 0)
        return self._by_step


def _effective(count: Floats) -> Floats:
    """How many completions that are not alike tell as much as so many that are."""
    return count / (1 + ALIKE * (count - 1))


class _Known(NamedTuple):
    """What is known of some traces, one after the other: for each a row for every first error, the last of them for none."""

    before: Floats
    """[row, point of the first grid]: log-likelihoods, but for what `ENDING` has of the last step."""
    after: Floats
    """[row, point of the second grid]"""
    met: Floats
    """[row, sign]: how often each was met (see `_signs`)."""
    answer: Floats
    """[row]: log-likelihood of the trace's answer: a wrong one has an error."""
    rows: npt.NDArray[np.int_]
    """How many each trace has."""

    @classmethod
    def of(cls, beliefs: Iterable[Belief]) -> "_Known":
        """All together."""
        return cls(*map(np.concatenate, zip(*(belief.known() for belief in beliefs), strict=True)))

    def joint(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The log-likelihood of all that was seen, together with each first error; and of the points as below."""
        none, logs = np.cumsum(self.rows) - 1, self.before.copy()
        logs[none - 1] += weights.last[0]
        logs[none] += weights.last[1]
        before, of_before = _normal(logs, weights.before)
        after, of_after = _normal(self.after, weights.after)
        return before + after + self.met @ weights.signs.ravel() + self.answer, of_before, of_after

    def given(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The posterior of the first error, and, given each first error, of the points of the two grids."""
        logs, of_before, of_after = self.joint(weights)
        starts = np.cumsum(self.rows) - self.rows
        chance = np.exp(logs - np.repeat(np.maximum.reduceat(logs, starts), self.rows))
        return chance / np.repeat(np.add.reduceat(chance, starts), self.rows), of_before, of_after

    def shares(self, weights: Weights) -> tuple[Floats, Floats, Floats, Floats]:
        """How many of the traces each point of either grid and each value of `ENDING` accounts for, and how often each sign was met."""
        chance, before, after = self.given(weights)
        none = np.cumsum(self.rows) - 1
        at_last, nowhere = chance[none - 1].sum(), chance[none] @ before[none]
        ending = (chance.sum() - at_last - nowhere.sum()) * weights.ending + at_last * _shares(weights.ending * _L)
        ending += nowhere @ _shares(weights.ending * (1 - np.outer(1 - _Q, _L)))
        return chance @ before, ending, chance @ after, (chance @ self.met).reshape(weights.signs.shape)


def fitted(beliefs: Iterable[Belief], methods: int = 0) -> Weights:
    """The weights under which what is known of these traces is likeliest, held by the default ones where little is known."""
    weights = start = default(methods)
    tables, rest = list[_Known](), iter(beliefs)
    while some := list(islice(rest, TOGETHER)):
        tables.append(_Known.of(some))
    for _ in range(ROUNDS if tables else 0):
        shares = zip(*(known.shares(weights) for known in tables), strict=True)
        before, ending, after, signs = (np.sum(each, axis=0) for each in shares)
        weights = Weights(
            before=_by_axes(STRENGTH * start.before + before, _BEFORE_AXES),
            ending=_shares(STRENGTH * start.ending + ending),
            after=_by_axes(STRENGTH * start.after + after, _AFTER_AXES),
            signs=_signs.normal(_signs.prior(methods) + signs),
        )
    return weights


def _by_axes(counts: Floats, axes: Sequence[Axis]) -> Floats:
    """The weights of a grid's points from what each has: products of the axes', which fewer traces can tell than all points' own."""
    cube = counts.reshape([len(axis) for axis in axes]) / counts.sum()
    weights: Floats = np.ones(())
    for number in range(len(axes)):
        weights = np.multiply.outer(weights, cube.sum(axis=tuple(other for other in range(len(axes)) if other != number)))
    return weights.reshape(-1)


class _Told(NamedTuple):
    """Of each step (first axis), at each point of a grid (last axis), the log-likelihood of what completions did there."""

    before: Floats
    """If the step is ahead of the error, if it is the error, and if there is none (middle axis)."""
    behind: Floats
    """If it is behind the error."""
    again: Floats
    """No likelihood: the chance that one more completion from here, behind the error, ends as the trace does."""


@dataclass(frozen=True, kw_only=True)
class _Chances:
    """All that depends on a trace's length alone, and on how often a step can be put in one way only.

    A column is a kind of step at a point of a grid: of the first, ahead of the error, at it, and where there is none; of the second, behind
    the error, a step that is repeated, and those gone astray.
    """

    prior: Floats
    """Log-chance of every first error (rows) at every point of the first grid: geometric, but for what `ENDING` has of the last step."""
    onward: Floats
    """[prefix, reliability]: the chance of passing all steps but the next."""
    faithful: Floats
    """[prefix, point of the second grid]: of going on as the trace does once the next step is passed, behind the error."""
    is_behind: npt.NDArray[np.bool_]
    """[prefix, first error]: whether the prefix holds the error."""
    fixed: Floats
    """[step, end, column]: log-chance of leaving the trace there and ending so, where the step can be put in one way only."""
    free: Floats
    """The same where it can be put in many ways."""
    verbatim: float

    @cached_property
    def untouched(self) -> _Told:
        """Of all steps, before anything was seen."""
        return self.told(slice(None), np.zeros(len(self.onward)), np.zeros((len(self.onward), len(ENDS))))

    def told(self, steps: slice, passed: Floats, left: Floats) -> _Told:
        """What so many completions say that passed steps in the trace's words, or left it there, by each end."""
        number = passed[:, None]
        fixed, free = ((left[:, None] @ logs[steps])[:, 0] for logs in (self.fixed, self.free))
        either = np.logaddexp(fixed + np.log(self.verbatim), free + (number * np.log(WORDED) + np.log(1 - self.verbatim)))
        logs, border = number * _LOG_PASS + either, 3 * len(_Q)
        kinds = logs[:, border:].reshape(-1, *_REPEATED.shape) + np.log(_KINDS)[:, None]
        behind = np.logaddexp.reduce(kinds, axis=1)
        repeated = (np.exp(kinds - behind[:, None]) * _REPEATED).sum(axis=1)
        return _Told(logs[:, :border].reshape(-1, 3, len(_Q)), behind, (1 - _E) * repeated * self.faithful[steps])


@lru_cache(maxsize=256)
def _chances(steps: int, verbatim: float) -> _Chances:
    places = np.arange(steps)
    left = (steps - places)[:, None]
    prior = np.append(places, steps - 1)[:, None] * np.log(_Q)
    prior[:-2] += np.log(1 - _Q)
    faithful = (1 - SLIP) * _K ** (left - 1) + SLIP / 2
    fixed, free = (_columns(*sides) for sides in zip(_before(left), _behind(faithful), strict=True))
    return _Chances(
        prior=prior,
        onward=np.array(list(RELIABILITY)) ** (left - 1),
        faithful=faithful,
        is_behind=places[:, None] > np.append(places, steps),
        fixed=fixed,
        free=free,
        verbatim=verbatim,
    )


def _before(left: npt.NDArray[np.int_]) -> tuple[Floats, Floats]:
    """[kind, end, step, point] of the first grid, with so many steps left to go: where a step can be put in one way only, and in many."""
    onward, none = _Q ** (left - 1), np.zeros((len(left), len(_Q)))
    elsewhere, at = _ends(none, none, follows=_Q), _ends(_H * onward, none, follows=(1 - _H) * _C)
    sound, flawless = _ends(_H * onward, (1 - _H) * _C * onward), _ends(_Q**left, none)
    return np.log([elsewhere, at, elsewhere]), np.log([sound, sound, flawless])


def _behind(faithful: Floats) -> tuple[Floats, Floats]:
    """The same of the second grid."""
    repeated, every = _REPEATED[:, None], np.ones((len(_REPEATED), *faithful.shape))
    alike, ended = repeated * faithful, np.array([_E, 1 - _E, 1 - _E])[:, None]  # as the trace ends, by the same in other words
    failed = (1 - repeated) * every
    return np.log(ended * np.stack([failed, SLIP * failed, failed], axis=1)), np.log(ended * np.stack([every, alike, 1 - alike], axis=1))


def _columns(before: Floats, behind: Floats) -> Floats:
    """[step, end, column], from [kind, end, step, point] of either grid."""
    return np.concatenate([side.transpose(2, 1, 0, 3).reshape(side.shape[2], len(ENDS), -1) for side in (before, behind)], axis=2)


def _ends(right: Floats, same: Floats, follows: Floats | float = 0.0) -> Floats:
    """The chances of the three ends side by side; what neither is one of the first two nor goes on as the trace does ends otherwise."""
    ends = np.array([right, same, np.maximum(0.0, 1 - right - same - follows)])
    return (1 - SLIP) * ends + SLIP / len(ENDS)


def _shares(counts: Floats) -> Floats:
    """What each has of a row's sum."""
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _normal(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's weighted sum, and what each column has of it."""
    top = logs.max(axis=1, keepdims=True)
    parts = np.exp(logs - top) * weights
    sums = parts.sum(axis=1, keepdims=True)
    return (np.log(sums) + top)[:, 0], parts / sums
