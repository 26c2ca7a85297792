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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
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

Axis = Mapping[float, float]

# Values, and their weights before anything is learned.
RELIABILITY: Axis = {0.5: 1, 0.7: 2, 0.85: 4, 0.93: 5, 0.98: 6, 0.998: 2}
PASSING: Axis = {0.03: 2, 0.25: 3, 0.6: 3, 0.95: 3}
REPEATING: Axis = {0.15: 1, 0.65: 1, 0.97: 1}
ENDING: Axis = {0.05: 1, 1.0: 1}
HARMLESS: Axis = {0.003: 12, 0.03: 8, 0.1: 4, 0.3: 1, 0.8: 0.1}
FAITHFUL: Axis = {0.4: 1, 0.7: 1, 0.85: 2, 0.94: 3, 0.985: 3}


def _grid(*axes: Axis) -> tuple[Floats, Floats]:
    """The points of a grid, one row an axis, and their weights: products of the axes'."""
    weights = np.array([np.prod(shares) for shares in product(*(axis.values() for axis in axes))], dtype=float)
    return np.array(list(product(*axes))).T, weights / weights.sum()


_BEFORE_AXES = (RELIABILITY, PASSING, REPEATING, ENDING)
_AFTER_AXES = (HARMLESS, FAITHFUL)
(_Q, _H, _C, _L), _BEFORE = _grid(*_BEFORE_AXES)
(_E, _K), _AFTER = _grid(*_AFTER_AXES)
_LOG_Q, _LOG_ALIKE = np.log(_Q), np.log((1 - _H) * _C)


class Observation(NamedTuple):
    """A completion: sampled from the trace's first `start` steps, it went on as the trace does up to `leaves` steps, and ended `how`."""

    start: int
    leaves: int
    how: int


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is learned: the weights of the points of both grids, which sum to 1, and the rates of signs."""

    before: Floats
    after: Floats
    signs: Floats


def default(methods: int = 0) -> Weights:
    """Before anything is learned, with signs of so many methods."""
    return Weights(before=_BEFORE, after=_AFTER, signs=_signs.normal(_signs.prior(methods)))


def told(weights: Weights, methods: Sequence[str] = ()) -> Mapping[str, Mapping[str, Any]]:
    """The weights in words: of each value of each axis, and what each method's signs are worth."""
    axes = {
        "reliability": (_Q, weights.before),
        "passing": (_H, weights.before),
        "repeating": (_C, weights.before),
        "ending": (_L, weights.before),
        "harmless": (_E, weights.after),
        "faithful": (_K, weights.after),
    }
    by_axis = {
        name: {f"{value:g}": round(float(points[values == value].sum()), 4) for value in np.unique(values)}
        for name, (values, points) in axes.items()
    }
    return {**by_axis, "signs": _signs.told(weights.signs, methods)} if methods else by_axis


