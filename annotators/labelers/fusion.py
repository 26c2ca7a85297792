"""Fusion: how likely each step is the first error, given what every source says and how often each source is right.

The truth of a trace of T steps is its first error e: one of its steps, or none. A source says one thing of a trace: nothing, that it has no
error, or that a certain step is the first; and it says so more or less surely. Given the truth, sources err independently, each at rates of
its own. The rates are estimated together with the truth by expectation maximisation (Dawid and Skene 1979, "Maximum likelihood estimation
of observer error-rates using the EM algorithm"); where there is gold, the truth of those traces is given and the estimate is the same.

    P(e | said) ∝ P(e | outcome) · Π over sources P(said | e)

Each factor is a short chain of answers: does the source speak, and how surely; does it find an error; is it the first; is it too early. A
wrong place is any of those left, with equal chance. Nothing is asked of a model, so labels can be made anew at any time.

What is not covered: sources that err together (methods that share rollouts belong in one group, of which the first that decides is heard),
and rates that depend on the problem.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import log, prod
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from annotators._surest import surest, unlabelled
from annotators.base import AnnotatedTrace, Labeler
from annotators.estimates import value_drop
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, Trace, Verdict

__all__ = ["Fusion"]

ROUNDS = 100
STILL = 1e-5
"""The estimate has settled when no rate moves by more."""
FITTED_TRACES = 100_000
"""More would not change the third digit of a rate."""
QUARTERS = 4
"""Into which a source's sureness is cut."""
WEIGHT = 20.0
"""Of the prior of every rate, in traces: what is believed of a source before it has been seen at work, and what breaks the symmetry."""
LIKELY: Mapping[str, float] = {
    "sound": 0.5,
    "clear when sound": 0.9,
    "clear when flawed": 0.1,
    "clear when flawed but right": 0.5,
    "exact": 0.8,
    "early": 0.5,
    # What a prover names is false, and silent on much as it is, it may be silent on what came before.
    "exact of a prover": 0.5,
    "early of a prover": 0.02,
    "misplaced": 1.0,
}

Question = tuple[Hashable, ...]
"""Its name, and whatever else the answer may depend on."""
Floats = npt.NDArray[np.float64]


class Saying(NamedTuple):
    """What a source says of a trace: the first error that it names, and how surely, in quarters."""

    first_error: int
    sureness: int


class Answer(NamedTuple):
    """What a truth answers to a question whose answers have rates; one of `places` equally likely ones."""

    question: Question
    answer: Hashable
    places: int = 1


