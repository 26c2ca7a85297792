"""Where the first error of a trace is: the posterior over its place, given what became of completions that begin as the trace does.

The first error e of a trace of T steps is one of them, or none (written e = T). A completion that goes on from the trace's first t steps

    where t <= e   is right with chance                    h q^(T-t-1): it has to pass the step that was failed (h), and the others (q)
                   repeats the trace's wrong answer with   (1-h) c q^(T-t-1), by failing in the same way (c)
    where t > e    is right with chance                    epsilon: the error does no harm, or is undone
                   repeats the trace's wrong answer with   (1-epsilon) k^(T-t), since it goes on faithfully from what is wrong

and ends in another answer otherwise; where nothing is wrong, it is right with q^(T-t). So a completion tells in two ways: a right answer
says that the prefix is sound, the trace's own wrong answer again says that it is not. Binary search and Monte Carlo hear the first alone.
A completion that goes on word for word as the trace does, and leaves it later, counts from where it leaves; on the way it has passed right
steps, or has made the trace's own mistake.

Nobody knows (q, h, c) and (epsilon, k) of a trace: they lie on two grids, and how much weight each value has is learned from all traces of
a run by expectation maximisation (the nonparametric estimate of a mixing distribution: Laird 1978). Given e, what the completions say of
the two is independent, so all that is known of a trace is two tables of T + 1 rows. What other methods say of the steps multiplies in.

What is not covered: steps that are harder than others, but for the one that was failed; completions whose outcome is unknown, which say
nothing. Completions of one problem are alike in more than this model knows, so its confidence is too high where they disagree, and more
so the more of them it has (`benchmarks/README.md`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

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
"""The chance that a trace makes one more mistake after a prefix with an error; then a completion seldom ends as it does."""
ALIKE_ASTRAY = 0.1
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


def told(weights: Weights) -> Mapping[str, Mapping[str, float]]:
    """The weights in words: of each value of each axis."""
    axes = {
        "reliability": (_Q, weights.before),
        "passing": (_H, weights.before),
        "repeating": (_C, weights.before),
        "ending": (_L, weights.before),
    }
    axes |= {"harmless": (_E, weights.after), "faithful": (_K, weights.after)}
    return {
        name: {f"{value:g}": round(float(points[values == value].sum()), 4) for value in np.unique(values)}
        for name, (values, points) in axes.items()
    }


class Belief:
    """All that is known of one trace: log-likelihoods by first error (rows 0 … T, the last for none) and grid point (columns)."""

    def __init__(self, signs: Signs, *, right: bool, verbatim: float) -> None:
        """`signs`: what others say of each step. `right`: how the trace itself ended."""
        self.steps = steps = signs.shape[1]
        self._signs = signs
        self._right = right
        self._chances = _chances(steps, verbatim)
        self._before = self._chances.prior.copy()
        self._after = np.zeros((steps + 1, len(_E)))
        self._after[:steps] = np.log(_E if right else 1 - _E)
        self._left = np.zeros((steps, len(ENDS)))  # completions that left the trace here, by how they ended

    def see(self, seen: Observation) -> None:
        """Take a completion into account."""
        start, leaves, how = seen
        places = np.arange(self.steps + 1)[:, None]
        # On the trace's own path it did as the trace did: rightly before the error, alike at it, faithfully after it.
        self._before[start:] += (np.minimum(places, leaves)[start:] - start) * np.log(_Q)
        self._before[start : min(leaves, self.steps)] += np.log((1 - _H) * _C)
        self._after[:leaves] += (leaves - np.maximum(places + 1, start)[:leaves]) * np.log(_K)
        if leaves == self.steps:
            self._after[:leaves] += np.log(_E if how == RIGHT else 1 - _E)
            return
        known = self._chances.left(leaves, self._left[leaves])
        self._left[leaves, how] += 1
        ahead, at, flawless, behind = (now - then for now, then in zip(self._chances.left(leaves, self._left[leaves]), known, strict=True))
        self._before[leaves + 1 : -1] += ahead
        self._before[leaves] += at
        self._before[-1] += flawless
        self._after[:leaves] += behind

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
        told = slice(OTHER)  # the third end is what the first two leave
        ahead = np.tensordot(self._chances.sound[:, told], before, axes=(2, 1))  # [prefix, end, first error]
        ahead[:, :, -1] = self._chances.flawless[:, told] @ before[-1]
        behind = np.tensordot(self._chances.next_behind(self._left)[:, told], after, axes=(2, 1))
        ends = np.where(self._chances.is_behind, behind, ahead)
        ends = np.concatenate([ends, 1 - ends.sum(axis=1, keepdims=True)], axis=1)
        mean = ends @ chance
        return chance, (ends * np.log(ends)).sum(axis=1) @ chance - (mean * np.log(mean)).sum(axis=1)

    def _given(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The posterior of the first error, and, given each first error, of the points of the two grids."""
        logs, of_before, of_after = self._joint(weights)
        chance = np.exp(logs - logs.max())
        return chance / chance.sum(), of_before, of_after

    def _joint(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The log-likelihood of all that was seen, together with each first error; and of the points as above."""
        before, of_before = _normal(self._before, weights.before)
        after, of_after = _normal(self._after, weights.after)
        logs = before + after + _signs.likelihoods(self._signs, weights.signs)
        if not self._right:
            logs[-1] = -np.inf  # a wrong answer has an error
        return logs, of_before, of_after


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
    """[prefix, grid point]: of ending as the trace does, behind the error, unless right."""
    is_behind: npt.NDArray[np.bool_]
    """[prefix, 1, first error]: whether the prefix holds the error."""
    logs: tuple[Floats, Floats, Floats, Floats]
    """Of `sound` and `flawless`, and what is left of them where a right step can be put in one way only: ahead of the error, and at it."""
    verbatim: float

    def left(self, prefix: int, ended: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """The log-likelihood of completions that left the trace at a prefix, so many by each end.

        Four rows of grid points: where the error comes later, is the next step, is nowhere, lies behind. Whether the next step can be put
        in other words is the same for all of them, and so is whether the trace makes a second mistake.
        """
        sound, flawless, ahead, at = (ended @ logs[prefix] for logs in self.logs)
        return (
            self._either(sound, ahead),
            self._either(sound, at),
            self._either(flawless, ahead),
            np.logaddexp(*self._behind(prefix, ended)),
        )

    def next_behind(self, left: Floats) -> Floats:
        """The chances of how one more ends, behind the error: [prefix, end, grid point]."""
        typical, astray = self._behind(slice(None), left[:, :, None].swapaxes(0, 1))
        weight = np.exp(typical - np.logaddexp(typical, astray))
        same = (1 - _E) * (weight * self.faithful + (1 - weight) * ALIKE_ASTRAY)
        return _ends(_E + 0 * same, same)

    def _either(self, free: Floats, fixed: Floats) -> Floats:
        both: Floats = np.logaddexp(free + np.log(1 - self.verbatim), fixed + np.log(self.verbatim))
        return both

    def _behind(self, prefix: int | slice, ended: Floats) -> tuple[Floats, Floats]:
        """Where the trace makes no second mistake next, and where it does; a step that can be put in one way is left by failing it."""
        right, same, other = ended
        faithful = self.faithful[prefix]
        both = right * np.log(_E) + (same + other) * np.log(1 - _E)
        gone, returned = right + other, same * np.log(SLIP)
        typical = self._either(same * np.log(faithful) + other * np.log(1 - faithful), gone * np.log(1 - _K) + returned)
        alike = np.log(ALIKE_ASTRAY)
        astray = self._either(same * alike + other * np.log(1 - ALIKE_ASTRAY), gone * np.log(1 - ALIKE_ASTRAY) + returned)
        return both + typical + np.log(1 - ASTRAY), both + astray + np.log(ASTRAY)


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
        faithful=(1 - SLIP) * _K**left + SLIP / 2,
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
    ends = np.stack([right, same, np.maximum(0.0, 1 - right - same - follows)], axis=1)
    return (1 - SLIP) * ends + SLIP / len(ENDS)


def _normal(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's weighted sum, and what each column has of it."""
    top = logs.max(axis=1, keepdims=True)
    parts = np.exp(logs - top) * weights
    sums = parts.sum(axis=1, keepdims=True)
    return (np.log(sums) + top)[:, 0], parts / sums
