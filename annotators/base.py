"""What an annotator is, what it may use, and the one place where cost, provenance and failures are recorded.

An annotator is ordinary async code for ONE trace. Thousands of traces are in flight on one event loop, so a method that waits for
its own rollouts (a binary search) never leaves the engine idle.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from engines.base import Completion, Engine, Prompt, Scored
from stepmark.errors import EngineError, UserError
from stepmark.identity import SEED_SPACING, digest, seed_for
from stepmark.records import NO_ERROR, Annotation, Cost, Critique, Label, Problem, Rollout, Sampling, StepAnnotation, Trace, Verdict
from verifiers.base import Claim, Finding

__all__ = [
    "Annotator",
    "Case",
    "Family",
    "Fitting",
    "Graded",
    "Hearing",
    "Labeler",
    "Learning",
    "Samples",
    "Services",
    "Tools",
    "checked",
    "estimate",
    "failed",
    "fall",
    "one_of",
    "passes",
    "run",
    "together",
    "undecided",
]

T = TypeVar("T")
# How many completions one request may ask for: none would decide nothing, more would share seeds with another request.
Samples = Annotated[int, Field(ge=1, le=SEED_SPACING)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A completion's final answer and whether it is right."""

    final_answer: str | None
    outcome: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class Services:
    """What all traces of a run share. `engine` writes rollouts, `judge_engine` verdicts; either is None when no method asks for it."""

    seed: int
    engine: Engine | None
    judge_engine: Engine | None
    solve_prompt: Callable[[Problem], Prompt]
    rollout_sampling: Sampling
    grade: Callable[[str, str, str | None], Awaitable[Graded]]
    """(whole text, finish reason, reference answer) -> its grade."""
    verify: Callable[[str, Claim], Awaitable[Finding]]
    """(verifier id, claim) -> its finding, decided in a worker that can be killed."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """The traces of one problem, and the rollouts that are known to go on from any of them.

    A rollout from one trace is one from every trace that begins in the same way. Rollouts are added as they come, so a method that looks
    at them, and is to give the same result always, takes its traces in turn: `async with family.turn`, first come, first served.
    """

    traces: dict[str, Trace]
    rollouts: list[Rollout] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tools:
    """What an annotator may use on one trace; it keeps the rollouts, the critiques and the bill.

    Seeds derive from the method's name too: methods that probe one prefix draw rollouts of their own, so their evidence is independent.
    """

    def __init__(
        self, services: Services, method: str, problem: Problem, trace: Trace, family: Family, said: Mapping[str, Annotation] | None = None
    ) -> None:
        self.problem = problem
        self.trace = trace
        self.family = family
        """All traces of the problem, this one included, and the rollouts from them: this method's, and those of the methods it hears."""
        self.said = said or {}
        """What the methods it hears say of the trace."""
        self.spent: list[Rollout] = []
        self.critiques: list[Critique] = []
        """What judges wrote; a method that asks some adds it."""
        self.cost = Cost()
        self._services = services
        self._method = method
        self._asked: Counter[int] = Counter()

    @property
    def siblings(self) -> Sequence[Verdict]:
        """The outcomes of all traces of the problem, this one included."""
        return [trace.outcome for trace in self.family.traces.values()]

    async def rollouts(self, prefix_steps: int, count: int) -> Sequence[Rollout]:
        """`count` new independent rollouts from the first `prefix_steps` steps, graded and stored.

        Cancelling the call aborts them in the engine, and they are counted as such; what had come back by then is kept all the same.
        """
        services, trace = self._services, self.trace
        assert services.engine is not None, "the pipeline gives an engine to every method that needs one"
        prefix = "".join(trace.steps[:prefix_steps])
        # Counted before the first await, so that requests from one prefix that are in flight together differ too.
        earlier = self._asked[prefix_steps]
        self._asked[prefix_steps] += count
        # Consecutive, as the samples of one request are: several requests from a prefix draw what a single one would have drawn.
        seed = seed_for(services.seed, self._method, trace.trace_id, prefix_steps, 0) + earlier
        sampling = replace(services.rollout_sampling, n=count, seed=seed)
        prompt = replace(self._prompt, prefix=prefix)
        try:
            completions = await services.engine.complete(prompt, sampling)
        except asyncio.CancelledError:
            self.cost = replace(self.cost, aborted=self.cost.aborted + count)
            raise
        self._pay(completions, rollouts=count)
        try:
            return await self._kept(completions, prefix, prefix_steps, seed, earlier)
        except asyncio.CancelledError:
            await self._kept(completions, prefix, prefix_steps, seed, earlier)
            raise

    async def score(self, prefix_steps: int, opening: str, text: str) -> Scored:
        """How likely the engine is to write `text` after the first `prefix_steps` steps and `opening`; nothing is written."""
        services = self._services
        assert services.engine is not None, "the pipeline gives an engine to every method that needs one"
        prefix = "".join(self.trace.steps[:prefix_steps]) + opening
        scored = await services.engine.score(replace(self._prompt, prefix=prefix), text)
        self._pay([scored])
        return scored

    async def ask(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Ask the judge engine; the seed is derived from the run's, the trace's and `sampling.seed`."""
        services = self._services
        assert services.judge_engine is not None, "the pipeline gives a judge engine to every method that needs one"
        seed = seed_for(services.seed, self._method, self.trace.trace_id, sampling.seed)
        completions = await services.judge_engine.complete(prompt, replace(sampling, seed=seed))
        self._pay(completions)
        return completions

    async def verify(self, verifier: str, claim: Claim) -> Finding:
        """Have a verifier decide a claim in a worker process that is killed at its deadline."""
        return await self._services.verify(verifier, claim)

    @cached_property
    def _prompt(self) -> Prompt:
        """What the model is asked to solve; the same for every prefix."""
        return self._services.solve_prompt(self.problem)

    async def _kept(self, completions: Sequence[Completion], prefix: str, prefix_steps: int, seed: int, earlier: int) -> Sequence[Rollout]:
        """The completions as rollouts, kept once all of them are graded."""
        name = digest(self._services.seed, self._method, self.trace.trace_id, prefix_steps)
        fresh = [
            await self._graded(completion, prefix, prefix_steps, seed + index, f"{name}-{earlier + index}")
            for index, completion in enumerate(completions)
        ]
        self.spent.extend(fresh)
        self.family.rollouts.extend(fresh)
        return fresh

    async def _graded(self, completion: Completion, prefix: str, prefix_steps: int, seed: int, rollout_id: str) -> Rollout:
        grade = await self._services.grade(prefix + completion.text, completion.finish_reason, self.problem.answer)
        return Rollout(
            rollout_id=rollout_id,
            trace_id=self.trace.trace_id,
            prefix_steps=prefix_steps,
            text=completion.text,
            final_answer=grade.final_answer,
            outcome=grade.outcome,
            outcome_reason=grade.reason,
            seed=seed,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            generated_tokens=completion.generated_tokens,
        )

    def _pay(self, answers: Sequence[Completion | Scored], rollouts: int = 0) -> None:
        self.cost = replace(
            self.cost,
            rollouts=self.cost.rollouts + rollouts,
            prompt_tokens=self.cost.prompt_tokens + sum(answer.prompt_tokens for answer in answers),
            cached_tokens=self.cost.cached_tokens + sum(answer.cached_tokens for answer in answers),
            generated_tokens=self.cost.generated_tokens + sum(c.generated_tokens for c in answers if isinstance(c, Completion)),
        )


class Annotator(Protocol):
    """A step-labelling method."""

    needs: ClassVar[frozenset[str]]
    """Of {"engine", "judge_engine"}: which doors to a model the method uses."""

    async def annotate(self, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
        """Label the steps of one trace. `method`, `fingerprint`, `cost` and failures are filled in by `run`."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A method that builds on what others of the run say, which therefore speak first."""

    evidence: tuple[str, ...]
    """Their names."""


@runtime_checkable
class Learning(Protocol):
    """A method that learns from all traces of a shard before it annotates any."""

    async def learn(self, shard: Sequence[Tools]) -> Annotator:
        """The annotator that these traces make of it; what it buys on the way stays with each trace's tools."""
        ...


Case = tuple[Trace, Mapping[str, Annotation]]
"""A trace, and what every method says of it."""


class Labeler(Protocol):
    """Turns the annotations of a trace into its training label; costs no token, so its rule can be changed at will."""

    def check(self, methods: Sequence[str]) -> None:
        """Raise `ConfigError` when a run with these methods could never give a label."""
        ...

    def label(self, trace: Trace, annotations: Mapping[str, Annotation]) -> Label:
        """The label of one trace from its annotations by method name; `fingerprint` is filled in by the pipeline."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """What becomes a labeler by learning from all traces of a dataset."""

    gold: str
    """The method whose annotations it may learn from as the truth; "" for none. They are among the annotations of a case."""

    def check(self, methods: Sequence[str]) -> None:
        """As `Labeler`."""
        ...

    def fit(self, cases: Iterable[Case]) -> Labeler:
        """The labeler that these traces make of it; the same traces make the same one."""
        ...


async def run(annotator: Annotator, method: str, fingerprint: str, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
    """Annotate one trace; whatever goes wrong becomes the annotation's `error`.

    A retryable engine error passes through, since an engine that is down is nobody's label, and so does what the user can mend.
    """
    started = time.perf_counter()
    try:
        annotation = await _annotated(annotator, problem, trace, tools)
    except Exception as error:  # a plugin may raise anything, and one trace's failure is that trace's record
        if passes(error):
            raise
        annotation = failed(trace, error)
    cost = replace(tools.cost, seconds=time.perf_counter() - started)
    return replace(annotation, method=method, fingerprint=fingerprint, cost=cost)


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """Await everything at once, in order; the first error cancels the rest, so that nothing keeps an engine busy in vain."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


def estimate(outcomes: Sequence[Verdict]) -> StepAnnotation:
    """The Monte Carlo estimate of a prefix from its rollouts' outcomes, unknown ones left out of both sides.

    Hard label: correct when any decided rollout is right, incorrect when none is, unknown when none is decided.
    """
    right, wrong = outcomes.count(Verdict.CORRECT), outcomes.count(Verdict.INCORRECT)
    trials = right + wrong
    verdict = Verdict.UNKNOWN if not trials else Verdict.CORRECT if right else Verdict.INCORRECT
    value = right / trials if trials else None
    return StepAnnotation(verdict=verdict, value=value, successes=right, trials=trials, unknowns=len(outcomes) - trials)


def fall(values: Sequence[float | None], first_error: int) -> float:
    """How far a method's values fall at the step that it names, or how high they stay where it names none; 1 where it has no values."""
    if first_error == NO_ERROR:
        return min((value for value in values if value is not None), default=1.0)
    before, after = values[first_error - 1] if first_error else None, values[first_error]
    return max(0.0, (1.0 if before is None else before) - (after or 0.0))


def undecided(trace: Trace, reason: str) -> Annotation:
    """A method's abstention on a trace, with the reason on every step."""
    steps = (StepAnnotation(rationale=reason),) * len(trace.steps)
    return Annotation(trace_id=trace.trace_id, method="", first_error=None, steps=steps)


def checked(trace: Trace, annotation: Annotation) -> Annotation:
    """The annotation, if it is one of this trace's steps; `ValueError` where it is not."""
    if len(annotation.steps) != len(trace.steps):
        raise ValueError(f"{len(annotation.steps)} step annotations for {len(trace.steps)} steps")
    return annotation


def passes(error: Exception) -> bool:
    """Whether an error is no trace's fault: a retryable one of an engine, or one that the user can mend."""
    return isinstance(error, UserError) or (isinstance(error, EngineError) and error.retryable)


def failed(trace: Trace, error: Exception) -> Annotation:
    """A method's failure on a trace, as its record."""
    return replace(undecided(trace, ""), error=f"{type(error).__name__}: {error}")


async def one_of(work: Awaitable[T]) -> T:
    """Await a plugin's work; of the errors of a task group of its own one is raised: what is no trace's fault goes before what is."""
    try:
        return await work
    except ExceptionGroup as errors:
        raise max(errors.exceptions, key=passes) from errors


async def _annotated(annotator: Annotator, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
    if not trace.steps:
        return undecided(trace, "no steps")
    return checked(trace, await one_of(annotator.annotate(problem, trace, tools)))
