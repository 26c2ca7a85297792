"""The Dawid-Skene model: sources that report the first error of a trace, each with error rates.

A source reports at most one first error per trace, with a confidence level. Given the true first
error and the outcome, sources err independently, each at its own rates (Dawid and Skene 1979,
"Maximum likelihood estimation of observer error-rates using the EM algorithm").

Symbols:

    symbol   name in the code   meaning
    T        steps              number of steps of the trace
    e        first_error        index of the first wrong step, or NO_ERROR; the latent state
    o        outcome            the outcome of the trace
    r_s      reports[s]         what source s reports: a first error and a level, or None
    pi       rates              probability of each answer to each question

    P(e, r | o) = P(e | o) prod_s P(r_s | e, o)

Each factor is a chain of responses to questions, so that a report of any length of trace needs only
a few rates:

    is the trace free of errors?                               given o
    does s report anything, and with which level?              given whether e = NO_ERROR
    does s report NO_ERROR?                                    given level and whether e = NO_ERROR;
                                                               if it is not, also whether o is
                                                               CORRECT
    if both name a step: is it the correct step?               given level
    if it is not: is it before the correct step?               (asked only if there are steps on
                                                               both sides)

The questions about the correct step are not asked if T = 1. A response that leaves several steps
possible gives each of them the same probability: P(e | o) divides by T if e is a step; a step
reported on a trace without an error is uniform over all T steps; a wrong step is uniform over the
steps before, or after, the correct one.

What is not covered: sources whose errors are correlated (put methods that share rollouts into one
group, of which the first that decides is used), and rates that depend on the problem.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from stepmark.records import NO_ERROR, Verdict

__all__ = [
    "CONFIDENCE_LEVELS",
    "Question",
    "QuestionKind",
    "Report",
    "Response",
    "ResponseRates",
    "TracePattern",
    "first_errors",
    "prior_counts",
    "responses_of",
]

CONFIDENCE_LEVELS = 4
# Before EM, nothing else tells a reliable source from one that is always wrong: the labels of EM
# could be swapped. It also smooths the rates of questions with few responses.
PRIOR_TRACES = 20.0
"""Pseudo-count of the prior rates of each question, in traces."""


class QuestionKind(StrEnum):
    """The questions that have rates. All but `LEVEL` are answered with True or False."""

    NO_ERROR = "no error"
    LEVEL = "level"
    """Answered with a confidence level, or None for an abstention."""
    REPORTS_NO_ERROR_CORRECTLY = "reports no error, trace has none"
    MISSES_ERROR = "reports no error, trace has one"
    MISSES_HARMLESS_ERROR = "reports no error, trace has one and a correct answer"
    EXACT = "names the correct step"
    EARLY = "names an earlier step"
    EXACT_OF_PROVER = "names the correct step (prover)"
    EARLY_OF_PROVER = "names an earlier step (prover)"
    SUSPECTS = "suspects a step"
    SUSPECTS_CORRECTLY = "suspects the correct step"
    SUSPECTS_EARLIER = "suspects an earlier step"
    MISPLACED = "names a wrong step"
    """Replaces `EARLY` where wrong steps are possible on one side only. It has one answer."""


PRIOR_RATES: Mapping[QuestionKind, float] = {
    QuestionKind.NO_ERROR: 0.5,
    QuestionKind.REPORTS_NO_ERROR_CORRECTLY: 0.9,
    QuestionKind.MISSES_ERROR: 0.1,
    # Rollouts from behind a harmless error still succeed, so that it is easily missed.
    QuestionKind.MISSES_HARMLESS_ERROR: 0.5,
    QuestionKind.EXACT: 0.8,
    QuestionKind.EARLY: 0.5,
    # A step that a prover names is wrong, so it is hardly ever before the first error. But a prover
    # abstains on many steps, so the first error may be an earlier one.
    QuestionKind.EXACT_OF_PROVER: 0.5,
    QuestionKind.EARLY_OF_PROVER: 0.02,
    # The same for traces with and without errors: whether a suspicion shows an error is learned.
    QuestionKind.SUSPECTS: 0.1,
    # Of 98 suspicions on solutions in which people marked the first error, 26 were at it, 5 before.
    QuestionKind.SUSPECTS_CORRECTLY: 0.25,
    QuestionKind.SUSPECTS_EARLIER: 0.1,
    QuestionKind.MISPLACED: 1.0,
}
"""Prior probability of the answer True."""


class Question(NamedTuple):
    """A question with its own rates."""

    kind: QuestionKind
    source: int | None = None
    context: Hashable = None
    """What else the rates depend on: the outcome, or the level of the report."""


class Response(NamedTuple):
    """An answer to a question; one of `choices` equally likely ones."""

    question: Question
    answer: Hashable
    choices: int = 1


class Report(NamedTuple):
    """What a source reports on a trace."""

    first_error: int
    level: int
    """Its confidence, from 0 to `CONFIDENCE_LEVELS` - 1."""


class TracePattern(NamedTuple):
    """All that the posterior of a trace depends on; traces with equal patterns share it."""

    steps: int
    outcome: Verdict
    reports: tuple[Report | None, ...]
    provers: frozenset[int] = frozenset()
    """The sources that name only steps that are wrong."""
    gold: int | None = None
    """The true first error, if it is given."""
    suspicions: tuple[tuple[int, int | None], ...] = ()
    """The sources that suspect steps, with the first step that each suspects on this trace."""


@dataclass(frozen=True)
class ResponseRates:
    """The estimated rates. A question without an estimate has its prior rates."""

    shares: Mapping[Question, Mapping[Hashable, float]]
    """The probability of each answer; those of one question sum to 1."""

    def posterior(self, pattern: TracePattern, power: float = 1.0) -> Mapping[int, float]:
        """Return the probability of each first error that the outcome allows.

        Args:
            pattern: The reports on a trace.
            power: The exponent of P(e, r | o). Below 1 it flattens the posterior.
        """
        weights: dict[int, float] = {}
        for first_error in first_errors(pattern):
            joint_probability = 1.0
            for response in responses_of(pattern, first_error):
                joint_probability *= self.share(response) / response.choices
            weights[first_error] = joint_probability**power
        total = sum(weights.values())
        return {first_error: weight / total for first_error, weight in weights.items()}

    def share(self, response: Response) -> float:
        """Return the probability of the response's answer, before it is divided by `choices`."""
        shares = self.shares.get(response.question)
        if shares is not None:
            return shares[response.answer]
        counts = prior_counts(response.question)
        return counts[response.answer] / sum(counts.values())