class Pattern(NamedTuple):
    """All that is known of a trace; traces of one pattern have one posterior."""

    steps: int
    outcome: Verdict
    said: tuple[Saying | None, ...]
    provers: frozenset[int] = frozenset()
    gold: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Keep a trace whose most likely first error has a posterior of at least `threshold`; a step's value is its chance of being right.

    `sources` are groups of methods by preference: of a group, the first that decides is heard. `gold` names a method (`oracle`, `human`)
    whose annotations give the truth while rates are estimated; it decides no label. A trace that ends wrong has an error. `provers` are
    methods that name only steps which are false. `power` is what the evidence is raised to, less than 1 since no two sources err quite
    independently (a logarithmic opinion pool: Genest and Zidek 1986); 1 trusts them to.
    """

    sources: tuple[tuple[str, ...], ...] = (("monte_carlo", "binary_search", "tree_search", "adaptive_search"), ("judge",), ("formal",))
    provers: tuple[str, ...] = ("formal",)
    gold: str = ""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    power: Annotated[float, Field(gt=0, le=1)] = 0.8

    version: ClassVar[int] = 1

    def check(self, methods: Sequence[str]) -> None:
        """Refuse a run in which no two sources could speak: one alone has nothing to be measured against."""
        if sum(not set(group).isdisjoint(methods) for group in self.sources) < 2:
            told = "; ".join(" or ".join(group) for group in self.sources)
            raise ConfigError(f"[label] use = 'fusion' needs two of its sources ({told}); the run has: {', '.join(methods) or 'none'}")

    def fit(self, cases: Iterable[AnnotatedTrace]) -> Labeler:
        """The labeler with the rates that these traces show."""
        patterns = Counter(self.pattern(trace, said) for trace, said in islice(cases, FITTED_TRACES) if trace.steps)
        return Fused(fusion=self, rates=estimated(patterns))

    def pattern(self, trace: Trace, said: Mapping[str, Annotation]) -> Pattern:
        """What is known of a trace."""
        heard = (_saying([said[method] for method in group if method in said]) for group in self.sources)
        gold = said[self.gold].first_error if self.gold in said else None
        provers = frozenset(number for number, group in enumerate(self.sources) if set(group) <= set(self.provers))
        return Pattern(len(trace.steps), trace.outcome, tuple(heard), provers, gold)


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Fusion at rates that are known."""

    fusion: Fusion
    rates: "Rates"

    def check(self, methods: Sequence[str]) -> None:
        """As `Fusion`."""
        self.fusion.check(methods)

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """The label of one trace; one that is not kept has its posterior too."""
        pattern = self.fusion.pattern(trace, annotations)._replace(gold=None)
        sources = tuple(method for group in self.fusion.sources for method in group if _decides(annotations.get(method)))
        if not sources:
            return unlabelled(trace, "undecided: every source")
        return surest(trace, self.rates.posterior(pattern, self.fusion.power), self.fusion.threshold, sources)


class Rates:
    """How often each question has each of its answers; a question that was never asked is answered as the prior has it."""

    def __init__(self, shares: Mapping[Question, Mapping[Hashable, float]]) -> None:
        """Shares of one question sum to 1."""
        self._shares = dict(shares)

    def posterior(self, pattern: Pattern, power: float = 1.0) -> Mapping[int, float]:
        """The chance of each first error that the outcome allows."""
        weights = {truth: prod(self.share(one) / one.places for one in answers(pattern, truth)) ** power for truth in _truths(pattern)}
        total = sum(weights.values())
        return {truth: weight / total for truth, weight in weights.items()}

    def share(self, one: Answer) -> float:
        """How often the question of an answer has it."""
        if one.question not in self._shares:
            prior = _prior(one.question)
            self._shares[one.question] = {answer: count / sum(prior.values()) for answer, count in prior.items()}
        return self._shares[one.question][one.answer]


def estimated(patterns: Mapping[Pattern, int]) -> Rates:
    """The rates at which these patterns, each seen so often, are likeliest: expectation and maximisation in turn until they stand still."""
    if not patterns:
        return Rates({})
    world = _World(patterns)
    shares = world.shares(np.zeros(len(world.cells)))
    for _ in range(ROUNDS):
        before, shares = shares, world.shares(world.counts(shares))
        if np.abs(shares - before).max() < STILL:
            break
    found: dict[Question, dict[Hashable, float]] = defaultdict(dict)
    for (question, answer), share in zip(world.cells, shares, strict=True):
        found[question][answer] = float(share)
    return Rates(found)


