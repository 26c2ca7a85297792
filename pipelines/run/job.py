"""The stages of a run, as plain async functions: each makes one part of one table, whole, and skips it when it exists.

    problems -> traces -> annotations of every method (+ rollouts, critiques, discovered traces) -> oracle -> labels

Prefect runs and retries them (see `flow`); what is done is told by the parts that exist and by nothing else. Files are read and written,
and oracles and labelers heard, in threads: the event loop is the engines' and the annotators' alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from annotators.base import Annotator, FitsPerShard, ProblemAnnotator
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade, ProblemContext, ProblemGroup, RunServices
from annotators.running import run as annotate
from annotators.running import run_problem
from engines.base import Completion, Engine
from pipelines.run.dataset_reader import Contents
from pipelines.run.grading import grade, why_ungradable
from pipelines.run.labelling import Labelling
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from pipelines.run.token_budget import Demand, Door
from problems.base import Oracle
from stepmark import plugins
from stepmark.errors import DatasetError, EngineError
from stepmark.identity import digest, seed_for
from stepmark.records import (
    Annotation,
    Cost,
    Problem,
    Rejected,
    StepAnnotation,
    Trace,
    first_error_of,
)
from stepmark.steps import split
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PER_METHOD,
    PROBLEMS,
    REJECTED,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from verifiers.isolation.pool import Isolated

__all__ = ["Job"]

ORACLE = "oracle"
REFUSED = "error: "


@dataclass(frozen=True, kw_only=True)
class Job:
    """A plan at work on a dataset."""

    plan: Plan
    dataset: Dataset
    meter: Meter
    workers: Isolated = field(default_factory=Isolated)

    async def make_problems(self) -> Mapping[int, str]:
        """Write the problems, and the rows set aside, shard by shard; returns each shard's stamp, which is of the rows themselves.

        A problem whose own reference cannot be graded against is set aside too: nothing that is written about it could ever count.
        """
        source, stamps, anew = self.plan.source, dict[int, str](), False
        assert source is not None, "only `run` makes problems, and it asks for [problems]"
        rows = enumerate(source.problems(), start=1)
        while chunk := await self._chunk(rows):
            found = [row for row in chunk if isinstance(row, Problem)]
            aside = [row for row in chunk if isinstance(row, Rejected)]
            self.meter.finish("problems", len(found))
            self.meter.finish("rows set aside", len(aside))
            stamps[len(stamps)], anew = await asyncio.to_thread(
                self._write_problems, stamps, found, aside, anew=anew
            )
        if not stamps:
            raise DatasetError("the source has no problem; nothing was changed")
        await asyncio.to_thread(self._keep_problems, stamps)
        return stamps

    def _write_problems(
        self,
        before: Mapping[int, str],
        found: Sequence[Problem],
        aside: Sequence[Rejected],
        *,
        anew: bool,
    ) -> tuple[str, bool]:
        """Write the next shard after those `before`, unless it stands there; returns its stamp, and whether it was made anew.

        Once one is made `anew`, those that stand behind it are another source's: they are dropped then, and no later shard stands.
        """
        shard, stamp = len(before), digest("problems", found, aside)
        if not anew:
            if all(self.dataset.has_part(table, shard, stamp) for table in (PROBLEMS, REJECTED)):
                return stamp, False
            if not found and not before:
                raise DatasetError(_unusable(aside[0]))
            self._keep_problems(before)
        self.dataset.write_part(REJECTED, shard, aside, stamp)
        self.dataset.write_part(PROBLEMS, shard, found, stamp)
        return stamp, True

    async def _chunk(
        self, rows: Iterator[tuple[int, Problem | Rejected]]
    ) -> Sequence[Problem | Rejected]:
        """The next rows up to and including a shard's number of problems; a source may take its time, so a thread waits for it."""
        chunk = list[Problem | Rejected]()
        while missing := self.plan.run_file.shards.problems_per_shard - sum(
            isinstance(row, Problem) for row in chunk
        ):
            more = await asyncio.to_thread(list, islice(rows, missing))
            chunk += await gather_or_cancel(self._gradable(number, row) for number, row in more)
            if not more:
                break
        return chunk

    async def _gradable(self, number: int, row: Problem | Rejected) -> Problem | Rejected:
        """The row, or why it is set aside; `number` is its place among all that the source gives."""
        if isinstance(row, Rejected) or row.answer is None:
            return row
        reason = await why_ungradable(
            self.workers, row.answer, grader=self.plan.run_file.generate.grader
        )
        return (
            Rejected(file=row.source, row=number, field="answer", reason=reason) if reason else row
        )

    def _keep_problems(self, stamps: Mapping[int, str]) -> None:
        for table in (PROBLEMS, REJECTED):
            self.dataset.keep(table, stamps)

    def drop_stale(self, traces: Mapping[int, str]) -> None:
        """Remove every part that is not what this run would write over traces of these stamps, by shard: rows never mix."""
        for table, wanted in self._wanted(traces):
            self.dataset.keep(table, wanted)

    async def ask_before_dropping(self, traces: Mapping[int, str]) -> None:
        """Have the engines answer once before anything they wrote is dropped: one that is down or misnamed costs nothing."""
        written = ((table, wanted) for table, wanted in self._wanted(traces) if table is not LABELS)
        doomed = (
            (table, shard)
            for table, wanted in written
            for shard in self.dataset.strays(table, wanted)
        )
        problem = next(self.dataset.read(PROBLEMS), None)
        if problem is None or not any(self.dataset.footer(table, shard) for table, shard in doomed):
            return
        sampling = replace(self.plan.sampling(n=1, seed=0), max_tokens=1)
        for engine in self._engines():
            try:
                await engine.complete(self.plan.solve_prompt(problem), sampling)
            except EngineError as error:
                if error.retryable:
                    raise

    def _wanted(self, traces: Mapping[int, str]) -> Iterator[tuple[Table[Any], Mapping[int, str]]]:
        """Every table after the problems, with the stamps that may stand in it."""
        yield TRACES, traces
        standing = {
            shard: stamp
            for shard, stamp in traces.items()
            if self.dataset.has_part(TRACES, shard, stamp)
        }
        # A run killed between them leaves rollouts, critiques or discovered traces without annotations.
        for method in {method for kind in PER_METHOD for method in self.dataset.methods(kind)}:
            wanted = {
                shard: self._annotations_wanted(method, shard, stamp)
                for shard, stamp in standing.items()
            }
            yield annotations(method), wanted
            yield rollouts(method), wanted
            yield critiques(method), wanted
            yield discovered(method), wanted
        yield (
            LABELS,
            {
                shard: stamp
                for shard, stamp in self.labelling.stamps(traces).items()
                if shard in standing
            },
        )

    def _annotations_wanted(self, method: str, shard: int, traces: str) -> str:
        if method in self.plan.annotators:
            return self.plan.annotations_stamp(method, traces)
        standing = self.dataset.footer(
            annotations(method), shard
        )  # of a method that this run file does not name
        return standing.fingerprint if standing is not None else ""

    async def make_traces(self, shard: int) -> None:
        """Have the engine write the traces of a shard's problems, all requests at once."""
        stamp = self.plan.traces_stamp(
            await asyncio.to_thread(self.contents.stamp, PROBLEMS, shard)
        )
        if await asyncio.to_thread(self.dataset.has_part, TRACES, shard, stamp):
            return
        problems = await asyncio.to_thread(lambda: list(self.dataset.read_part(PROBLEMS, shard)))
        self.meter.expect("traces", len(problems) * self.plan.run_file.generate.traces_per_problem)
        written = await gather_or_cancel(
            map(partial(self._solve, self.plan.traces_fingerprint()), problems)
        )
        self._refuse_refusals(written)
        await asyncio.to_thread(
            self.dataset.write_part,
            TRACES,
            shard,
            [trace for traces in written for trace in traces],
            stamp,
        )

    async def make_oracle(self, shard: int) -> None:
        """Write the truth of every step, also of the traces that were discovered, where the source of the problems knows it."""
        if self.plan.oracle is not None:
            await asyncio.to_thread(self._tell, self.plan.oracle, shard)

    def _tell(self, oracle: Oracle, shard: int) -> None:
        fingerprint = digest(
            ORACLE, plugins.identity_of(type(oracle)), getattr(oracle, "version", 0)
        )
        stamp = digest(
            fingerprint,
            *(self.contents.stamp(table, shard) for table in self.contents.tables_of_traces()),
        )
        if self.dataset.has_part(annotations(ORACLE), shard, stamp):
            return
        truths = [
            _told_by(oracle, problem, trace, fingerprint)
            for problem, trace in self.contents.traces(shard, *self.contents.tables_of_traces())
        ]
        self.dataset.write_part(annotations(ORACLE), shard, truths, stamp)

    async def make_annotations(self, shard: int, method: str) -> None:
        """Have a method annotate all traces of a shard at once; all else that it has to write is written before its annotations."""
        stamp = self.plan.annotations_stamp(
            method, await asyncio.to_thread(self.contents.stamp, TRACES, shard)
        )
        if await asyncio.to_thread(self.dataset.has_part, annotations(method), shard, stamp):
            return
        desk = await asyncio.to_thread(self._tools, shard, method)
        self.meter.expect(method, len(desk))
        annotator = self.plan.annotators[method]
        if isinstance(annotator, ProblemAnnotator):
            sites = self._sites(method, desk)
            explore_one = partial(
                self._explore, annotator, method, self.plan.annotations_fingerprint(method)
            )
            done = [
                annotation
                for said in await gather_or_cancel(map(explore_one, sites))
                for annotation in said
            ]
            found = [trace for site in sites for trace in site.discovered]
            await asyncio.to_thread(
                self.dataset.write_part, discovered(method), shard, found, stamp
            )
            desk = [context for site in sites for context in site.all_contexts]
        else:
            if isinstance(annotator, FitsPerShard):
                annotator = await annotator.fit(desk)
            run_one = partial(
                self._annotate, annotator, method, self.plan.annotations_fingerprint(method)
            )
            done = list(await gather_or_cancel(map(run_one, desk)))
        await asyncio.to_thread(self._write_annotations, shard, method, stamp, desk, done)

    def _write_annotations(
        self,
        shard: int,
        method: str,
        stamp: str,
        desk: Sequence[AnnotationContext],
        done: Sequence[Annotation],
    ) -> None:
        if spent := [rollout for context in desk for rollout in context.sampled_rollouts]:
            self.dataset.write_part(rollouts(method), shard, spent, stamp)
        if heard := [critique for context in desk for critique in context.critiques]:
            self.dataset.write_part(critiques(method), shard, heard, stamp)
        self.dataset.write_part(annotations(method), shard, done, stamp)

    def _tools(self, shard: int, method: str) -> Sequence[AnnotationContext]:
        """What the method may use on each trace of a shard."""
        traces, hears = list(self.contents.traces(shard)), self.plan.hears(method)
        families = {problem.problem_id: ProblemGroup(traces={}) for problem, _ in traces}
        family_of = dict[str, ProblemGroup]()
        for problem, trace in traces:
            family = family_of[trace.trace_id] = families[problem.problem_id]
            family.traces[trace.trace_id] = trace
        # Rollouts of another model say nothing of what this one would write.
        alike = [
            heard
            for heard in hears
            if (heard in self.plan.proving) == (method in self.plan.proving)
        ]
        for table in map(rollouts, alike):
            for rollout in (
                self.dataset.read_part(table, shard) if self.dataset.footer(table, shard) else ()
            ):
                if rollout.trace_id in family_of:  # not of a trace that was discovered
                    family_of[rollout.trace_id].rollouts.append(rollout)
        said = (
            {
                trace.trace_id: annotations
                for trace, annotations in self.contents.cases(shard, hears, TRACES)
            }
            if hears
            else {}
        )
        open_ = partial(AnnotationContext, self._services(method), method)
        return [
            open_(problem, trace, family_of[trace.trace_id], said.get(trace.trace_id))
            for problem, trace in traces
        ]

    def _sites(self, method: str, desk: Sequence[AnnotationContext]) -> Sequence[ProblemContext]:
        """The same, problem by problem."""
        of_problem = defaultdict[str, list[AnnotationContext]](list)
        for context in desk:
            of_problem[context.problem.problem_id].append(context)
        cut = partial(split, how=self.plan.run_file.generate.split)
        return [
            ProblemContext(self._services(method), cut, method, own) for own in of_problem.values()
        ]

    @property
    def contents(self) -> Contents:
        """What stands in the dataset."""
        return Contents(dataset=self.dataset, explorers=self.plan.explorers)

    @property
    def labelling(self) -> Labelling:
        """The last stage."""
        return Labelling(plan=self.plan, dataset=self.dataset, meter=self.meter)

    async def close(self) -> None:
        """End the workers and the engines."""
        await self.workers.close()
        for engine in self._engines():
            await engine.close()

    def counted(self, demand: Demand, asking: asyncio.Event) -> "Job":
        """The job as one shard does it: what it asks the engines is counted, and its first request sets `asking`."""
        doors = {
            id(engine): Door(engine=engine, demand=demand, asking=asking)
            for engine in self._engines()
        }
        plan = self.plan
        engine, judge, prover = (
            each and doors[id(each)]
            for each in (plan.engine, plan.judge_engine, plan.prover_engine)
        )
        return replace(
            self, plan=replace(plan, engine=engine, judge_engine=judge, prover_engine=prover)
        )

    def _engines(self) -> Sequence[Engine]:
        return list(
            {
                id(e): e
                for e in (self.plan.engine, self.plan.judge_engine, self.plan.prover_engine)
                if e is not None
            }.values()
        )

    async def _solve(self, fingerprint: str, problem: Problem) -> Sequence[Trace]:
        engine, run_file = self.plan.engine, self.plan.run_file
        if engine is None:
            raise DatasetError(
                "the dataset holds no traces and the run file has no [engine] to write them"
            )
        seed = seed_for(run_file.seed, "trace", problem.problem_id)
        sampling = self.plan.sampling(n=run_file.generate.traces_per_problem, seed=seed)
        try:
            completions = await engine.complete(self.plan.solve_prompt(problem), sampling)
        except EngineError as error:
            if error.retryable:
                raise
            completions = [_refused(error)] * sampling.n
        traces = [
            await self._trace(fingerprint, problem, completion, index, seed)
            for index, completion in enumerate(completions)
        ]
        self.meter.finish("traces", len(traces))
        return traces

    def _refuse_refusals(self, written: Sequence[Sequence[Trace]]) -> None:
        """One problem may be too long for the model; an engine that has refused everything it was asked is set up wrongly."""
        reasons = [trace.finish_reason for traces in written for trace in traces]
        if (
            len(written) > 1
            and not self.meter.generated_tokens
            and all(reason.startswith(REFUSED) for reason in reasons)
        ):
            raise EngineError(
                f"the engine refused every problem: {reasons[0].removeprefix(REFUSED)}",
                retryable=False,
            )

    async def _trace(
        self, fingerprint: str, problem: Problem, completion: Completion, index: int, seed: int
    ) -> Trace:
        assert self.plan.engine is not None
        graded = await self._grade(completion.text, completion.finish_reason, problem.answer)
        self.meter.pay(_cost(completion))
        return Trace(
            trace_id=digest("trace", fingerprint, problem.problem_id, index),
            problem_id=problem.problem_id,
            steps=split(completion.text, self.plan.run_file.generate.split),
            final_answer=graded.final_answer,
            outcome=graded.outcome,
            outcome_reason=graded.reason,
            model=self.plan.engine.model_name,
            sampling=self.plan.sampling(n=1, seed=seed + index),
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            generated_tokens=completion.generated_tokens,
        )

    async def _annotate(
        self, annotator: Annotator, method: str, fingerprint: str, context: AnnotationContext
    ) -> Annotation:
        annotation = await annotate(
            annotator, method, fingerprint, context.problem, context.trace, context
        )
        self.meter.pay(annotation.cost)
        self.meter.finish(method, failed=annotation.error is not None)
        return annotation

    async def _explore(
        self, explorer: ProblemAnnotator, method: str, fingerprint: str, context: ProblemContext
    ) -> Sequence[Annotation]:
        said = await run_problem(explorer, method, fingerprint, context)
        for annotation in said:
            self.meter.pay(annotation.cost)
        self.meter.finish(
            method,
            len(context.contexts),
            failed=any(annotation.error is not None for annotation in said),
        )
        return said

    @property
    def _grade(self) -> Callable[[str, str, str | None], Awaitable[Grade]]:
        return partial(grade, self.workers, grader=self.plan.run_file.generate.grader)

    def _services(self, method: str) -> RunServices:
        seed = self.plan.run_file.seed
        return RunServices(
            seed=seed,
            engine=self.plan.engine_of(method),
            judge_engine=self.plan.judge_engine,
            solve_prompt=self.plan.solve_prompt,
            rollout_sampling=self.plan.sampling(n=1, seed=seed),
            grade=self._grade,
            verify=self.workers.verify,
        )


def _unusable(row: Rejected) -> str:
    return f"the source has no usable problem, nothing was changed; {row.file}, row {row.row}, field '{row.field}': {row.reason}"


def _told_by(oracle: Oracle, problem: Problem, trace: Trace, fingerprint: str) -> Annotation:
    told = oracle.judge(problem, trace.steps)
    steps = tuple(StepAnnotation(verdict=verdict, rationale=reason) for verdict, reason in told)
    first_error = first_error_of([verdict for verdict, _ in told]) if told else None
    return Annotation(
        trace_id=trace.trace_id,
        method=ORACLE,
        fingerprint=fingerprint,
        first_error=first_error,
        steps=steps,
    )


def _refused(error: EngineError) -> Completion:
    """A request the engine will never answer is a trace without steps: recorded, unknown, and training nothing."""
    return Completion(
        text="",
        finish_reason=f"{REFUSED}{error}",
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=0,
    )


def _cost(completion: Completion) -> Cost:
    return Cost(
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        generated_tokens=completion.generated_tokens,
    )
