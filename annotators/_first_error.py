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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import groupby, islice, product
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from annotators import _signs
from annotators._signs import Floats, Signs

__all__ = ["OTHER", "RIGHT", "SAME", "Belief", "Observation", "Weights", "default", "fitted", "told", "weighed"]

ENDS = RIGHT, SAME, OTHER = 0, 1, 2
"""How a completion ends: in the right answer, in the trace's own wrong one, in another."""
SLIP = 0.01
"""The chance that a completion does what no point of a grid explains."""
ASTRAY = 0.2
"""The chance that a trace makes a mistake of its own at a step behind its error."""
ASTRAY_REPEATED = (0.1, 0.6)
"""How often a completion repeats such a step; either is as likely."""
ALIKE = 0.2
"""The correlation of what two completions do at one step, beyond what the model explains; chosen on pocket problems of two seeds."""
WORDED = 0.05
"""How often a step that can be put in many ways is put in the trace's own words."""
STRENGTH = 150.0
"""What the default weights count for beside what is learned, in traces."""
ROUNDS = 25
"""Of expectation maximisation: by then the fourth digit stands."""
TOGETHER = 256
"""Steps of the traces that are in one table: with fewer to learn from them is slower, with more to weigh them."""
REMEMBERED = 8192
"""Rows of what completions tell of a step, of 2 KiB each: when there are more, all are dropped and those in use come back."""

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
_LOG_KINDS = np.log([1 - ASTRAY, *(ASTRAY / len(ASTRAY_REPEATED) for _ in ASTRAY_REPEATED)])[:, None]
_LOG_PASS = np.log(np.concatenate([_Q, (1 - _H) * _C, _Q, *_REPEATED]))
"""Of passing a step in the trace's words, by its kind and the point of a grid (see `_Chances`)."""
TO_GO, VERBATIM, HEARD, PASSED, LEFT = 0, 1, 2, 3, slice(4, 4 + len(ENDS))
"""What is known of a step: the steps left to go; the share of steps put in one way only; the completions that passed it or left the trace
there; those that passed it in the trace's words; and those that left the trace there, by how they ended."""
_LOG_STEP = np.log(np.concatenate([_Q, 1 - _Q, _Q]))
"""Of the step itself, before anything is seen of it."""
BORDERS = np.cumsum([len(_Q), len(_Q), len(_Q), len(_E)])
COLUMNS = int(BORDERS[-1]) + len(_E)
# By reliability (columns), what each point of the first grid has of the chance to pass the next step, if it was failed and if nothing is
# wrong, and to fail it in the same way: what comes after it is the same for all points of one reliability.
_RELIABILITY = np.array(list(RELIABILITY))
_OF_RELIABILITY = _Q[:, None] == _RELIABILITY
_PASS_NEXT, _PASS_ANY, _ALIKE_NEXT = (_OF_RELIABILITY * chance[:, None] for chance in (_H, _Q, (1 - _H) * _C))