class Belief:
    """All that is known of one trace: log-likelihoods by first error (rows 0 … T, the last for none) and grid point (columns)."""

    def __init__(self, signs: Signs, *, right: bool, verbatim: float) -> None:
        """`signs`: what others say of each step. `right`: how the trace ended. `verbatim`: the share of steps put in one way only."""
        self.steps = steps = signs.shape[1]
        self._signs = signs
        self._right = right
        self._chances = _chances(steps, verbatim)
        self._passed = np.zeros(steps)  # completions that passed each step in the trace's words
        self._left = np.zeros((steps, len(ENDS)))  # and those that left the trace there, by how they ended
        self._ended = np.zeros(len(ENDS))  # and those that never left it
        self._changed = slice(0, 0)  # the steps that `_by_step` is behind with
        self._by_step = _Steps(*(table.copy() for table in self._chances.untouched))

    def see(self, seen: Observation) -> None:
        """Take a completion into account."""
        start, leaves, how = seen
        self._passed[start:leaves] += 1
        if leaves < self.steps:
            self._left[leaves, how] += 1
        else:
            self._ended[how] += 1
        known = self._changed
        self._changed = slice(min(start, known.start), max(leaves + 1, known.stop)) if known.stop else slice(start, leaves + 1)

    def posterior(self, weights: Weights) -> Floats:
        """The chance of every first error."""
        return self._given(weights)[0]

    def evidence(self, weights: Weights) -> float:
        """The log-likelihood of all that was seen."""
        return float(np.logaddexp.reduce(self._joint(weights)[0]))

    def shares(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """How much of the trace each point of either grid accounts for, and how often each sign was met."""
        chance, before, after = self._given(weights)
        return chance @ before, chance @ after, _signs.counts(self._signs, chance, weights.signs.shape)

    def gains(self, weights: Weights) -> tuple[Floats, Floats]:
        """The posterior, and what one completion from each of the prefixes 0 … T-1 is expected to tell of the first error, in nats."""
        chance, before, after = self._given(weights)
        heard = self._heard()
        new = _effective(heard + 1) - _effective(heard)  # the share of one more completion that its likes have not told
        told = slice(OTHER)  # the third end is what the first two leave
        kept = np.flatnonzero(chance > NEGLIGIBLE)
        ahead = np.tensordot(self._chances.sound[:, told], before[kept], axes=(2, 1))  # [prefix, end, first error]
        if kept[-1] == self.steps:
            ahead[:, :, -1] = self._chances.flawless[:, told] @ before[-1]
        behind = np.tensordot(_ends(_E, self._updated().again)[:, told], after[kept], axes=(2, 1))
        ends = np.where(self._chances.is_behind[:, :, kept], behind, ahead)
        ends = np.concatenate([ends, 1 - ends.sum(axis=1, keepdims=True)], axis=1)
        mean = ends @ chance[kept]
        return chance, new * ((ends * np.log(ends)).sum(axis=1) @ chance[kept] - (mean * np.log(mean)).sum(axis=1))

    def _given(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The posterior of the first error, and, given each first error, of the points of the two grids."""
        logs, of_before, of_after = self._joint(weights)
        chance = np.exp(logs - logs.max())
        return chance / chance.sum(), of_before, of_after

    def _joint(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The log-likelihood of all that was seen, together with each first error; and of the points as above."""
        before, of_before = _normal(self._before(), weights.before)
        after, of_after = _normal(self._after(), weights.after)
        logs = before + after + _signs.likelihoods(self._signs, weights.signs)
        if not self._right:
            logs[-1] = -np.inf  # a wrong answer has an error
        return logs, of_before, of_after

    def _before(self) -> Floats:
        """Of the steps up to the error, and of the error's place before anything was seen."""
        by_step, logs = self._updated(), self._chances.prior.copy()
        logs[1:-1] += np.cumsum(by_step.ahead[:-1], axis=0)
        logs[:-1] += by_step.at
        logs[-1] += by_step.flawless.sum(axis=0)
        return logs

    def _after(self) -> Floats:
        """Of the steps behind the error, and of the trace's own end."""
        behind, logs = self._updated().behind, np.zeros((self.steps + 1, len(_E)))
        logs[: self.steps - 1] = np.cumsum(behind[:0:-1], axis=0)[::-1]
        right = self._ended[RIGHT] + self._right
        wrong = self._ended[SAME] + self._ended[OTHER] + (not self._right)
        logs[:-1] += right * np.log(_E) + wrong * np.log(1 - _E)
        return logs

    def _updated(self) -> "_Steps":
        """What the completions say step by step, brought up to date."""
        steps = self._changed
        if steps.stop:
            share = 1 / (1 + ALIKE * (self._heard(steps) - 1))
            told = self._chances.told(steps, share * self._passed[steps], share[:, None] * self._left[steps])
            for table, rows in zip(self._by_step, told, strict=True):
                table[steps] = rows
            self._changed = slice(0, 0)
        return self._by_step

    def _heard(self, steps: slice = slice(None)) -> Floats:
        """How many completions passed each step or left the trace there."""
        count: Floats = self._passed[steps] + self._left[steps].sum(axis=1)
        return count


def _effective(count: Floats) -> Floats:
    """How many completions that are not alike tell as much as so many that are."""
    return count / (1 + ALIKE * (count - 1))


def fitted(beliefs: Sequence[Belief], methods: int = 0) -> Weights:
    """The weights under which what is known of these traces is likeliest, held by the default ones where little is known."""
    weights = start = default(methods)
    for _ in range(ROUNDS if beliefs else 0):
        shares = zip(*(belief.shares(weights) for belief in beliefs), strict=True)
        before, after, signs = (sum(each[1:], start=each[0]) for each in shares)
        weights = Weights(
            before=_by_axes(STRENGTH * start.before + before, _BEFORE_AXES),
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


class _Steps(NamedTuple):
    """Log-likelihoods of what completions did at each step (rows), at each grid point, by where the step stands to the first error."""

    ahead: Floats
    at: Floats
    flawless: Floats
    """In a trace without any error."""
    behind: Floats
    again: Floats
    """No likelihood: the chance that one more completion from here, behind the error, ends as the trace does."""


@dataclass(frozen=True, kw_only=True)
class _Chances:
    """Of the ends of a completion, [prefix, end, grid point], by where it stands to the first error."""

    prior: Floats
    """Log-chance of every first error (rows) before anything was seen, at every point of the first grid."""
    sound: Floats
    """Of one from a prefix before the error."""
    flawless: Floats
    """Of one from a prefix of a trace without any."""
    faithful: Floats
    """[prefix, grid point]: of going on as the trace does once the next step is passed, behind the error."""
    is_behind: npt.NDArray[np.bool_]
    """[prefix, 1, first error]: whether the prefix holds the error."""
    logs: tuple[Floats, Floats, Floats, Floats]
    """Of `sound` and `flawless`, and of leaving the trace at a step that can be put in one way only: ahead of the error, and at it."""
    verbatim: float

    @cached_property
    def untouched(self) -> _Steps:
        """Of all steps, before anything was seen."""
        return self.told(slice(None), np.zeros(len(self.sound)), np.zeros((len(self.sound), len(ENDS))))

    def told(self, steps: slice, passed: Floats, left: Floats) -> _Steps:
        """What so many completions say that passed steps in the trace's words, or left it there, by each end."""
        number = passed[:, None]
        pass_ahead, pass_at, own_words = number * _LOG_Q, number * _LOG_ALIKE, number * np.log(WORDED)
        sound, flawless, ahead, at = ((left[:, None] @ logs[steps])[:, 0] for logs in self.logs)
        kinds = self._kinds(steps, passed, left)
        behind = np.logaddexp.reduce(kinds)
        repeated = (np.exp(kinds - behind) * _REPEATED[:, None]).sum(axis=0)
        return _Steps(
            ahead=pass_ahead + self._either(ahead, own_words + sound),
            at=pass_at + self._either(at, own_words + sound),
            flawless=pass_ahead + self._either(ahead, own_words + flawless),
            behind=behind,
            again=(1 - _E) * repeated * self.faithful[steps],
        )

    def _kinds(self, steps: slice, passed: Floats, left: Floats) -> Floats:
        """[kind, step, grid point]: the same behind the error, jointly with each kind of step: one that is repeated, one gone astray."""
        right, same, other = (each[:, None] for each in left.T)
        number, repeated = passed[:, None], _REPEATED[:, None]
        alike = repeated * self.faithful[steps]  # as the trace ends, by the same in other words
        fixed = (right + other + same) * np.log(1 - repeated) + same * np.log(SLIP)
        free = number * np.log(WORDED) + same * np.log(alike) + other * np.log(1 - alike)
        ended = right * np.log(_E) + (same + other) * np.log(1 - _E)
        kinds: Floats = self._either(fixed, free) + number * np.log(repeated) + ended + np.log(_KINDS)[:, None, None]
        return kinds

    def _either(self, fixed: Floats, free: Floats) -> Floats:
        """Whether a step can be put in one way only, or in many."""
        both: Floats = np.logaddexp(fixed + np.log(self.verbatim), free + np.log(1 - self.verbatim))
        return both


_REPEATED = np.stack([_K, *(share + 0 * _K for share in ASTRAY_REPEATED)])
"""How often a step behind the error is repeated, by its kind (rows)."""
_KINDS = np.array([1 - ASTRAY, *(ASTRAY / len(ASTRAY_REPEATED) for _ in ASTRAY_REPEATED)])


@lru_cache(maxsize=256)
def _chances(steps: int, verbatim: float) -> _Chances:
    """All that depends on a trace's length alone, and on how often a step can be put in one way only."""
    places = np.arange(steps)
    left = (steps - places)[:, None]
    onward, none = _Q ** (left - 1), np.zeros((steps, 1))
    sound, flawless = _ends(_H * onward, (1 - _H) * _C * onward), _ends(_Q**left, none * _Q)
    ahead, at = _ends(none * _Q, none * _Q, follows=_Q + none), _ends(_H * onward, none * _H, follows=(1 - _H) * _C + none)
    return _Chances(
        prior=_prior(steps),
        sound=sound,
        flawless=flawless,
        faithful=(1 - SLIP) * _K ** (left - 1) + SLIP / 2,
        is_behind=places[:, None, None] > np.append(places, steps)[None, None, :],
        logs=(np.log(sound), np.log(flawless), np.log(ahead), np.log(at)),
        verbatim=verbatim,
    )


def _prior(steps: int) -> Floats:
    """The log-chance of every first error before anything was seen: geometric, but for the last step, which often only repeats a result."""
    places = np.arange(steps + 1)[:, None]
    prior: Floats = places * np.log(_Q) + np.log(1 - _Q)
    ends_badly = (1 - _Q) * _L
    prior[-2:] = (steps - 1) * np.log(_Q) + np.log([ends_badly, 1 - ends_badly])
    return prior


def _ends(right: Floats, same: Floats, follows: Floats | float = 0.0) -> Floats:
    """The chances of the three ends side by side; what neither is one of the first two nor goes on as the trace does ends otherwise."""
    ends = np.stack(np.broadcast_arrays(right, same, np.maximum(0.0, 1 - right - same - follows)), axis=1)
    return (1 - SLIP) * ends + SLIP / len(ENDS)


def _normal(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's weighted sum, and what each column has of it."""
    top = logs.max(axis=1, keepdims=True)
    parts = np.exp(logs - top) * weights
    sums = parts.sum(axis=1, keepdims=True)
    return (np.log(sums) + top)[:, 0], parts / sums