class _World:
    """The patterns as arrays: a row for every truth of every pattern, and its answers as numbers of cells, (question, answer) pairs."""

    def __init__(self, patterns: Mapping[Pattern, int]) -> None:
        self.cells: dict[tuple[Question, Hashable], int] = {}
        said: list[int] = []
        starts: list[int] = []
        owners: list[int] = []
        spread: list[float] = []
        for number, pattern in enumerate(patterns):
            for truth in _truths(pattern) if pattern.gold is None else (pattern.gold,):
                chain = list(answers(pattern, truth))
                starts.append(len(said))
                owners.append(number)
                spread.append(sum(log(one.places) for one in chain))
                said.extend(map(self._cell, chain))
        self._said, self._starts, self._owners, self._spread = np.array(said), np.array(starts), np.array(owners), np.array(spread)
        self._firsts = np.flatnonzero(np.diff(self._owners, prepend=-1))
        self._times = np.array(list(patterns.values()), dtype=float)[self._owners]
        questions = {question: number for number, question in enumerate(dict.fromkeys(question for question, _ in self.cells))}
        self._question_of = np.array([questions[question] for question, _ in self.cells])
        self._prior = np.array([_prior(question)[answer] for question, answer in self.cells])

    def counts(self, shares: Floats) -> Floats:
        """Expectation: how often, in traces, each cell was the answer, given the rates."""
        logs = np.add.reduceat(np.log(shares)[self._said], self._starts) - self._spread
        weights = np.exp(logs - np.maximum.reduceat(logs, self._firsts)[self._owners])
        posterior = self._times * weights / np.add.reduceat(weights, self._firsts)[self._owners]
        lengths = np.diff(self._starts, append=len(self._said))
        counts: Floats = np.bincount(self._said, weights=np.repeat(posterior, lengths), minlength=len(self.cells)).astype(float)
        return counts

    def shares(self, counts: Floats) -> Floats:
        """Maximisation: the rates, given the counts and the prior's."""
        counts = counts + self._prior
        shares: Floats = counts / np.bincount(self._question_of, weights=counts)[self._question_of]
        return shares

    def _cell(self, one: Answer) -> int:
        for answer in _prior(one.question):
            self.cells.setdefault((one.question, answer), len(self.cells))
        return self.cells[one.question, one.answer]


def _truths(pattern: Pattern) -> range:
    return range(0 if pattern.outcome is Verdict.INCORRECT else NO_ERROR, pattern.steps)


def answers(pattern: Pattern, truth: int) -> Iterator[Answer]:
    """The chain of answers that leads from a truth to what is known of the trace."""
    sound = truth == NO_ERROR
    yield Answer(("sound", pattern.outcome), sound, 1 if sound else pattern.steps)
    for source, said in enumerate(pattern.said):
        yield Answer(("sureness", source, sound), said and said.sureness)
        if said is not None:
            yield from _placed(pattern, source, said, truth)


def _placed(pattern: Pattern, source: int, said: Saying, truth: int) -> Iterator[Answer]:
    sound, clear = truth == NO_ERROR, said.first_error == NO_ERROR
    steps, prover = pattern.steps, "of a prover" if source in pattern.provers else ""
    # An error that did no harm is easily missed: rollouts from behind it come out right too.
    clear_when = (
        "clear when sound" if sound else "clear when flawed but right" if pattern.outcome is Verdict.CORRECT else "clear when flawed"
    )
    yield Answer((clear_when, source, said.sureness), clear, steps if sound and not clear else 1)
    if sound or clear or steps == 1:
        return
    yield Answer((f"exact {prover}".strip(), source, said.sureness), said.first_error == truth)
    if said.first_error != truth:
        early, late = truth, steps - 1 - truth
        is_early = said.first_error < truth
        if early and late:
            yield Answer((f"early {prover}".strip(), source), is_early, early if is_early else late)
        else:
            yield Answer(("misplaced",), True, early + late)


def _prior(question: Question) -> Mapping[Hashable, float]:
    name = str(question[0])
    if name == "sureness":
        return dict.fromkeys([None, *range(QUARTERS)], WEIGHT / (QUARTERS + 1))
    likely = LIKELY[name]
    return {answer: WEIGHT * share for answer, share in ((True, likely), (False, 1 - likely)) if share}


def _saying(group: Sequence[Annotation]) -> Saying | None:
    """What the first of a group's methods that decides says."""
    heard = next((annotation for annotation in group if annotation.first_error is not None), None)
    if heard is None or heard.first_error is None:
        return None
    sureness = value_drop([step.value for step in heard.steps], heard.first_error)
    return Saying(heard.first_error, min(int(QUARTERS * sureness), QUARTERS - 1))


def _decides(annotation: Annotation | None) -> bool:
    return annotation is not None and annotation.first_error is not None
