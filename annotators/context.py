"""Everything an annotator may use: engines, verifiers, grading, sibling traces, and its costs."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from annotators.wait_clock import WaitClock
from engines.base import Completion, Engine, Prompt, Scored, completion_keys
from stepmark.identity import content_id, seed_for
from stepmark.records import (
    Annotation,
    Cost,
    Critique,
    Discovered,
    Problem,
    Rollout,
    Sampling,
    Trace,
    Verdict,
)
from verifiers.base import Claim, Finding
from verifiers.isolation.pool import PASSING_REASONS

__all__ = [
    "AnnotationContext",
    "Grade",
    "ProblemContext",
    "ProblemGroup",
    "RunServices",
    "rollout_seed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The final answer of a completion and the verdict on it."""

    final_answer: str | None
    outcome: Verdict
    reason: str
    outcome_parts: tuple[Verdict, ...] = ()
    """One verdict per test of a program; empty for other answers."""


@dataclass(frozen=True, kw_only=True)
class RunServices:
    """Services that all traces of a run share.

    `engine` writes and scores rollouts, and `judges` write verdicts. They are None and empty for a
    method that does not declare in `needs` that it uses them.
    """

    seed: int
    engine: Engine | None
    judges: tuple[Engine, ...]
    solve_prompt: Callable[[Problem], Prompt]
    rollout_sampling: Sampling
    split: Callable[[str], tuple[str, ...]]
    """Split a text into steps without loss, as the run splits its traces."""
    grade: Callable[[str, str, str | None], Awaitable[Grade]]
    """Grade (whole text, finish reason, reference answer)."""
    verify: Callable[[str, Claim], Awaitable[Finding]]
    """Decide a claim with the verifier of that id, in a worker process that can be killed."""


@dataclass(frozen=True, kw_only=True)
class ProblemGroup:
    """The traces of one problem, and the rollouts that continue any of them.

    A rollout from one trace is also a rollout from every trace with the same prefix. Rollouts are
    added as they arrive, so a method that reads them and must be reproducible processes the traces
    in order: `async with group.turn`, first come, first served.
    """

    traces: dict[str, Trace]
    rollouts: list[Rollout] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    discovered: list[Discovered] = field(default_factory=list)
    """The traces that the method added to the problem, in the order of their discovery."""

    def occurrence(self, trace: Trace, prefix: str) -> int:
        """Return how many traces before this one begin with the prefix.

        Seeds of rollouts contain this number, so that two traces with the same prefix get
        independent rollouts. It depends on the text alone, not on how it is split into steps.
        """
        earlier = 0
        for other in (*self.traces.values(), *self.discovered):
            if other.trace_id == trace.trace_id:
                break
            earlier += "".join(other.steps).startswith(prefix)
        return earlier


def rollout_seed(run_seed: int, method: str, problem_id: str, prefix: str, occurrence: int) -> int:
    """Return the seed of the first rollout of a method from a prefix; attempt i adds i.

    Two methods that sample from the same prefix draw different rollouts, so their evidence is
    independent. Step numbers are not part of the seed: a split into other steps keeps the rollouts
    of the prefixes that remain.
    """
    return seed_for(run_seed, "rollout", method, problem_id, prefix, occurrence)


