"""Consensus: keep a trace if independent kinds of evidence name the same first error."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from annotators.first_error.label import abstain
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, StepLabel, Trace, Verdict

__all__ = ["Consensus"]


class _Decision(NamedTuple):
    """The result of a rule."""

    first_error: int | None
    """None if the trace is dropped."""
    sources: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Label a trace by one of two rules and a veto.

    `mc_and_judge` (Zhang et al. 2025, "Lessons", arXiv 2501.07301, section 3.1) keeps a trace if
    Monte Carlo and the judge name the same first error. `majority` keeps it if more than half of
    the methods that decide name the same one, and at least `min_agreeing` of them.

    `formal_veto` drops a trace if a formal checker refutes a step before the agreed first error, or
    proves all steps although one is named. A trace with a wrong answer is never kept as free of
    errors. Steps after the first error are UNKNOWN.

    A label never rests on formal checkers alone, unless `trust` is "verdicts" or they prove every
    step. Suspicions of formal checkers are no verdicts, and never count.
    """

    rule: Literal["mc_and_judge", "majority"] = "mc_and_judge"
    """How methods must agree."""
    monte_carlo: tuple[str, ...] = (
        "monte_carlo",
        "binary_search",
        "tree_search",
        "adaptive_search",
    )
    """Monte Carlo methods in order of preference; the first one that decides is used."""
    judge: str = "judge"
    """The method that counts as the judge."""
    formal: tuple[str, ...] = ("formal",)
    """The methods that are formal checkers."""
    formal_veto: bool = True
    """Whether formal checkers can drop a trace."""
    min_agreeing: int = 2
    """Fewest methods that must agree under `majority`."""
    trust: Literal["agreement", "verdicts"] = "agreement"
    """Whether a formal verdict alone is enough for a label ("verdicts"), or another method must
    agree."""

    version: ClassVar[int] = 4

    def check(self, methods: Sequence[str]) -> None:
        """Raise `ConfigError` if the rule can keep no trace of a run with these methods."""
        run_has = f"the run has: {', '.join(methods) or 'none'}"
        if self.rule == "majority" and len(methods) < self.min_agreeing:
            raise ConfigError(
                f"[label] rule = 'majority' needs {self.min_agreeing} annotators that agree"
                f" (min_agreeing); {run_has}"
            )
        has_monte_carlo = not set(self.monte_carlo).isdisjoint(methods)
        if self.rule == "mc_and_judge" and not (self.judge in methods and has_monte_carlo):
            raise ConfigError(
                f"[label] rule = 'mc_and_judge' needs the annotators '{self.judge}' and one of"
                f" {', '.join(self.monte_carlo)}; {run_has}"
            )

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """Return the label of one trace; a dropped trace has the reason in its label."""
        decided: dict[str, int] = {}
        for name, annotation in annotations.items():
            if annotation.first_error is not None:
                decided[name] = annotation.first_error

        if self.rule == "mc_and_judge":
            first_error, sources, reason = self._mc_and_judge(decided)
        else:
            first_error, sources, reason = self._majority(decided)
        if first_error is None:
            return abstain(trace, reason, sources)
        if self._rests_on_formal(first_error, sources):
            return abstain(
                trace, "formal alone: no other method agrees (trust = 'verdicts' keeps it)", sources
            )
        veto = self._veto(trace, first_error, decided)
        if veto is not None:
            return abstain(trace, veto, sources)

        agreeing = list(decided.values()).count(first_error)
        return Label(
            trace_id=trace.trace_id,
            first_error=first_error,
            steps=self._steps(trace, first_error, sources, annotations),
            confidence=agreeing / len(decided),
            kept=True,
            reason=reason,
            sources=sources,
        )

    def _rests_on_formal(self, first_error: int, sources: Sequence[str]) -> bool:
        """Return whether the label is a formal verdict that no other method supports."""
        if self.trust == "verdicts" or first_error == NO_ERROR:
            return False
        return set(sources) <= set(self.formal)

    def _mc_and_judge(self, decided: Mapping[str, int]) -> _Decision:
        """Compare the first Monte Carlo method that decides with the judge."""
        monte_carlo = next((name for name in self.monte_carlo if name in decided), None)
        undecided = list[str]()
        if monte_carlo is None:
            undecided.append("monte carlo")
        if self.judge not in decided:
            undecided.append(self.judge)
        if monte_carlo is None or undecided:
            return _Decision(None, (), f"undecided: {' and '.join(undecided)}")

        sources = (monte_carlo, self.judge)
        first_error = decided[monte_carlo]
        by_judge = decided[self.judge]
        if first_error != by_judge:
            reason = f"disagreement: {monte_carlo} {first_error}, {self.judge} {by_judge}"
            return _Decision(None, sources, reason)
        return _Decision(first_error, sources, f"agreement: {monte_carlo}, {self.judge}")

    def _majority(self, decided: Mapping[str, int]) -> _Decision:
        """Count the votes of all methods that decide."""
        if not decided:
            return _Decision(None, (), "undecided: every method")
        votes = Counter(decided.values())
        # The smaller index wins a tie, so that the result does not depend on the order of methods.
        first_error = min(votes, key=lambda error: (-votes[error], error))
        sources = tuple(name for name in decided if decided[name] == first_error)
        opposing = 0
        for name, error in decided.items():
            # A checker that refutes a later step does not contradict an earlier first error.
            compatible = name in self.formal and error > first_error
            if error != first_error and not compatible:
                opposing += 1
        if len(sources) < self.min_agreeing or len(sources) <= opposing:
            named = ", ".join(f"{name} {error}" for name, error in decided.items())
            return _Decision(None, tuple(decided), f"disagreement: {named}")
        return _Decision(first_error, sources, f"agreement: {', '.join(sources)}")

    def _veto(self, trace: Trace, first_error: int, decided: Mapping[str, int]) -> str | None:
        """Return the reason to drop a trace on which methods agree, or None."""
        if first_error == NO_ERROR and trace.outcome is Verdict.INCORRECT:
            return "veto: the final answer is wrong"
        if not self.formal_veto:
            return None
        for name in self.formal:
            refuted = decided.get(name)
            if refuted is None:
                continue
            if refuted == NO_ERROR:
                if first_error != NO_ERROR:
                    return f"veto: {name} proves every step"
            elif first_error == NO_ERROR or refuted < first_error:
                return f"veto: {name} shows step {refuted} to be false"
        return None

    def _steps(
        self,
        trace: Trace,
        first_error: int,
        sources: Sequence[str],
        annotations: Mapping[str, Annotation],
    ) -> tuple[StepLabel, ...]:
        """Return the step labels of a kept trace.

        A step before the first error is CORRECT if a source calls it correct, and UNKNOWN if none
        does. Values are those of the Monte Carlo method that is used.
        """
        confirming = list[Annotation]()
        for name in sources:
            # A passing arithmetic check is not evidence that a step is correct. A formal checker
            # reports NO_ERROR only for a proof, and a proof is.
            if name not in self.formal or first_error == NO_ERROR:
                confirming.append(annotations[name])
        valued = self._value_source(annotations)
        labels = list[StepLabel]()
        for index in range(len(trace.steps)):
            confirmed = any(
                annotation.steps[index].verdict is Verdict.CORRECT for annotation in confirming
            )
            verdict = _verdict_of(index, first_error, confirmed=confirmed)
            value = None
            if valued is not None:
                value = valued.steps[index].value
            labels.append(StepLabel(label=verdict, value=value))
        return tuple(labels)

    def _value_source(self, annotations: Mapping[str, Annotation]) -> Annotation | None:
        """Return the first Monte Carlo method that decides, otherwise the first one present."""
        present = [annotations[name] for name in self.monte_carlo if name in annotations]
        return min(present, key=lambda annotation: annotation.first_error is None, default=None)


def _verdict_of(step: int, first_error: int, *, confirmed: bool) -> Verdict:
    if step == first_error:
        return Verdict.INCORRECT
    is_before = first_error == NO_ERROR or step < first_error
    if is_before and confirmed:
        return Verdict.CORRECT
    return Verdict.UNKNOWN