def first_errors(pattern: TracePattern) -> range:
    """Return the first errors that the outcome allows: a wrong answer has an error."""
    if pattern.outcome is Verdict.INCORRECT:
        return range(pattern.steps)
    return range(NO_ERROR, pattern.steps)


def responses_of(pattern: TracePattern, first_error: int) -> Iterator[Response]:
    """Yield the responses whose product is P(first error, reports | outcome)."""
    no_error = first_error == NO_ERROR
    question = Question(QuestionKind.NO_ERROR, context=pattern.outcome)
    if no_error:
        yield Response(question, True)
    else:
        yield Response(question, False, pattern.steps)
    for source, report in enumerate(pattern.reports):
        question = Question(QuestionKind.LEVEL, source, no_error)
        if report is None:
            yield Response(question, None)
        else:
            yield Response(question, report.level)
            yield from _report_responses(pattern, source, report, first_error)
    for source, suspected in pattern.suspicions:
        yield from _suspicion_responses(pattern.steps, source, suspected, first_error)


def prior_counts(question: Question) -> Mapping[Hashable, float]:
    """Return the pseudo-counts of the possible answers before EM, in traces."""
    if question.kind is QuestionKind.LEVEL:
        answers = [None, *range(CONFIDENCE_LEVELS)]
        return dict.fromkeys(answers, PRIOR_TRACES / len(answers))
    rate = PRIOR_RATES[question.kind]
    counts: dict[Hashable, float] = {True: PRIOR_TRACES * rate}
    if rate < 1:
        counts[False] = PRIOR_TRACES * (1 - rate)
    return counts


def _report_responses(
    pattern: TracePattern, source: int, report: Report, first_error: int
) -> Iterator[Response]:
    """Yield the responses to the questions about the reported first error."""
    steps = pattern.steps
    no_error = first_error == NO_ERROR
    reports_no_error = report.first_error == NO_ERROR

    if no_error:
        kind = QuestionKind.REPORTS_NO_ERROR_CORRECTLY
    elif pattern.outcome is Verdict.CORRECT:
        kind = QuestionKind.MISSES_HARMLESS_ERROR
    else:
        kind = QuestionKind.MISSES_ERROR
    choices = 1
    if no_error and not reports_no_error:
        # Every step is equally likely to be named by mistake.
        choices = steps
    yield Response(Question(kind, source, report.level), reports_no_error, choices)
    # With one step, a step that is reported on a trace with an error is the correct one.
    if not no_error and not reports_no_error and steps > 1:
        yield from _step_responses(pattern, source, report, first_error)


def _step_responses(
    pattern: TracePattern, source: int, report: Report, first_error: int
) -> Iterator[Response]:
    """Yield the responses to the questions that are asked if both first errors are steps."""
    exact = QuestionKind.EXACT
    early = QuestionKind.EARLY
    if source in pattern.provers:
        exact = QuestionKind.EXACT_OF_PROVER
        early = QuestionKind.EARLY_OF_PROVER
    is_exact = report.first_error == first_error
    yield Response(Question(exact, source, report.level), is_exact)
    if not is_exact:
        is_early = report.first_error < first_error
        yield _misplacement(Question(early, source), is_early, pattern.steps, first_error)


def _suspicion_responses(
    steps: int, source: int, suspected: int | None, first_error: int
) -> Iterator[Response]:
    """Yield the responses to the questions about the first suspicion of a source on a trace.

    They are those about a report, without a confidence level. A suspicion never excludes a first
    error.
    """
    no_error = first_error == NO_ERROR
    question = Question(QuestionKind.SUSPECTS, source, no_error)
    if suspected is None:
        yield Response(question, False)
        return
    yield Response(question, True, steps if no_error else 1)
    if no_error or steps == 1:
        return
    is_exact = suspected == first_error
    yield Response(Question(QuestionKind.SUSPECTS_CORRECTLY, source), is_exact)
    if not is_exact:
        question = Question(QuestionKind.SUSPECTS_EARLIER, source)
        yield _misplacement(question, suspected < first_error, steps, first_error)


def _misplacement(question: Question, is_early: bool, steps: int, first_error: int) -> Response:
    """Return the response to the question on which side of the first error a wrong step is."""
    steps_before = first_error
    steps_after = steps - 1 - first_error
    if not steps_before or not steps_after:
        return Response(Question(QuestionKind.MISPLACED), True, steps_before + steps_after)
    return Response(question, is_early, steps_before if is_early else steps_after)
