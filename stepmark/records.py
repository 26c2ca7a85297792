"""The records that all packages exchange: frozen, slotted, keyword-only dataclasses.

Step indices are 0-based. `first_error` is the index of the first incorrect step, -1 if there is
none, and None if it is undecided (the convention of ProcessBench, arXiv 2412.06559). Token counts
are tokens of the model that wrote the text; seconds are wall time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "NO_ERROR",
    "Annotation",
    "Cost",
    "Critique",
    "Discovered",
    "Label",
    "Problem",
    "Rejected",
    "Rollout",
    "Sampling",
    "StaleLabel",
    "StepAnnotation",
    "StepLabel",
    "StoredCompletion",
    "Trace",
    "Verdict",
    "first_error_of",
    "has_missing_neutral_step",
    "with_neutral_steps_as",
]

NO_ERROR = -1
"""The `first_error` of a trace without an error."""


class Verdict(StrEnum):
    """The result of checking a claim. UNKNOWN is counted but is never used as a training label."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its reference answer and its origin."""

    problem_id: str
    question: str
    answer: str | None
    """The reference answer; None if the source has none."""
    domain: str
    """The subject, for instance "arithmetic"; scores can be broken down by it."""
    source: str
    """The name of the data set or generator that the problem comes from."""
    license: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further fields of the source, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An input row that was not used."""

    file: str
    """The file or data set that contains the row."""
    row: int
    """The number of the row, from 1."""
    field: str
    """The field that is invalid."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The parameters of a request for `n` independent completions of at most `max_tokens` tokens.

    Every completion uses its own seed, derived from `seed` and its index, so the seeds of
    different requests must differ by at least n.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0


