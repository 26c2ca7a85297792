"""The records that travel through Stepmark: frozen, slotted, keyword-only.

Step indices are 0-based. `first_error` is the index of the first wrong step, -1 when there is none, None when undecided
(ProcessBench's convention, arXiv 2412.06559). Token counts are tokens of the model that wrote the text; seconds are wall time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "NO_ERROR",
    "Annotation",
    "Cost",
    "Critique",
    "Label",
    "Problem",
    "Rejected",
    "Rollout",
    "Sampling",
    "StepAnnotation",
    "StepLabel",
    "Trace",
    "Verdict",
    "first_error_of",
]

NO_ERROR = -1


class Verdict(StrEnum):
    """What is known of a claim. Unknown is a value of its own: it is counted and it trains nothing."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, its reference answer where there is one, and where it comes from."""

    problem_id: str
    question: str
    answer: str | None
    domain: str
    source: str
    license: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row set aside: which file (or data set), which row (1-based), which field, and why."""

    file: str
    row: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are drawn: `n` independent samples, each of at most `max_tokens` tokens.

    Child i of a request uses a seed of its own derived from `seed`, so seeds of different requests are spaced by at least n.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A solution cut into steps; `"".join(steps)` is the model's text, byte for byte."""

    trace_id: str
    problem_id: str
    steps: tuple[str, ...]
    final_answer: str | None
    outcome: Verdict
    outcome_reason: str
    model: str
    sampling: Sampling | None = None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A completion sampled from the first `prefix_steps` steps of a trace, graded."""

    rollout_id: str
    trace_id: str
    prefix_steps: int
    text: str
    final_answer: str | None
    outcome: Verdict
    outcome_reason: str
    seed: int
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """What a judge wrote in one reply, readable or not.

    `prompt` names the prompt file and `vote` counts its votes. A vote is one reply about all steps, with a verdict for each of them, or a
    reply a step, with the verdict on that `step` alone; `first_error` is what the whole vote names.
    """

    trace_id: str
    prompt: str
    vote: int
    step: int | None
    text: str
    verdicts: tuple[Verdict, ...]
    first_error: int | None
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an annotation was paid with.

    `aborted` completions were asked for and cancelled when they no longer mattered: what an engine had written of them it does not tell, so
    they are neither among the rollouts nor among the tokens.
    """

    rollouts: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnnotation:
    """What one method says of one step.

    `value` is the method's soft label in [0, 1] (a Monte Carlo value, a share of votes); `successes` of `trials` decided trials
    spoke for the step, and `unknowns` more could not be decided and count for neither side.
    """

    verdict: Verdict = Verdict.UNKNOWN
    value: float | None = None
    successes: int = 0
    trials: int = 0
    unknowns: int = 0
    rationale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What one method says of one trace: one entry in `steps` per step of the trace.

    `posterior` has, where the method has one, the chance of every first error: an entry a step and a last one for "no error", summing to 1.
    `learned` is what the method went by and had learned from the run's own data, as JSON.
    `error` is set, and everything else undecided, when the method failed on this trace.
    """

    trace_id: str
    method: str
    fingerprint: str = ""
    first_error: int | None
    confidence: float | None = None
    steps: tuple[StepAnnotation, ...]
    posterior: tuple[float, ...] = ()
    learned: str = ""
    cost: Cost = Cost()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLabel:
    """The training label of one step, and the soft value beside it."""

    label: Verdict = Verdict.UNKNOWN
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a trace is trained on: kept or dropped with the reason, and the methods that the label rests on."""

    trace_id: str
    first_error: int | None
    steps: tuple[StepLabel, ...]
    confidence: float | None
    kept: bool
    reason: str
    sources: tuple[str, ...]
    fingerprint: str = ""


def first_error_of(verdicts: Sequence[Verdict]) -> int | None:
    """The first wrong step that the verdicts name: None as soon as an unknown stands before it.

    >>> first_error_of([Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN])
    1
    """
    for index, verdict in enumerate(verdicts):
        if verdict is not Verdict.CORRECT:
            return index if verdict is Verdict.INCORRECT else None
    return NO_ERROR
