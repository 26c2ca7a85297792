"""Candidates worked out by hand, and a stream of them."""

from collections.abc import Iterable, Mapping, Sequence

from filters.base import Candidate, Filter
from stepmark.records import NO_ERROR, Label, Problem, StepLabel, Trace, Verdict

__all__ = ["C", "I", "U", "candidate", "drops"]

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741


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
    steps = steps or tuple(f"{trace_id} {index}\n" for index in range(max(1, len(values))))
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
    """What the filter drops; every pass over the candidates is a fresh one."""
    held = list(candidates)
    return filter_.drop(lambda: iter(held))
