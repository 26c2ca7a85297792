"""Everything an annotator may use: engines, verifiers, grading, sibling traces, and its costs."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from engines.base import Completion, Engine, Prompt, Scored
from stepmark.identity import digest, seed_for
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

__all__ = ["AnnotationContext", "Grade", "ProblemContext", "ProblemGroup", "RunServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The final answer of a completion and the verdict on it."""

    final_answer: str | None
    outcome: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunServices:
    """Services that all traces of a run share.

    `engine` writes rollouts and `judge_engine` writes verdicts. Either is None when no method of
    the run needs it.
    """

    seed: int
    engine: Engine | None
    judge_engine: Engine | None
    solve_prompt: Callable[[Problem], Prompt]
    rollout_sampling: Sampling
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


class AnnotationContext:
    """What an annotator may use on one trace. It collects rollouts, critiques and costs.

    Seeds depend on the method's name too. Two methods that sample from the same prefix draw
    different rollouts, so their evidence is independent.
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
        """The replies of judges. A method that asks a judge appends them."""
        self.cost = Cost()
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
        # Seeds are consecutive, as within one request, so that several small requests from a prefix
        # draw the same rollouts as a single large one.
        first_seed = seed_for(services.seed, self._method, trace.trace_id, prefix_steps, 0)
        seed = first_seed + earlier
        sampling = replace(services.rollout_sampling, n=count, seed=seed)
        prompt = replace(self._prompt, prefix=prefix)
        try:
            completions = await services.engine.complete(prompt, sampling)
        except asyncio.CancelledError:
            self.cost = replace(self.cost, aborted=self.cost.aborted + count)
            raise
        self._add_cost(completions, rollouts=count)
        try:
            return await self._store(completions, prefix, prefix_steps, seed, earlier)
        except asyncio.CancelledError:
            # The tokens are spent, so the completions are graded and stored before cancellation.
            await self._store(completions, prefix, prefix_steps, seed, earlier)
            raise

    async def score(self, prefix_steps: int, opening: str, text: str) -> Scored:
        """Return the token log-likelihoods of `text` after a prefix and `opening`, in nats."""
        services = self._services
        assert services.engine is not None, "the pipeline sets the engine of methods that need one"
        prefix = "".join(self.trace.steps[:prefix_steps]) + opening
        scored = await services.engine.score(replace(self._prompt, prefix=prefix), text)
        self._add_cost([scored])
        return scored

    async def ask(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Ask the judge engine; the seed is derived from the run, the trace and `sampling.seed`."""
        services = self._services
        assert services.judge_engine is not None, "the pipeline sets the judge of methods that ask"
        seed = seed_for(services.seed, self._method, self.trace.trace_id, sampling.seed)
        completions = await services.judge_engine.complete(prompt, replace(sampling, seed=seed))
        self._add_cost(completions)
        return completions

    async def verify(self, verifier: str, claim: Claim) -> Finding:
        """Decide a claim in a worker process that is killed at its deadline."""
        return await self._services.verify(verifier, claim)

    @cached_property
    def _prompt(self) -> Prompt:
        """The prompt of the problem, cached because every prefix of the trace uses it."""
        return self._services.solve_prompt(self.problem)

    async def _store(
        self,
        completions: Sequence[Completion],
        prefix: str,
        prefix_steps: int,
        seed: int,
        earlier: int,
    ) -> Sequence[Rollout]:
        """Grade the completions and store them as rollouts once all of them are graded."""
        name = digest(self._services.seed, self._method, self.trace.trace_id, prefix_steps)
        rollouts = list[Rollout]()
        for index, completion in enumerate(completions):
            rollout_id = f"{name}-{earlier + index}"
            rollouts.append(
                await self._grade(completion, prefix, prefix_steps, seed + index, rollout_id)
            )
        self.sampled_rollouts.extend(rollouts)
        self.group.rollouts.extend(rollouts)
        return rollouts

    async def _grade(
        self, completion: Completion, prefix: str, prefix_steps: int, seed: int, rollout_id: str
    ) -> Rollout:
        grade = await self._services.grade(
            prefix + completion.text, completion.finish_reason, self.problem.answer
        )
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

    def _add_cost(self, results: Sequence[Completion | Scored], rollouts: int = 0) -> None:
        cost = self.cost
        for result in results:
            # Scoring a text generates no tokens.
            generated = result.generated_tokens if isinstance(result, Completion) else 0
            cost = replace(
                cost,
                prompt_tokens=cost.prompt_tokens + result.prompt_tokens,
                cached_tokens=cost.cached_tokens + result.cached_tokens,
                generated_tokens=cost.generated_tokens + generated,
            )
        self.cost = replace(cost, rollouts=cost.rollouts + rollouts)


class ProblemContext:
    """What a problem annotator may use on one problem. Costs are recorded per trace."""

    def __init__(
        self,
        services: RunServices,
        split: Callable[[str], tuple[str, ...]],
        method: str,
        contexts: Sequence[AnnotationContext],
    ) -> None:
        self.contexts = tuple(contexts)
        """The contexts of the sampled traces of the problem, one or more."""
        self.discovered: list[Discovered] = []
        self._services = services
        self._split = split
        self._method = method
        self._context_of = {context.trace.trace_id: context for context in contexts}

    @property
    def all_contexts(self) -> Sequence[AnnotationContext]:
        """The contexts of the sampled traces, followed by those of the discovered traces."""
        return list(self._context_of.values())

    async def rollouts(self, trace: Trace, prefix_steps: int, count: int) -> Sequence[Rollout]:
        """Sample rollouts from a sampled or discovered trace; see `AnnotationContext.rollouts`."""
        return await self._context_of[trace.trace_id].rollouts(prefix_steps, count)

    def steps(self, trace: Trace, rollout: Rollout) -> tuple[str, ...]:
        """Return the steps of the solution that a rollout from a trace completes.

        Only the rollout's own text is split. Splitting the whole solution again could change the
        boundaries of the prefix that the rollout continued.
        """
        return trace.steps[: rollout.prefix_steps] + self._split(rollout.text)

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
            trace_id=digest("trace", rollout.rollout_id),
            problem_id=trace.problem_id,
            steps=self.steps(trace, rollout),
            final_answer=rollout.final_answer,
            outcome=rollout.outcome,
            outcome_reason=rollout.outcome_reason,
            model=engine.model_name,
            sampling=replace(self._services.rollout_sampling, n=1, seed=rollout.seed),
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            cached_tokens=rollout.cached_tokens,
            generated_tokens=rollout.generated_tokens,
            found_by=self._method,
            parent_trace_id=trace.trace_id,
            parent_steps=rollout.prefix_steps,
            rollout_id=rollout.rollout_id,
        )
        self.discovered.append(discovered)
        any_context = self.contexts[0]  # all contexts have the same problem and group
        self._context_of[discovered.trace_id] = AnnotationContext(
            self._services, self._method, any_context.problem, discovered, any_context.group
        )
        return discovered
