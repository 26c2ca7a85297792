"""Candidates for the tests of filters."""

from collections.abc import Iterable, Mapping, Sequence

from filters.base import Candidate, Filter
from stepmark.records import NO_ERROR, Label, Problem, StepLabel, Trace, Verdict

__all__ = ["C", "I", "U", "candidate", "drops"]

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN


def candidate(
    trace_id: str,
    *steps: str,
    problem: str = "p",
    question: str = "How many?",
    outcome: Verdict = C,
    first_error: int | None = NO_ERROR,
    values: Sequence[float | None] = (),
    confidence: float | None = 1.0,
) -> Candidate:
    """Build a candidate with one step per text or value, and at least one."""
    if not steps:
        step_count = max(1, len(values))
        steps = tuple(f"{trace_id} {index}\n" for index in range(step_count))
    values = values or (None,) * len(steps)
    return Candidate(
        Problem(problem_id=problem, question=question, answer=None, domain="", source=""),
        Trace(
            trace_id=trace_id,
            problem_id=problem,
            steps=steps,
            final_answer=None,
            outcome=outcome,
            outcome_reason="",
            model="",
        ),
        Label(
            trace_id=trace_id,
            first_error=first_error,
            steps=tuple(StepLabel(value=value) for value in values),
            confidence=confidence,
            kept=True,
            reason="",
            sources=(),
        ),
    )


def drops(filter_: Filter, candidates: Iterable[Candidate]) -> Mapping[str, str]:
    """Return the reasons of the traces that the filter drops."""
    candidate_list = list(candidates)
    return filter_.drop(lambda: iter(candidate_list))
