"""Fusion: infer the first error from all sources, each with estimated error rates."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from annotators.base import AnnotatedTrace, Labeler
from annotators.estimates import value_drop
from annotators.first_error.label import abstain, label_from_posterior
from annotators.label_fusion import em
from annotators.label_fusion.model import CONFIDENCE_LEVELS, Report, ResponseRates, TracePattern
from annotators.suspicions import counts_statements, first_suspicion
from stepmark.errors import ConfigError
from stepmark.records import (
    Annotation,
    Label,
    Trace,
    Verdict,
    has_missing_neutral_step,
    with_neutral_steps_as,
)

__all__ = ["Fusion"]

# With more traces, the third digit of a rate does not change.
MAX_FITTED_TRACES = 100_000


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Keep a trace if its most likely first error has a posterior of at least `threshold`.

    The suspicions of formal checkers count as evidence, with estimated rates. They decide nothing
    by themselves: a trace on which no source reports a first error has no label.

    The error rates of the sources and the first errors of the traces are estimated together by EM
    (see `label_fusion.model`). The value of a step is the probability that it and all
    earlier steps are right. No model is called, so labels can be recomputed at any time.

    The joint probability of first error and reports is raised to `power`, which is below 1 because
    the errors of real sources are never quite independent (logarithmic opinion pool: Genest and
    Zidek 1986).
    """

    sources: tuple[tuple[str, ...], ...] = (
        ("monte_carlo", "binary_search", "tree_search", "adaptive_search"),
        ("judge",),
        ("formal",),
    )
    """Groups of methods. The first method of a group that decides represents the group."""
    provers: tuple[str, ...] = ("formal",)
    """Methods that name only steps that are wrong."""
    trust: Literal["agreement", "verdicts"] = "agreement"
    """Whether a first error that only `provers` report is enough for a label ("verdicts")."""
    gold: str = ""
    """Method (`oracle`, `human`) that gives the truth while rates are estimated, not for labels."""
    neutral: Literal["correct", "incorrect", "unknown"] = "correct"
    """What steps with a neutral rating in `gold` count as, such as the 0 of PRM800K."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Keep a trace if its most likely first error has at least this posterior."""
    power: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Exponent of the joint probability of first error and reports; 1 treats the sources as
    independent."""

    version: ClassVar[int] = 3

    def check(self, methods: Sequence[str]) -> None:
        """Raise `ConfigError` if fewer than two sources are among the methods of the run.

        The error rates of a single source cannot be estimated: there is nothing to compare it with.
        """
        available = sum(not set(group).isdisjoint(methods) for group in self.sources)
        if available < 2:
            sources = "; ".join(" or ".join(group) for group in self.sources)
            raise ConfigError(
                f"[label] use = 'fusion' needs two of its sources ({sources});"
                f" the run has: {', '.join(methods) or 'none'}"
            )

    def fit(self, cases: Iterable[AnnotatedTrace]) -> Labeler:
        """Return a labeler with rates that are estimated from these traces."""
        patterns = Counter[TracePattern]()
        for trace, annotations in islice(cases, MAX_FITTED_TRACES):
            if trace.steps:
                patterns[self.pattern(trace, annotations)] += 1
        suspecting = set[int]()
        for pattern in patterns:
            suspecting.update(source for source, step in pattern.suspicions if step is not None)
        sources = frozenset(suspecting)
        reduced = Counter[TracePattern]()
        for pattern, count in patterns.items():
            reduced[with_suspicions_of(sources, pattern)] += count
        return FittedFusion(fusion=self, rates=em.fit(reduced), suspecting=sources)

    def pattern(self, trace: Trace, annotations: Mapping[str, Annotation]) -> TracePattern:
        """Return the reports on a trace, with the gold first error if there is one."""
        reports = list[Report | None]()
        provers = set[int]()
        suspicions = list[tuple[int, int | None]]()
        for source, group in enumerate(self.sources):
            present = [annotations[method] for method in group if method in annotations]
            reports.append(_report(present))
            for annotation in present:
                if counts_statements(annotation):
                    suspicions.append((source, first_suspicion(annotation)))
                    break
            if set(group) <= set(self.provers):
                provers.add(source)
        gold = None
        # A damaged gold label decides nothing.
        if self.gold in annotations and not has_missing_neutral_step(annotations[self.gold]):
            truth = with_neutral_steps_as(annotations[self.gold], Verdict(self.neutral))
            gold = truth.first_error
        return TracePattern(
            steps=len(trace.steps),
            outcome=trace.outcome,
            reports=tuple(reports),
            provers=frozenset(provers),
            gold=gold,
            suspicions=tuple(suspicions),
        )


@dataclass(frozen=True, kw_only=True)
class FittedFusion:
    """Fusion with estimated rates."""

    fusion: Fusion
    rates: ResponseRates
    suspecting: frozenset[int] = frozenset()
    """The sources whose suspicions have estimated rates."""

    def check(self, methods: Sequence[str]) -> None:
        """Raise `ConfigError` in the same cases as `Fusion`."""
        self.fusion.check(methods)

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """Return the label of one trace; if it is not kept, it still has values."""
        sources = list[str]()
        for group in self.fusion.sources:
            for method in group:
                annotation = annotations.get(method)
                if annotation is not None and annotation.first_error is not None:
                    sources.append(method)
        if not sources:
            return abstain(trace, "undecided: every source")
        if self.fusion.trust == "agreement" and set(sources) <= set(self.fusion.provers):
            return abstain(trace, "formal alone: no other source decides", tuple(sources))
        # A label must not depend on the gold first error, only the rates may.
        pattern = self.fusion.pattern(trace, annotations)._replace(gold=None)
        pattern = with_suspicions_of(self.suspecting, pattern)
        posterior = self.rates.posterior(pattern, self.fusion.power)
        return label_from_posterior(trace, posterior, self.fusion.threshold, tuple(sources))


def with_suspicions_of(sources: frozenset[int], pattern: TracePattern) -> TracePattern:
    """Return the pattern without the suspicions of other sources than these."""
    suspicions = [entry for entry in pattern.suspicions if entry[0] in sources]
    return pattern._replace(suspicions=tuple(suspicions))


def _report(group: Sequence[Annotation]) -> Report | None:
    """Return the report of the first method of a group that decides; None if none does."""
    for annotation in group:
        first_error = annotation.first_error
        if first_error is None:
            continue
        confidence = value_drop([step.value for step in annotation.steps], first_error)
        level = min(int(CONFIDENCE_LEVELS * confidence), CONFIDENCE_LEVELS - 1)
        return Report(first_error, level)
    return None
