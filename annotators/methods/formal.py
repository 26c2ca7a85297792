"""Formal checking: verifiers decide each step, and steps that they cannot decide stay unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from stepmark import plugins
from stepmark.errors import UserError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict
from verifiers.base import StepClaim

__all__ = ["Formal"]

# Every claim contains steps before its own, so those of thousands of steps would fill the memory if
# they were created at once.
MAX_CONCURRENT_STEPS = 64
# A claim contains at most this much of the steps before its own, so that the time of a trace is
# linear in the number of its steps. A verifier can declare other bounds.
CONTEXT_STEPS = 64
CONTEXT_CHARS = 20_000
# The first steps of a trace say what its names mean: a long trace keeps them in every claim.
FIRST_STEPS = 8


class _StepDecision(NamedTuple):
    annotation: StepAnnotation
    proven: bool
    """Whether a verifier with `proves` accepts the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """How much of the steps before a claim must contain."""

    steps: int
    chars: int


@dataclass(frozen=True, kw_only=True)
class Formal:
    """Decide every step with each of `verifiers`, without generating a token.

    A step is INCORRECT if any verifier rejects it. It is CORRECT if a verifier with `proves` proves
    it, or its tests pass, and no verifier rejects it. Equations that hold do not make a step
    correct: the rationale counts them. The rationale contains the reasons of the verifiers that
    decided, or of all of them if none did. It also contains suspicions, which are no verdicts: a
    statement that is false as read, where the reading or the rule is not reliable. `trials` and
    `successes` of a step count the statements that were decided and those that hold.

    The first INCORRECT step is the first error. Undecided steps before it stay UNKNOWN, since they
    may contain an error that no verifier can detect. If no step is INCORRECT, the first error is
    undecided: a check that finds no error does not show that a step follows from those before it.
    Only verifiers with `proves` show this, and a trace whose steps are all accepted by them has no
    error.
    """

    verifiers: tuple[str, ...] = ("arithmetic", "algebra")
    """The verifiers that decide each step."""
    decides: tuple[str, ...] = field(init=False, repr=False)
    """The fingerprints of the verifiers, because their verdicts may change with their versions."""
    proving: frozenset[str] = field(init=False, repr=False)
    """The names of the verifiers with `proves`, which accept a step only if they can prove it."""
    windows: Mapping[str, _Window] = field(init=False, repr=False, compare=False)
    """How much of the steps before a claim must contain, by verifier."""

    version: ClassVar[int] = 4
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.verifiers:
            raise UserError("annotators.formal: verifiers: name at least one")
        fingerprints = list[str]()
        proving = set[str]()
        windows = dict[str, _Window]()
        for name in self.verifiers:
            verifier = plugins.build("verifiers", {"use": name})
            fingerprints.append(fingerprint(verifier))
            windows[name] = _Window(
                steps=getattr(verifier, "context_steps", CONTEXT_STEPS),
                chars=getattr(verifier, "context_chars", CONTEXT_CHARS),
            )
            if getattr(verifier, "proves", False):
                proving.add(name)
        # The dataclass is frozen, and these fields are derived from `verifiers`.
        object.__setattr__(self, "decides", tuple(fingerprints))
        object.__setattr__(self, "proving", frozenset(proving))
        object.__setattr__(self, "windows", windows)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Decide the steps independently of each other, up to `MAX_CONCURRENT_STEPS` at a time."""
        decisions = list[_StepDecision]()
        step_count = len(trace.steps)
        for start in range(0, step_count, MAX_CONCURRENT_STEPS):
            end = min(start + MAX_CONCURRENT_STEPS, step_count)
            decisions += await gather_or_cancel(
                self._decide(problem, trace, index, context) for index in range(start, end)
            )
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=_first_error(decisions),
            steps=tuple(decision.annotation for decision in decisions),
            claims_checked=sum(decision.annotation.trials for decision in decisions),
            claims_holding=sum(decision.annotation.successes for decision in decisions),
        )

    async def _decide(
        self, problem: Problem, trace: Trace, index: int, context: AnnotationContext
    ) -> _StepDecision:
        findings = await gather_or_cancel(
            context.verify(verifier, _claim(problem, trace, index, self.windows[verifier]))
            for verifier in self.verifiers
        )
        verdict = _combine([finding.verdict for finding in findings])
        reasons = dict[str, str]()
        for verifier, finding in zip(self.verifiers, findings, strict=True):
            if finding.verdict is verdict:
                reasons[verifier] = finding.reason
        rationale = "; ".join(f"{verifier}: {reason}" for verifier, reason in reasons.items())
        annotation = StepAnnotation(
            verdict=verdict,
            successes=sum(finding.holding for finding in findings),
            trials=sum(finding.checked for finding in findings),
            rationale=rationale,
        )
        is_proven = verdict is Verdict.CORRECT and not self.proving.isdisjoint(reasons)
        return _StepDecision(annotation=annotation, proven=is_proven)


def _claim(problem: Problem, trace: Trace, index: int, window: _Window) -> StepClaim:
    """Return the claim about a step, with the steps before it that fit into the window."""
    start = index
    chars = 0
    while start > 0 and index - start < window.steps:
        chars += len(trace.steps[start - 1])
        # The step directly before is always there.
        if chars > window.chars and start < index:
            break
        start -= 1
    first = trace.steps[: min(FIRST_STEPS, start)]
    if sum(map(len, first)) > window.chars:
        first = ()
    return StepClaim(
        question=problem.question,
        previous=(*first, *trace.steps[start:index]),
        step=trace.steps[index],
        omitted=start - len(first),
    )


def _combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Return INCORRECT if any verdict is, else CORRECT if any verdict is, else UNKNOWN."""
    if Verdict.INCORRECT in verdicts:
        return Verdict.INCORRECT
    if Verdict.CORRECT in verdicts:
        return Verdict.CORRECT
    return Verdict.UNKNOWN


def _first_error(decisions: Sequence[_StepDecision]) -> int | None:
    """Return the first incorrect step, -1 if every step is proven, None otherwise."""
    for index, decision in enumerate(decisions):
        if decision.annotation.verdict is Verdict.INCORRECT:
            return index
    if all(decision.proven for decision in decisions):
        return NO_ERROR
    return None