class Observation(NamedTuple):
    """A completion: sampled from the trace's first `start` steps, it went on as the trace does up to `leaves` steps, and ended `how`."""

    start: int
    leaves: int
    how: int


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is learned: the weights of the points of both grids and of the values of `ENDING`, which sum to 1, and the rates of signs.

    Those of several traces stand along an axis in front.
    """

    before: Floats
    ending: Floats
    after: Floats
    signs: Floats

    @classmethod
    def of(cls, each: Sequence["Weights"]) -> "Weights":
        """Of several traces, each by its own."""
        if all(one is each[0] for one in each):
            return each[0]
        return cls(**{field.name: np.stack([getattr(one, field.name) for one in each]) for field in fields(cls)})

    @cached_property
    def last(self) -> Floats:
        """[wrong or not, point of the first grid]: the log-chance of the last step, once all others went well."""
        wrong = (1 - _Q) * (self.ending @ _L)[..., None]
        logs: Floats = np.log(np.stack([wrong, 1 - wrong], axis=-2))
        return logs


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
        self.right = right
        self.met = _signs.met(signs)
        self.counts = [[float(to_go), verbatim, *[0.0] * (LEFT.stop - HEARD)] for to_go in range(steps, 0, -1)]
        """Of each step, what its likelihoods depend on: at `TO_GO`, `VERBATIM`, and so on."""
        self.rows: list[Floats | None] = [None] * steps
        """What that tells of each step (see `_reckoned`); none where it is not known yet."""
        self.ended = [0] * len(ENDS)
        """Completions that went on as the trace does to its last step, by how they ended."""

    def see(self, seen: Observation) -> None:
        """Take a completion into account."""
        start, leaves, how = seen
        for step in self.counts[start:leaves]:
            step[HEARD] += 1
            step[PASSED] += 1
        if leaves < self.steps:
            self.counts[leaves][HEARD] += 1
            self.counts[leaves][LEFT.start + how] += 1
        else:
            self.ended[how] += 1
        for index in range(start, min(leaves + 1, self.steps)):
            self.rows[index] = None


def weighed(beliefs: Sequence[Belief], weights: Sequence[Weights]) -> Sequence[tuple[Floats, Floats]]:
    """Of each, the posterior, and what one completion from each of the prefixes 0 … T-1 is expected to tell of the first error, in nats.

    To the last bit what they are alone, so that what is bought does not depend on who else was there.
    """
    weights_of, found = dict(zip(beliefs, weights, strict=True)), dict[Belief, tuple[Floats, Floats]]()
    for some in _tables(beliefs):
        chances, gains = _Known.of(some).gains(Weights.of([weights_of[belief] for belief in some]))
        found.update(zip(some, zip(chances, gains, strict=True), strict=True))
    return [found[belief] for belief in beliefs]


class _Known(NamedTuple):
    """What is known of some traces of T steps each, before it is weighed; of the T + 1 first errors the last is none."""

    before: Floats
    """[trace, first error, point of the first grid]: log-likelihoods of the steps up to the error, and of its place, but for `ENDING`."""
    after: Floats
    """[trace, first error, point of the second grid]: of the steps behind the error, and of the trace's own end."""
    met: Floats
    """[trace, first error, sign]: how often each was met (see `_signs`)."""
    no_error: Floats
    """[trace]: the log-likelihood of its answer where nothing is wrong; a wrong one has an error."""
    again: Floats
    """[trace, prefix, point of the second grid]: the chance that one more completion from behind the error ends as the trace does."""
    new: Floats
    """[trace, prefix]: the share of one more completion that those before it have not told."""

    @classmethod
    def of(cls, beliefs: Sequence[Belief]) -> "_Known":
        """All together."""
        steps, right = beliefs[0].steps, np.array([belief.right for belief in beliefs])
        ahead, at, flawless, behind, again = np.split(_rows(beliefs), BORDERS, axis=2)
        before = np.zeros((len(beliefs), steps + 1, len(_Q)))
        np.cumsum(ahead[:, :-1], axis=1, out=before[:, 1:-1])
        before[:, :-1] += at
        before[:, -1] = flawless.sum(axis=1)

        after = np.zeros((len(beliefs), steps + 1, len(_E)))
        after[:, : steps - 1] = np.cumsum(behind[:, :0:-1], axis=1)[:, ::-1]
        ended = np.array([belief.ended for belief in beliefs])
        ends = (ended[:, RIGHT] + right, ended[:, SAME] + ended[:, OTHER] + ~right)
        after[:, :-1] += (ends[0][:, None] * np.log(_E) + ends[1][:, None] * np.log(1 - _E))[:, None]

        met = np.array([belief.met for belief in beliefs])
        heard = np.array([[step[HEARD] for step in belief.counts] for belief in beliefs])
        return cls(before, after, met, np.where(right, 0.0, -np.inf), again, _effective(heard + 1) - _effective(heard))

    def joint(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The log-likelihood of all that was seen, together with each first error; and of the points as below."""
        logs = self.before.copy()
        logs[:, -2:] += weights.last
        before, of_before = _normal(logs, weights.before[..., None, :])
        after, of_after = _normal(self.after, weights.after[..., None, :])
        joint = before + after + (self.met @ weights.signs.reshape(*weights.signs.shape[:-2], -1, 1))[..., 0]
        joint[:, -1] += self.no_error
        return joint, of_before, of_after

    def given(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """The posterior of the first error, and, given each first error, of the points of the two grids."""
        logs, of_before, of_after = self.joint(weights)
        return _shares(np.exp(logs - logs.max(axis=1, keepdims=True))), of_before, of_after

    def gains(self, weights: Weights) -> tuple[Floats, Floats]:
        """The posterior, and what one completion from each prefix is expected to tell of the first error, in nats."""
        chance, before, after = self.given(weights)
        pass_next, alike_next = before @ _PASS_NEXT, before @ _ALIKE_NEXT  # [trace, first error, reliability]
        pass_next[:, -1:], alike_next[:, -1:] = before[:, -1:] @ _PASS_ANY, 0  # where nothing is wrong, the next step is like the others
        onward, is_behind = _onward(self.new.shape[1])
        right = np.where(is_behind, (after @ _E)[:, None], onward @ pass_next.swapaxes(1, 2))
        same = np.where(is_behind, self.again @ after.swapaxes(1, 2), onward @ alike_next.swapaxes(1, 2))
        ends, likely = _ends(right, same), chance[..., None]  # [end, trace, prefix, first error]
        mean = (ends @ likely)[..., 0]
        ends *= np.log(ends)
        return chance, self.new * ((ends.sum(axis=0) @ likely)[..., 0] - (mean * np.log(mean)).sum(axis=0))

    def shares(self, weights: Weights) -> tuple[Floats, Floats, Floats, Floats]:
        """How many of the traces each point of either grid and each value of `ENDING` accounts for, and how often each sign was met."""
        chance, before, after = self.given(weights)
        at_last, nowhere = chance[:, -2].sum(), chance[:, -1] @ before[:, -1]
        ending = (chance.sum() - at_last - nowhere.sum()) * weights.ending + at_last * _shares(weights.ending * _L)
        ending += nowhere @ _shares(weights.ending * (1 - np.outer(1 - _Q, _L)))
        counts, points, grid, signs = (np.concatenate(table) for table in (chance, before, after, self.met))
        return counts @ points, ending, counts @ grid, (counts @ signs).reshape(weights.signs.shape)


def _tables(beliefs: Iterable[Belief]) -> Iterator[Sequence[Belief]]:
    """In tables of traces of one length."""
    length = attrgetter("steps")
    for steps, alike in groupby(sorted(beliefs, key=length), key=length):
        while some := list(islice(alike, max(1, TOGETHER // steps))):
            yield some


def _effective(count: Floats) -> Floats:
    """How many completions that are not alike tell as much as so many that are."""
    return count / (1 + ALIKE * (count - 1))


def fitted(beliefs: Iterable[Belief], methods: int = 0) -> Weights:
    """The weights under which what is known of these traces is likeliest, held by the default ones where little is known."""
    weights = start = default(methods)
    tables = [_Known.of(some) for some in _tables(beliefs)]
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


_REMEMBERED: dict[tuple[float, ...], Floats] = {}
"""By what is known of a step, the row of what it tells."""


def _rows(beliefs: Sequence[Belief]) -> Floats:
    """[trace, step, column]: what is told of each step. Of many steps the same is known, so that what it tells is mostly remembered."""
    unknown = [(belief, step, tuple(belief.counts[step])) for belief in beliefs for step, row in enumerate(belief.rows) if row is None]
    rows = {counts: row for _, _, counts in unknown if (row := _REMEMBERED.get(counts)) is not None}
    if new := list(dict.fromkeys(counts for _, _, counts in unknown if counts not in rows)):
        reckoned = dict(zip(new, map(np.copy, _reckoned(np.array(new))), strict=True))
        if len(_REMEMBERED) > REMEMBERED:
            _REMEMBERED.clear()
        _REMEMBERED.update(reckoned)
        rows.update(reckoned)
    for belief, step, counts in unknown:
        belief.rows[step] = rows[counts]
    flat = np.concatenate([row for belief in beliefs for row in belief.rows if row is not None])
    return flat.reshape(len(beliefs), -1, COLUMNS)


def _reckoned(known: Floats) -> Floats:
    """[step, column]: what completions tell of steps, by what is known of each (see `Belief.counts`).

    At each point of a grid the log-likelihood of the step and of what they did there, if it is ahead of the error, at it, if there is none,
    and if it is behind; and no likelihood: the chance that one more from here, behind the error, ends as the trace does. Side by side.
    """
    to_go = known[:, TO_GO].astype(int)
    chances = _chances(1 << (int(to_go.max()) - 1).bit_length())
    counts = known / (1 + ALIKE * (known[:, HEARD] - 1))[:, None]
    passed, verbatim = counts[:, PASSED][:, None], known[:, VERBATIM][:, None]
    fixed, free = ((counts[:, None, LEFT] @ logs[to_go - 1])[:, 0] for logs in (chances.fixed, chances.free))
    logs = passed * _LOG_PASS + np.logaddexp(fixed + np.log(verbatim), free + (passed * np.log(WORDED) + np.log(1 - verbatim)))
    grid = logs[:, : len(_LOG_STEP)]
    grid[to_go > 1] += _LOG_STEP  # the last one's is what `ENDING` makes of it (`Weights.last`)
    kinds = logs[:, len(_LOG_STEP) :].reshape(-1, *_REPEATED.shape) + _LOG_KINDS
    behind = np.logaddexp.reduce(kinds, axis=1)
    repeated = (np.exp(kinds - behind[:, None]) * _REPEATED).sum(axis=1)
    return np.concatenate([grid, behind, (1 - _E) * repeated * chances.faithful[to_go - 1]], axis=1)


class _Chances(NamedTuple):
    """All that depends only on how many steps are left, one more from row to row: the first is of the last step.

    A column is a kind of step at a point of a grid: of the first, ahead of the error, at it, and where there is none; of the second, behind
    the error, a step that is repeated, and those gone astray.
    """

    faithful: Floats
    """[step, point of the second grid]: the chance of going on as the trace does once the step is passed, behind the error."""
    fixed: Floats
    """[step, end, column]: log-chance of leaving the trace there and ending so, where the step can be put in one way only."""
    free: Floats
    """The same where it can be put in many ways."""


@lru_cache(maxsize=256)
def _onward(steps: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """[prefix, reliability]: the chance of passing all steps but the next; [prefix, first error]: whether the prefix holds the error."""
    prefix = np.arange(steps)[:, None]
    return _RELIABILITY ** (steps - 1 - prefix), prefix > np.arange(steps + 1)


@lru_cache(maxsize=32)
def _chances(longest: int) -> _Chances:
    left = np.arange(1, longest + 1)[:, None]
    faithful = (1 - SLIP) * _K ** (left - 1) + SLIP / 2
    fixed, free = (_columns(*sides) for sides in zip(_before(left), _behind(faithful), strict=True))
    return _Chances(faithful=faithful, fixed=fixed, free=free)


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
    ends *= 1 - SLIP
    ends += SLIP / len(ENDS)
    return ends


def _shares(counts: Floats) -> Floats:
    """What each has of a row's sum."""
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _normal(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's weighted sum, and what each column has of it."""
    top = logs.max(axis=-1, keepdims=True)
    parts = np.exp(logs - top)
    parts *= weights
    sums = parts.sum(axis=-1, keepdims=True)
    return (np.log(sums) + top)[..., 0], parts / sums