class StoredCompletion(NamedTuple):
    """One sample that an engine returned, or the log-probabilities of one text.

    A named tuple, because a run makes one per completion: creating it takes a fifth of the time of
    a frozen dataclass.
    """

    key: bytes
    """16 bytes: a digest of everything that could change the completion."""
    model: str
    seed: int
    """The seed of this sample, not that of its request."""
    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    logprobs: tuple[float, ...] | None = None
    """The log-probabilities of a scored text; None for a completion."""
    reasoning: str | None = None
    """The reasoning that the server returned apart from the text; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A solution split into steps; `"".join(steps)` is the model's text, byte for byte."""

    trace_id: str
    problem_id: str
    steps: tuple[str, ...]
    final_answer: str | None
    """The answer that the solution states; None if it states none."""
    outcome: Verdict
    """The grade of the final answer."""
    outcome_reason: str
    outcome_parts: tuple[Verdict, ...] = ()
    """One verdict per test of a program; empty for other answers. See `Finding.parts`."""
    model: str
    """The model that wrote the solution."""
    sampling: Sampling | None = None
    """How the solution was sampled; None if it was imported."""
    reasoning: str | None = None
    """The reasoning that the server returned apart from the solution; None if there is none."""
    finish_reason: str = "stop"
    """One of "stop", "length", or "error: …" if the engine rejected the request."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A graded completion, sampled from the first `prefix_steps` steps of a trace."""

    method: str = ""
    """The method that sampled the rollout; "" in datasets of versions that did not store it."""
    rollout_id: str
    """The key of its completion, in hexadecimal digits."""
    trace_id: str
    prefix_steps: int
    text: str
    steps: tuple[str, ...] | None = None
    """`text` split into steps as the run splits traces; `"".join(steps) == text`.

    Only the rollout's own text is split: the first step begins where the prefix ends, even if the
    last step of the prefix and the first one would be a single step of the whole solution. The
    whole solution has the steps `trace.steps[:prefix_steps] + rollout.steps`. A rollout without
    text has no steps. None in datasets of versions that did not store it.
    """
    final_answer: str | None
    outcome: Verdict
    outcome_reason: str
    outcome_parts: tuple[Verdict, ...] = ()
    """As in `Trace`."""
    seed: int
    reasoning: str | None = None
    """As in `Trace`."""
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered(Trace):
    """A trace that a method created: a prefix of another trace and the rollout that continues it.

    Its token counts are those of the rollout, which are part of the cost of the method.
    """

    found_by: str
    """The method that discovered the trace."""
    method: str = ""
    """The same method, under the name that this column has in all tables of a method; "" in
    datasets of versions that did not store it."""
    parent_trace_id: str
    """The trace that contains the prefix."""
    parent_steps: int
    """The number of steps of the prefix."""
    rollout_id: str
    """The rollout that follows the prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """One reply of a judge, whether it could be parsed or not.

    A vote is either one reply about all steps, or one reply for each step.
    """

    method: str = ""
    """The method that asked for the reply; "" in datasets of versions that did not store it."""
    trace_id: str
    prompt: str
    """The name of the prompt."""
    system: str | None = None
    """The system text of the request, "" if it has none.

    Like `request`, None in datasets of versions that did not store it.
    """
    request: str | None = None
    """The user turn that the reply answers, exactly as it was sent."""
    model: str | None = None
    """The model that wrote the reply; None in datasets of earlier versions."""
    vote: int
    """The index of the vote among those of its prompt, counted across all judges."""
    step: int | None
    """The step that the reply is about; None if it is about all steps."""
    text: str
    verdicts: tuple[Verdict, ...]
    """The verdict of every step, or of `step` alone."""
    first_error: int | None
    """The first error according to the vote."""
    reasoning: str | None = None
    """The reasoning that the server returned apart from the reply; None if there is none."""
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The resources that an annotation used."""

    rollouts: int = 0
    aborted: int = 0
    """Requested completions that were cancelled because they could no longer change the result.

    Engines do not report how many tokens they had generated, so `rollouts` and the token counts do
    not include aborted completions.
    """
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    """The wall time from the start to the end of the annotation.

    A method that annotates all traces of a problem together divides its time equally among them.
    """
    waited_seconds: float = 0.0
    """The part of `seconds` during which at least one request of the annotation was outstanding: a
    request to an engine, a claim at a verifier, or a completion at the grader.

    Overlapping requests count once, so that the value never exceeds `seconds` and does not depend
    on how many requests a method sends at once; the remaining time was spent in the method itself.
    Other annotations share the engine during that time, so the sum over annotations is not the time
    of a run.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnnotation:
    """The annotation of one step by one method."""

    verdict: Verdict = Verdict.UNKNOWN
    value: float | None = None
    """The soft label in [0, 1], such as a Monte Carlo estimate or a share of votes."""
    successes: int = 0
    """The number of decided trials that support the step."""
    trials: int = 0
    """The number of decided trials: rollouts or votes."""
    unknowns: int = 0
    """The number of undecided trials, which are not part of `trials`."""
    rationale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """The annotation of one trace by one method."""

    trace_id: str
    method: str
    fingerprint: str = ""
    """The fingerprint of everything that the annotation depends on."""
    first_error: int | None
    confidence: float | None = None
    """The probability in [0, 1] that `first_error` is right; None if the method has none."""
    steps: tuple[StepAnnotation, ...]
    """One annotation per step of the trace."""
    neutral_steps: tuple[int, ...] = ()
    """The indices of the steps that an imported source rates as neutral, neither correct nor
    incorrect, as PRM800K's 0. Their verdict is CORRECT; see `with_neutral_steps_as`."""
    posterior: tuple[float, ...] = ()
    """The probability of each step to be the first error, and last that of no error; sums to 1.

    Empty if the method computes none.
    """
    learned: str = ""
    """The parameters that the method fitted to the data of the run, as JSON."""
    claims_checked: int | None = None
    """The number of statements that a formal checker decided; None for other methods."""
    claims_holding: int | None = None
    """The number of those statements that are true."""
    cost: Cost = Cost()
    error: str | None = None
    """The reason why the method failed on the trace; the annotation is then undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleLabel(Annotation):
    """A label made by a person on steps that no trace of the dataset has.

    It becomes an annotation again when a run makes a trace of this id with these steps.
    """

    problem_id: str
    """The problem of the trace; "" if the trace was lost before the label was set aside."""
    reason: str
    """Why the label is not an annotation of the trace, or that it is carried over."""
    is_carried_over: bool
    """Whether the trace has an annotation that is made from this label."""
    step_texts: tuple[str, ...]
    """The steps that the person saw; empty if they are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLabel:
    """The training label of one step: a hard label and a soft value in [0, 1]."""

    label: Verdict = Verdict.UNKNOWN
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The training label of one trace."""

    trace_id: str
    first_error: int | None
    steps: tuple[StepLabel, ...]
    """One label per step of the trace."""
    confidence: float | None
    """The probability in [0, 1] that `first_error` is right; None if it is not known."""
    kept: bool
    """Whether the trace is used for training."""
    reason: str
    """Why the label has this value, or why the trace is dropped."""
    sources: tuple[str, ...]
    """The methods that the label is based on."""
    fingerprint: str = ""
    """The fingerprint of everything that the label depends on."""


def first_error_of(verdicts: Sequence[Verdict]) -> int | None:
    """Return the index of the first incorrect step.

    None if an unknown step precedes it, and -1 if all steps are correct.

    >>> first_error_of([Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN])
    1
    """
    for index, verdict in enumerate(verdicts):
        if verdict is not Verdict.CORRECT:
            return index if verdict is Verdict.INCORRECT else None
    return NO_ERROR


def has_missing_neutral_step(annotation: Annotation) -> bool:
    """Return whether a neutral step is none of the steps, as in a damaged or foreign dataset."""
    count = len(annotation.steps)
    return not all(0 <= index < count for index in annotation.neutral_steps)


def with_neutral_steps_as(annotation: Annotation, verdict: Verdict) -> Annotation:
    """Return an annotation in which the neutral steps have a verdict, and its first error.

    All neutral steps must exist; see `has_missing_neutral_step`.

    Stored annotations have the verdict CORRECT, as most users of PRM800K count its rating 0. Where
    an annotation becomes a label, this function maps it to what the user chose.
    """
    if not annotation.neutral_steps:
        return annotation
    steps = list(annotation.steps)
    for index in annotation.neutral_steps:
        steps[index] = replace(steps[index], verdict=verdict)
    first_error = first_error_of([step.verdict for step in steps])
    return replace(annotation, steps=tuple(steps), first_error=first_error)
