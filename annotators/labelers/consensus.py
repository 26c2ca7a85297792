"""Consensus: a label is kept when independent kinds of evidence name the same first error."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, StepLabel, Trace, Verdict

__all__ = ["Consensus"]


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Turn a trace's annotations into its label, by one of two rules and a veto.

    `mc_and_judge` (Zheng et al. 2025, "Lessons", arXiv 2501.07301, section 3.1): keep a trace when Monte Carlo and the judge name the same
    first error. `majority`: keep it when more than half of the methods that decide, and at least `min_agreeing`, do.
    `formal_veto`: drop it when a formal checker shows an earlier step to be false, or proves all steps where an error is named. A trace
    that ends wrong is never kept as free of errors. Steps after the first error train nothing.
    `monte_carlo` lists methods by preference: the first that decides speaks for Monte Carlo.
    """

    rule: Literal["mc_and_judge", "majority"] = "mc_and_judge"
    monte_carlo: tuple[str, ...] = ("monte_carlo", "binary_search", "tree_search", "adaptive_search")
    judge: str = "judge"
    formal: tuple[str, ...] = ("formal",)
    formal_veto: bool = True
    min_agreeing: int = 2

    version: ClassVar[int] = 3

    def check(self, methods: Sequence[str]) -> None:
        """Refuse a run whose methods cannot feed the rule."""
        if self.rule == "majority" and len(methods) < self.min_agreeing:
            raise ConfigError(
                f"[label] rule = 'majority' needs {self.min_agreeing} annotators that agree (min_agreeing);"
                f" the run has: {', '.join(methods) or 'none'}"
            )
        if self.rule == "mc_and_judge" and (self.judge not in methods or not set(self.monte_carlo) & set(methods)):
            raise ConfigError(
                f"[label] rule = 'mc_and_judge' needs the annotators '{self.judge}' and one of {', '.join(self.monte_carlo)};"
                f" the run has: {', '.join(methods) or 'none'}"
            )

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """The label of one trace; a dropped one keeps the reason."""
        decided = {name: a.first_error for name, a in annotations.items() if a.first_error is not None}
        vote = self._mc_and_judge if self.rule == "mc_and_judge" else self._majority
        first_error, sources, reason = vote(decided)
        if first_error is not None and (veto := self._veto(trace, first_error, decided)):
            first_error, reason = None, veto
        if first_error is None:
            return _dropped(trace, reason, sources)
        confidence = sum(decided[name] == first_error for name in decided) / len(decided)
        return Label(
            trace_id=trace.trace_id,
            first_error=first_error,
            steps=self._steps(trace, first_error, sources, annotations),
            confidence=confidence,
            kept=True,
            reason=reason,
            sources=sources,
        )

    def _mc_and_judge(self, decided: Mapping[str, int]) -> "_Vote":
        speaker = next((name for name in self.monte_carlo if name in decided), None)
        silent = [name for name in (speaker or "monte carlo", self.judge) if name not in decided]
        if speaker is None or silent:
            return None, (), f"undecided: {' and '.join(silent)}"
        sources = (speaker, self.judge)
        if decided[speaker] != decided[self.judge]:
            return None, sources, f"disagreement: {speaker} {decided[speaker]}, {self.judge} {decided[self.judge]}"
        return decided[speaker], sources, f"agreement: {speaker}, {self.judge}"

    def _majority(self, decided: Mapping[str, int]) -> "_Vote":
        if not decided:
            return None, (), "undecided: every method"
        named = Counter(decided.values())
        first_error = min(named, key=lambda error: (-named[error], error))
        sources = tuple(name for name in decided if decided[name] == first_error)
        # A checker that shows a later step to be false has said nothing of the steps before it.
        others = [name for name, error in decided.items() if error != first_error and not (name in self.formal and error > first_error)]
        if len(sources) < self.min_agreeing or len(sources) <= len(others):
            return None, tuple(decided), "disagreement: " + ", ".join(f"{name} {error}" for name, error in decided.items())
        return first_error, sources, f"agreement: {', '.join(sources)}"

    def _veto(self, trace: Trace, first_error: int, decided: Mapping[str, int]) -> str | None:
        if first_error == NO_ERROR and trace.outcome is Verdict.INCORRECT:
            return "veto: the final answer is wrong"
        for name in self.formal if self.formal_veto else ():
            shown = decided.get(name)
            if shown == NO_ERROR and first_error != NO_ERROR:
                return f"veto: {name} proves every step"
            if shown not in (None, NO_ERROR) and (first_error == NO_ERROR or shown < first_error):
                return f"veto: {name} shows step {shown} to be false"
        return None

    def _steps(
        self, trace: Trace, first_error: int, sources: Sequence[str], annotations: Mapping[str, Annotation]
    ) -> tuple[StepLabel, ...]:
        """Steps before the first error are correct where an agreeing source says so: that arithmetic holds is no such word, a proof is."""
        said = [annotations[name].steps for name in sources if name not in self.formal or first_error == NO_ERROR]
        present = [annotations[name] for name in self.monte_carlo if name in annotations]
        valued = min(present, key=lambda annotation: annotation.first_error is None, default=None)
        labels = list[StepLabel]()
        for index in range(len(trace.steps)):
            vouched = any(steps[index].verdict is Verdict.CORRECT for steps in said)
            label = _label_of(index, first_error, vouched=vouched)
            labels.append(StepLabel(label=label, value=valued.steps[index].value if valued else None))
        return tuple(labels)


_Vote = tuple[int | None, tuple[str, ...], str]


def _label_of(index: int, first_error: int, *, vouched: bool) -> Verdict:
    if index == first_error:
        return Verdict.INCORRECT
    before = first_error == NO_ERROR or index < first_error
    return Verdict.CORRECT if before and vouched else Verdict.UNKNOWN


def _dropped(trace: Trace, reason: str, sources: tuple[str, ...]) -> Label:
    return Label(
        trace_id=trace.trace_id,
        first_error=None,
        steps=(StepLabel(),) * len(trace.steps),
        confidence=None,
        kept=False,
        reason=reason,
        sources=sources,
    )
