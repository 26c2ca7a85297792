"""Formal checking: what a step states in closed form is decided by verifiers, the rest stays unknown."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from stepmark import plugins
from stepmark.errors import UserError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict
from verifiers.base import StepClaim

__all__ = ["Formal"]

# Every claim holds the steps before it: of a trace of thousands, all claims at once would fill the memory.
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Formal:
    """Have every one of `verifiers` decide every step; costs no token.

    A step is incorrect when one of them says so, correct when one says so and none objects: a verifier that calls a step correct has
    read all that concerns it. The rationale names who decided; of an unknown step it holds every reason.

    The first step found false is named as the first error; one that no verifier can see may stand before it, so those steps stay
    undecided. Where none is found the trace does: a checker that sees nothing false in a step has not shown that the step follows. Only
    one that `proves` has, and where such ones call every step correct, the trace has no error.
    """

    verifiers: tuple[str, ...] = ("arithmetic", "algebra")
    decides: tuple[str, ...] = field(init=False, repr=False)
    """The verifiers' fingerprints: what they decide may change with their versions."""
    proving: frozenset[str] = field(init=False, repr=False)
    """Those of them that prove what they call correct."""

    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.verifiers:
            raise UserError("annotators.formal: verifiers: name at least one")
        found = {
            verifier: plugins.build("verifiers", {"use": verifier}) for verifier in self.verifiers
        }
        object.__setattr__(
            self, "decides", tuple(fingerprint(found[verifier]) for verifier in self.verifiers)
        )
        object.__setattr__(
            self,
            "proving",
            frozenset(name for name, each in found.items() if getattr(each, "proves", False)),
        )

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """One claim a step, each decided apart from the others."""
        steps, proven = list[StepAnnotation](), list[bool]()
        for start in range(0, len(trace.steps), AT_ONCE):
            claims = (
                _claim(problem, trace, index)
                for index in range(start, min(start + AT_ONCE, len(trace.steps)))
            )
            for step, is_proven in await gather_or_cancel(
                self._decide(claim, context) for claim in claims
            ):
                steps.append(step)
                proven.append(is_proven)
        wrong = (index for index, step in enumerate(steps) if step.verdict is Verdict.INCORRECT)
        first_error = next(wrong, NO_ERROR if all(proven) else None)
        return Annotation(
            trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
        )

    async def _decide(
        self, claim: StepClaim, context: AnnotationContext
    ) -> tuple[StepAnnotation, bool]:
        """What is said of the step, and whether it is proven."""
        findings = await gather_or_cancel(
            context.verify(verifier, claim) for verifier in self.verifiers
        )
        verdict = _together(finding.verdict for finding in findings)
        said = zip(self.verifiers, findings, strict=True)
        agreeing = {
            verifier: finding.reason for verifier, finding in said if finding.verdict is verdict
        }
        rationale = "; ".join(f"{verifier}: {reason}" for verifier, reason in agreeing.items())
        return StepAnnotation(
            verdict=verdict, rationale=rationale
        ), verdict is Verdict.CORRECT and not self.proving.isdisjoint(agreeing)


def _together(verdicts: Iterable[Verdict]) -> Verdict:
    """False when one says so, else right when one says so."""
    said = set(verdicts)
    return next(
        (verdict for verdict in (Verdict.INCORRECT, Verdict.CORRECT) if verdict in said),
        Verdict.UNKNOWN,
    )


def _claim(problem: Problem, trace: Trace, index: int) -> StepClaim:
    return StepClaim(
        question=problem.question, previous=trace.steps[:index], step=trace.steps[index]
    )