class AnnotationContext:
    """What an annotator may use on one trace. It collects rollouts, critiques and costs.

    See `rollout_seed` for what the seeds of rollouts depend on.
    """

    def __init__(
        self,
        services: RunServices,
        method: str,
        problem: Problem,
        trace: Trace,
        group: ProblemGroup,
        upstream: Mapping[str, Annotation] | None = None,
    ) -> None:
        self.problem = problem
        self.trace = trace
        self.group = group
        """All traces of the problem, this one included, and their rollouts by this method and by
        the methods that it depends on."""
        self.upstream = upstream or {}
        """The annotations of this trace by the methods that this one depends on."""
        self.sampled_rollouts: list[Rollout] = []
        self.critiques: list[Critique] = []
        """The replies of judges. A method that asks a judge adds them: see `add_critiques`."""
        self.cost = Cost()
        self.transient_findings = 0
        """The number of claims that stayed unknown because the machine was busy."""
        self.wait_clock = WaitClock()
        """Measures `Cost.waited_seconds`. The contexts of a `ProblemContext` share one clock."""
        self._services = services
        self._method = method
        self._requested: Counter[int] = Counter()

    @property
    def siblings(self) -> Sequence[Verdict]:
        """The outcomes of all traces of the problem, this one included."""
        return [trace.outcome for trace in self.group.traces.values()]

    async def rollouts(self, prefix_steps: int, count: int) -> Sequence[Rollout]:
        """Sample `count` new independent rollouts from the first `prefix_steps` steps.

        The rollouts are graded and stored. Cancelling the call aborts the requests in the engine
        and counts them in `Cost.aborted`; completions that had already arrived are kept.
        """
        services = self._services
        trace = self.trace
        assert services.engine is not None, "the pipeline sets the engine of methods that need one"
        prefix = "".join(trace.steps[:prefix_steps])
        # Counted before the first await, so that concurrent requests from one prefix differ.
        earlier = self._requested[prefix_steps]
        self._requested[prefix_steps] += count
        occurrence = self.group.occurrence(trace, prefix)
        first_seed = rollout_seed(services.seed, self._method, trace.problem_id, prefix, occurrence)
        # Seeds are consecutive, as within one request, so that several small requests from a prefix
        # draw the same rollouts as a single large one.
        sampling = replace(services.rollout_sampling, n=count, seed=first_seed + earlier)
        # Most tokenizers make one token of a word and the space before it. A model therefore seldom
        # sees a prefix that ends with a space, and its continuations of one would bias the values.
        sent_prefix = prefix.rstrip(" ")
        spaces = prefix[len(sent_prefix) :]
        prompt = replace(self._prompt, prefix=sent_prefix)
        keys = completion_keys(services.engine.identity, prompt, sampling)
        rollout_ids = [key.hex() for key in keys]
        try:
            with self.wait_clock:
                completions = await services.engine.complete(prompt, sampling)
        except asyncio.CancelledError:
            self.cost = replace(self.cost, aborted=self.cost.aborted + count)
            raise
        self._add_cost(completions, rollouts=count)
        if spaces:
            completions = [
                replace(completion, text=completion.text.removeprefix(spaces))
                for completion in completions
            ]
        try:
            return await self._store(completions, prefix_steps, sampling.seed, rollout_ids)
        except asyncio.CancelledError:
            # The tokens are spent, so the completions are graded and stored before cancellation.
            await self._store(completions, prefix_steps, sampling.seed, rollout_ids)
            raise

    async def score(self, prefix_steps: int, opening: str, text: str) -> Scored:
        """Return the token log-likelihoods of `text` after a prefix and `opening`, in nats."""
        services = self._services
        assert services.engine is not None, "the pipeline sets the engine of methods that need one"
        prefix = "".join(self.trace.steps[:prefix_steps]) + opening
        with self.wait_clock:
            scored = await services.engine.score(replace(self._prompt, prefix=prefix), text)
        self._add_cost([scored])
        return scored

    @property
    def judge_models(self) -> Sequence[str]:
        """The model names of the judges; `ask` accepts the index of each."""
        return [judge.model_name for judge in self._services.judges]

    async def ask(self, prompt: Prompt, sampling: Sampling, judge: int = 0) -> Sequence[Completion]:
        """Ask one of the judges.

        Args:
            prompt: The request.
            sampling: Its parameters. The seed of the request is derived from the run, the trace
                and `sampling.seed`, so it must differ between the requests of a trace, those to
                different judges included: two judges can be the same model.
            judge: The index of the judge in `judge_models`.
        """
        services = self._services
        assert services.judges, "the pipeline sets the judges of methods that ask"
        seed = seed_for(services.seed, self._method, self.trace.trace_id, sampling.seed)
        sampling = replace(sampling, seed=seed)
        with self.wait_clock:
            completions = await services.judges[judge].complete(prompt, sampling)
        self._add_cost(completions)
        return completions

    def add_critiques(self, critiques: Sequence[Critique]) -> None:
        """Store replies of a judge under the name of the method."""
        for critique in critiques:
            self.critiques.append(replace(critique, method=self._method))

    async def verify(self, verifier: str, claim: Claim) -> Finding:
        """Decide a claim in a worker process that is killed at its deadline."""
        with self.wait_clock:
            finding = await self._services.verify(verifier, claim)
        if finding.verdict is Verdict.UNKNOWN and finding.reason in PASSING_REASONS:
            self.transient_findings += 1
        return finding

    @cached_property
    def _prompt(self) -> Prompt:
        """The prompt of the problem, cached because every prefix of the trace uses it."""
        return self._services.solve_prompt(self.problem)

    async def _store(
        self,
        completions: Sequence[Completion],
        prefix_steps: int,
        seed: int,
        rollout_ids: Sequence[str],
    ) -> Sequence[Rollout]:
        """Grade the completions and store them as rollouts once all of them are graded."""
        rollouts = list[Rollout]()
        prefix = "".join(self.trace.steps[:prefix_steps])
        with self.wait_clock:
            for index, completion in enumerate(completions):
                grade = await self._services.grade(
                    prefix + completion.text, completion.finish_reason, self.problem.answer
                )
                rollout = self._rollout(
                    completion, grade, prefix_steps, seed + index, rollout_ids[index]
                )
                rollouts.append(rollout)
        self.sampled_rollouts.extend(rollouts)
        self.group.rollouts.extend(rollouts)
        return rollouts

    def _rollout(
        self,
        completion: Completion,
        grade: Grade,
        prefix_steps: int,
        seed: int,
        rollout_id: str,
    ) -> Rollout:
        return Rollout(
            method=self._method,
            rollout_id=rollout_id,
            trace_id=self.trace.trace_id,
            prefix_steps=prefix_steps,
            text=completion.text,
            steps=self._services.split(completion.text),
            final_answer=grade.final_answer,
            outcome=grade.outcome,
            outcome_reason=grade.reason,
            outcome_parts=grade.outcome_parts,
            seed=seed,
            reasoning=completion.reasoning,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            generated_tokens=completion.generated_tokens,
        )

    def _add_cost(self, results: Sequence[Completion | Scored], rollouts: int = 0) -> None:
        prompt_tokens = 0
        cached_tokens = 0
        generated_tokens = 0
        for result in results:
            prompt_tokens += result.prompt_tokens
            cached_tokens += result.cached_tokens
            # Scoring a text generates no tokens.
            if isinstance(result, Completion):
                generated_tokens += result.generated_tokens
        cost = self.cost
        self.cost = replace(
            cost,
            rollouts=cost.rollouts + rollouts,
            prompt_tokens=cost.prompt_tokens + prompt_tokens,
            cached_tokens=cost.cached_tokens + cached_tokens,
            generated_tokens=cost.generated_tokens + generated_tokens,
        )


