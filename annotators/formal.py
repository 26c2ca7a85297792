"""Formal checking: what a step states in closed form is decided by a verifier, the rest stays unknown."""

from dataclasses import dataclass, field
from typing import ClassVar

from annotators.base import Tools, together
from stepmark import plugins
from stepmark.identity import fingerprint
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict
from verifiers.base import Finding, StepClaim

__all__ = ["Formal"]

# Every claim holds the steps before it: of a trace of thousands, all claims at once would fill the memory.
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Formal:
    """Have `verifier` decide every step; costs no token.

    The first step found false is named as the first error; one that the verifier cannot see may stand before it, so those steps stay
    undecided. Where none is found the trace does: a checker that sees nothing false in a step has not shown that the step follows.
    """

    verifier: str = "arithmetic"
    decides: str = field(init=False, repr=False)
    """The verifier's fingerprint: what it decides may change with its version."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decides", fingerprint(plugins.build("verifiers", {"use": self.verifier})))

    async def annotate(self, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
        """One claim a step, each decided apart from the others."""
        findings = list[Finding]()
        for start in range(0, len(trace.steps), AT_ONCE):
            claims = (_claim(problem, trace, index) for index in range(start, min(start + AT_ONCE, len(trace.steps))))
            findings += await together(tools.verify(self.verifier, claim) for claim in claims)
        steps = tuple(StepAnnotation(verdict=finding.verdict, rationale=finding.reason) for finding in findings)
        first_error = next((i for i, step in enumerate(steps) if step.verdict is Verdict.INCORRECT), None)
        return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=steps)


def _claim(problem: Problem, trace: Trace, index: int) -> StepClaim:
    return StepClaim(question=problem.question, previous=trace.steps[:index], step=trace.steps[index])
