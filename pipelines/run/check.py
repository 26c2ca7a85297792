"""The check of a run file: one problem passes through its engines, its grader and its judges.

It costs some hundred tokens, takes less than a minute, and writes nothing. Long methods are not
run: what they need of an engine is checked instead.
"""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from annotators.context import AnnotationContext, ProblemGroup
from annotators.methods.answer_likelihood import AnswerLikelihood
from annotators.methods.judge import Judge
from annotators.running import run as annotate
from engines.base import Engine, Prompt
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.graders import grade, why_ungradable
from pipelines.run.run_context import RunContext
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from stepmark.errors import DatasetError, EngineError, EngineWarning, UserError
from stepmark.records import Problem, Sampling, Trace, Verdict
from storage.dataset.tables import TRACES

__all__ = ["Finding", "check_run", "describe_run"]

LIMIT_SECONDS = 50.0
"""The time after which the rest is not checked: a user waits for the result."""
# An engine requests the choices that a reply lacks again. Of three, a server that returns one at a
# time gives two short replies, which show that it never returns more.
CHOICES = 3
# A source with more rejected rows than this before its first problem is not searched further.
MAX_ROWS = 1000
MAX_CONTINUATION_TOKENS = 32
EXCERPT_CHARACTERS = 60
SETTING_CHARACTERS = 160
# The steps that are continued where the engine returned no solution.
FIXED_STEPS = ("Let us begin with what is given.\n", "So we can go on.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the result."""

    what: str
    text: str
    is_fault: bool = False
    """Whether a run would fail, or label nothing."""


def describe_run(run: RunContext) -> Iterator[Finding]:
    """Yield what a run will do, as its plan says."""
    plan = run.plan
    generate = plan.run_file.generate
    yield Finding(what="dataset", text=run.dataset.uri)
    if plan.source is not None:
        yield Finding(what="problems", text=_settings(plan.source))
    for name, engine in plan.engines.items():
        yield Finding(what=name, text=f"{type(engine).__name__}: {engine.model_name}")
    if plan.source is not None and plan.engine is not None:
        text = (
            f"{generate.traces_per_problem} per problem, temperature {generate.temperature:g}, at"
            f" most {generate.max_tokens} tokens, split by {generate.split}, graded by"
            f" {generate.grader}, prompt {generate.prompt}"
        )
        yield Finding(what="traces", text=text)
    for name, spec in plan.annotators.items():
        text = _settings(spec.plugin)
        engines = [spec.engine_name, *spec.judge_names]
        used = [engine for engine in engines if engine is not None]
        if used:
            text += f", with {', '.join(used)}"
        yield Finding(what=name, text=text)
    if plan.labeler is not None:
        yield Finding(what="label", text=_settings(plan.labeler))
    for plugin in plan.filters:
        yield Finding(what="filter", text=_settings(plugin))


Check = Callable[[], Awaitable[Finding]]


async def check_run(run: RunContext, seconds: float = LIMIT_SECONDS) -> AsyncIterator[Finding]:
    """Yield the result of each check, as soon as there is one."""
    budget = TokenBudget(run.plan.run_file.shards.tokens_in_flight)

    def metered(engine: Engine) -> Engine:
        return MeteredEngine(
            engine=engine, budget=budget, meter=run.meter, first_request=asyncio.Event()
        )

    plan = run.plan.with_engines(run.plan.engines.wrap(metered))
    check = _Check(run=replace(run, plan=plan), deadline=time.monotonic() + seconds)
    try:
        async for finding in check.findings():
            yield finding
        meter = run.meter
        text = (
            f"{meter.seconds:.0f} s, {meter.prompt_tokens} tokens read,"
            f" {meter.generated_tokens} written"
        )
        yield Finding(what="this check", text=text)
    finally:
        await run.close()


@dataclass(kw_only=True)
class _Check:
    """The checks of one run, with the problem and the solution that they share."""

    run: RunContext
    deadline: float
    problem: Problem | None = None
    trace: Trace | None = None

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield the findings in the order of the stages of a run."""
        plan = self.run.plan
        is_making_traces = plan.source is not None and plan.engine is not None
        checks: list[tuple[str, Check]] = [("solution", self._stored_solution)]
        if is_making_traces:
            checks = [("problem", self._problem), ("solution", self._solution)]
        for name, spec in plan.annotators.items():
            if isinstance(spec.plugin, Judge):
                checks.append((name, partial(self._verdicts, spec)))
            elif isinstance(spec.plugin, AnswerLikelihood):
                checks.append((name, partial(self._score, spec)))
            elif spec.engine is not None:
                checks.append((name, partial(self._continuation, spec)))
        for what, check in checks:
            for finding in await self._checked(what, check):
                yield finding
            if what in ("problem", "solution") and self.problem is None:
                return

    async def _checked(self, what: str, check: Check) -> Sequence[Finding]:
        """Return the finding of one check, or its failure, after the warnings about its engine."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EngineWarning)
            try:
                async with asyncio.timeout(max(0.0, self.deadline - time.monotonic())):
                    finding = await check()
            except TimeoutError:
                text = "not checked: no answer within the time of a check"
                finding = Finding(what=what, text=text, is_fault=True)
            except (UserError, EngineError) as error:
                finding = Finding(what=what, text=" ".join(str(error).split()), is_fault=True)
        found = list[Finding]()
        for warning in caught:
            if issubclass(warning.category, EngineWarning):
                found.append(Finding(what="warning", text=str(warning.message)))
        return [*found, finding]

    async def _problem(self) -> Finding:
        source = self.run.plan.source
        assert source is not None, "the caller has checked it"
        rows = await asyncio.to_thread(lambda: list(islice(source.problems(), 1)))
        if not any(isinstance(row, Problem) for row in rows):
            rows = await asyncio.to_thread(lambda: list(islice(source.problems(), MAX_ROWS)))
        problems = [row for row in rows if isinstance(row, Problem)]
        if not problems:
            raise DatasetError("the source has no usable problem")
        self.problem = problems[0]
        text = _excerpt(self.problem.question)
        answer = self.problem.answer
        if answer is None:
            return Finding(what="problem", text=f"{text}, without a reference answer")
        reason = await why_ungradable(self.run.workers, answer, grader=self.run.plan.grader)
        if reason:
            return Finding(what="problem", text=f"{text}, answer {answer!r}: {reason}")
        return Finding(what="problem", text=f"{text}, answer {_excerpt(answer)}")

    async def _solution(self) -> Finding:
        """Request several solutions of the problem and grade the first."""
        plan = self.run.plan
        engine = plan.engine
        problem = self.problem
        assert engine is not None, "the caller has checked it"
        assert problem is not None, "the check of the problem has set it"
        sampling = plan.sampling(n=CHOICES, seed=plan.run_file.seed)
        completions = await engine.complete(plan.solve_prompt(problem), sampling)
        first = completions[0]
        graded = await grade(
            self.run.workers,
            first.text,
            first.finish_reason,
            problem.answer,
            grader=plan.grader,
        )
        self.trace = _trace(problem, plan.splitter(first.text), engine.model_name, graded.outcome)
        reasons = ", ".join(sorted({completion.finish_reason for completion in completions}))
        if not self.trace.steps:
            text = f"the engine returned no text (finish reason {reasons})"
            if first.reasoning:
                text += ", but reasoning: raise max_tokens, or turn the reasoning off"
            return Finding(what="solution", text=text, is_fault=True)
        text = (
            f"{len(self.trace.steps)} steps, finish reason {reasons}, answer"
            f" {_excerpt(graded.final_answer or 'none')}: {graded.outcome} ({graded.reason})"
        )
        if first.reasoning:
            text += f", {len(first.reasoning)} characters of reasoning apart from it"
        return Finding(what="solution", text=text)

    async def _stored_solution(self) -> Finding:
        """Use the first solution of the dataset, which `stepmark label` would label."""
        run = self.run

        def first_trace() -> tuple[Problem, Trace] | None:
            run.dataset.require()
            for shard in run.dataset.shards(TRACES):
                for problem, trace in run.reader.traces(shard):
                    return problem, trace
            return None

        found = await asyncio.to_thread(first_trace)
        if found is None:
            raise DatasetError(f"{run.dataset.uri} holds no traces")
        self.problem, self.trace = found
        text = f"{len(self.trace.steps)} steps: {self.trace.outcome} ({self.trace.outcome_reason})"
        return Finding(what="solution", text=text)

    async def _continuation(self, spec: AnnotatorSpec) -> Finding:
        """Continue the first step, after a proof that the engine does so."""
        engine = spec.engine
        assert engine is not None, "the caller has checked it"
        steps = self._trace_with_steps().steps
        prompt = replace(self._prompt(), prefix=steps[0])
        sampling = self.run.plan.sampling(n=1, seed=self.run.plan.run_file.seed)
        sampling = replace(
            sampling, max_tokens=min(sampling.max_tokens, MAX_CONTINUATION_TOKENS), stop=()
        )
        (completion,) = await engine.complete(prompt, sampling)
        text = f"{_excerpt(steps[0])} is continued with {_excerpt(completion.text)}"
        return Finding(what=spec.name, text=text)

    async def _score(self, spec: AnnotatorSpec) -> Finding:
        """Score the reference answer after the first step."""
        engine = spec.engine
        assert engine is not None, "the method declares that it needs one"
        prompt = replace(self._prompt(), prefix=self._trace_with_steps().steps[0])
        scored = await engine.score(prompt, "The answer is 7.")
        text = f"the engine returns the log-probabilities of {len(scored.logprobs)} tokens"
        return Finding(what=spec.name, text=text)

    async def _verdicts(self, spec: AnnotatorSpec) -> Finding:
        """Ask each prompt of a judge once about the solution."""
        assert isinstance(spec.plugin, Judge)
        judge = replace(spec.plugin, votes=1, meta="")
        problem = self.problem
        trace = self._trace_with_steps()
        assert problem is not None, "`findings` ends without one"
        group = ProblemGroup(traces={trace.trace_id: trace})
        services = self.run.services(spec)
        context = AnnotationContext(services, spec.name, problem, trace, group)
        annotation = await annotate(judge, spec.name, "", problem, trace, context)
        if annotation.error is not None:
            return Finding(what=spec.name, text=annotation.error, is_fault=True)
        if not context.critiques:
            return Finding(what=spec.name, text=annotation.steps[0].rationale)
        readable = 0
        for critique in context.critiques:
            readable += any(verdict is not Verdict.UNKNOWN for verdict in critique.verdicts)
        verdicts = ", ".join(step.verdict for step in annotation.steps)
        text = f"{readable} of {len(context.critiques)} replies have a verdict; steps: {verdicts}"
        if readable < len(context.critiques):
            text += f"; the first reply: {_excerpt(context.critiques[0].text)}"
        return Finding(what=spec.name, text=text, is_fault=readable == 0)

    def _prompt(self) -> Prompt:
        assert self.problem is not None, "`findings` ends without a problem"
        return self.run.plan.solve_prompt(self.problem)

    def _trace_with_steps(self) -> Trace:
        """Return the solution, or a fixed one if the engine returned none."""
        assert self.problem is not None, "`findings` ends without a problem"
        if self.trace is not None and self.trace.steps:
            return self.trace
        return _trace(self.problem, FIXED_STEPS, "", Verdict.UNKNOWN)


def _trace(problem: Problem, steps: tuple[str, ...], model: str, outcome: Verdict) -> Trace:
    return Trace(
        trace_id="check",
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=None,
        outcome=outcome,
        outcome_reason="",
        model=model,
        sampling=Sampling(),
    )


def _settings(plugin: object) -> str:
    """Return a plugin with its parameters, as its dataclass prints them."""
    text = repr(plugin)
    if len(text) > SETTING_CHARACTERS:
        return f"{text[:SETTING_CHARACTERS]}…"
    return text


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    if len(words) > EXCERPT_CHARACTERS:
        words = f"{words[:EXCERPT_CHARACTERS]}…"
    return repr(words)