class ProblemContext:
    """What a problem annotator may use on one problem. Costs are recorded per trace."""

    def __init__(
        self,
        services: RunServices,
        method: str,
        contexts: Sequence[AnnotationContext],
    ) -> None:
        self.contexts = tuple(contexts)
        """The contexts of the sampled traces of the problem, one or more."""
        self.wait_clock = WaitClock()
        """The clock of all contexts: requests of different traces overlap too."""
        self._services = services
        self._method = method
        self._context_of = {context.trace.trace_id: context for context in contexts}
        for context in contexts:
            context.wait_clock = self.wait_clock

    @property
    def discovered(self) -> list[Discovered]:
        """The traces that the method added to the problem, in the order of their discovery."""
        return self.contexts[0].group.discovered

    @property
    def all_contexts(self) -> Sequence[AnnotationContext]:
        """The contexts of the sampled traces, followed by those of the discovered traces."""
        return list(self._context_of.values())

    async def rollouts(self, trace: Trace, prefix_steps: int, count: int) -> Sequence[Rollout]:
        """Sample rollouts from a sampled or discovered trace; see `AnnotationContext.rollouts`."""
        return await self._context_of[trace.trace_id].rollouts(prefix_steps, count)

    def steps(self, trace: Trace, rollout: Rollout) -> tuple[str, ...]:
        """Return the steps of the solution that a rollout from a trace completes.

        Only the rollout's own text is split, see `Rollout.steps`. Splitting the whole solution
        again could change the boundaries of the prefix that the rollout continued.
        """
        steps = rollout.steps
        if steps is None:
            # The rollout was stored by a version that did not store its steps.
            steps = self._services.split(rollout.text)
        return trace.steps[: rollout.prefix_steps] + steps

    def is_policy_sample(self, trace: Trace) -> bool:
        """Return whether a trace was drawn from the distribution that rollouts are drawn from.

        True for traces by the same model with the same sampling settings, False for imports.
        """
        engine = self._services.engine
        if engine is None or trace.sampling is None or trace.model != engine.model_name:
            return False
        # Requests differ in n and seed without a change of the distribution.
        rollout_sampling = replace(self._services.rollout_sampling, n=1, seed=0)
        return replace(trace.sampling, n=1, seed=0) == rollout_sampling

    def discover(self, trace: Trace, rollout: Rollout) -> Discovered:
        """Create a trace from the solution that a rollout from `trace` completes."""
        engine = self._services.engine
        assert engine is not None, "the rollout was sampled from the engine"
        discovered = Discovered(
            trace_id=content_id("trace", rollout.rollout_id),
            problem_id=trace.problem_id,
            steps=self.steps(trace, rollout),
            final_answer=rollout.final_answer,
            outcome=rollout.outcome,
            outcome_reason=rollout.outcome_reason,
            outcome_parts=rollout.outcome_parts,
            model=engine.model_name,
            sampling=replace(self._services.rollout_sampling, n=1, seed=rollout.seed),
            reasoning=rollout.reasoning,
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            cached_tokens=rollout.cached_tokens,
            generated_tokens=rollout.generated_tokens,
            found_by=self._method,
            method=self._method,
            parent_trace_id=trace.trace_id,
            parent_steps=rollout.prefix_steps,
            rollout_id=rollout.rollout_id,
        )
        self.discovered.append(discovered)
        any_context = self.contexts[0]  # all contexts have the same problem and group
        context = AnnotationContext(
            self._services, self._method, any_context.problem, discovered, any_context.group
        )
        context.wait_clock = self.wait_clock
        self._context_of[discovered.trace_id] = context
        return discovered
