"""Datasets of format 1 (before completions were stored): keep their texts, under today's ids.

In format 1 the ids of traces and rollouts, and the seeds of requests, depended on the versions of
the grader and the splitter. The texts themselves depend on the engine, the prompt and the sampling
alone. A migration stores every text under its key (`engines.base.completion_keys`), as if today's
code had requested it, and gives the rows of all tables the ids that today's code derives. A run
then finds the texts and requests none of them again.

Texts are stored only if the part key of the traces proves that the engine and the prompt of the
dataset's run file are the ones that wrote them. Otherwise the dataset stays as it is, and a run
refuses to replace its traces.

The new ids are written to a file before the first part is rewritten, and the problems are rewritten
last: a killed migration continues.
"""

import asyncio
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from annotators.context import ProblemGroup, rollout_seed
from annotators.judging.critic import Critic
from annotators.judging.reply_parser import MAX_REPLY_CHARS
from annotators.methods.judge import Judge
from engines.base import Engine, Prompt, completion_keys
from pipelines.run import plan as planning
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.config import parse
from pipelines.run.plan import Plan
from pipelines.run.traces import is_rejected
from problems.base import problem_id_of
from stepmark.errors import DatasetError, UserError
from stepmark.identity import content_id, digest, fingerprint, seed_for
from stepmark.records import (
    Critique,
    Problem,
    Rollout,
    Sampling,
    StoredCompletion,
    Trace,
)
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)

__all__ = ["migrate", "shards_of_format_1"]

FORMAT = 1
"""The format of the parts that are migrated."""
SPLIT_VERSION = 1
# For each grader: the version of its answer extractor and the fingerprint of its verifier when
# format 1 ended. Part keys of that time contain them, and they never change again.
GRADERS: Mapping[str, tuple[int, str]] = {
    "answers": (2, "12a280cea11a0411"),
    "code": (1, "e480338c991ed7de"),
}


async def migrate(dataset: Dataset) -> int:
    """Migrate a dataset of format 1; return the number of completions that were stored.

    The caller must hold the writer lock. Does nothing if the dataset has another format, or if the
    run file in it cannot be read by this version.
    """
    shards = await asyncio.to_thread(shards_of_format_1, dataset)
    plans = await asyncio.to_thread(_plans, dataset) if shards else []
    if not plans:
        return 0
    store = CompletionStore(dataset)
    await asyncio.to_thread(store.open)
    stored = 0
    for shard in shards:
        migration = _Migration(dataset=dataset, plans=plans, shard=shard)
        ids = await asyncio.to_thread(_read_ids, dataset, shard)
        if ids is None:
            if not await asyncio.to_thread(migration.is_proven):
                continue
            rows = await asyncio.to_thread(migration.completions)
            problems = [problem.problem_id for problem in migration.new_problems.values()]
            shard_store = store.shard(shard, problems)
            await shard_store.put(rows)
            # The texts are stored before the first table is rewritten.
            await shard_store.close(compact=True)
            stored += len(rows)
            ids = await asyncio.to_thread(migration.new_ids)
            await asyncio.to_thread(_write_ids, dataset, shard, ids)
        await asyncio.to_thread(migration.rewrite_tables, ids)
        await asyncio.to_thread(dataset.folder.remove, _ids_path(shard))
    return stored


@dataclass(frozen=True, kw_only=True)
class _Ids:
    """Today's ids of the rows of a shard, by their ids in format 1."""

    traces: Mapping[str, str]
    """Of sampled, imported and discovered traces."""
    rollouts: Mapping[str, str]
    seeds: Mapping[str, int]
    """Today's seeds of rollouts."""

    def rename(self, row: Any) -> Any:
        """Return a row of any table with today's ids; ids that are not listed stay."""
        changes = dict[str, Any]()
        for name, ids in (
            ("trace_id", self.traces),
            ("parent_trace_id", self.traces),
            ("rollout_id", self.rollouts),
        ):
            old_id = getattr(row, name, None)
            if old_id is not None:
                changes[name] = ids.get(old_id, old_id)
        if isinstance(row, Rollout):
            changes["seed"] = self.seeds.get(row.rollout_id, row.seed)
        return replace(row, **changes)


def _ids_path(shard: int) -> str:
    return f".migration-{shard:05d}.json"


def _read_ids(dataset: Dataset, shard: int) -> _Ids | None:
    """Return the ids of a migration that was interrupted; None if there was none."""
    if not dataset.folder.has(_ids_path(shard)):
        return None
    with dataset.folder.reading(_ids_path(shard)) as file:
        try:
            return _Ids(**json.load(file))
        except (ValueError, TypeError) as error:
            location = dataset.folder.location(_ids_path(shard))
            raise DatasetError(f"{location} is damaged: replace it by a copy") from error


def _write_ids(dataset: Dataset, shard: int, ids: _Ids) -> None:
    with dataset.folder.writing(_ids_path(shard)) as file:
        file.write(json.dumps(asdict(ids)).encode())


def shards_of_format_1(dataset: Dataset) -> Sequence[int]:
    """Return the shards whose problems are of format 1."""
    shards = list[int]()
    for shard in dataset.shards(PROBLEMS):
        footer = dataset.footer(PROBLEMS, shard)
        if footer is not None and footer.format == FORMAT:
            shards.append(shard)
    return shards


def _plans(dataset: Dataset) -> Sequence[Plan]:
    """Return the plans of the run files in the dataset that this version can read.

    The first made the traces. A second one, of a later `stepmark label`, can have made annotations.
    """
    plans = list[Plan]()
    for text in dataset.read_run_files():
        try:
            plans.append(planning.build(parse(tomllib.loads(text), "run.toml")))
        except (UserError, ValueError, RecursionError):
            continue
    return plans


@dataclass(frozen=True, kw_only=True)
class _Migration:
    """The migration of one shard.

    The rows of format 1 are read once; ids and keys are computed from them.
    """

    dataset: Dataset
    plans: Sequence[Plan]
    shard: int

    @property
    def plan(self) -> Plan:
        """The plan that made the traces."""
        return self.plans[0]

    @cached_property
    def methods(self) -> Mapping[str, tuple[Plan, AnnotatorSpec]]:
        """The annotators by method, each with its plan: the one that can have made its parts."""
        methods = dict[str, tuple[Plan, AnnotatorSpec]]()
        for plan in self.plans:
            for method, spec in plan.annotators.items():
                if method not in methods or self._made(plan, spec):
                    methods[method] = (plan, spec)
        return methods

    @cached_property
    def problems(self) -> Mapping[str, Problem]:
        """The problems of the shard by their id in format 1."""
        rows = self.dataset.read_part(PROBLEMS, self.shard)
        return {problem.problem_id: problem for problem in rows}

    @cached_property
    def traces(self) -> Sequence[Trace]:
        """The sampled or imported traces of the shard, as in format 1."""
        return list(self.dataset.read_part(TRACES, self.shard))

    @cached_property
    def is_imported(self) -> bool:
        """Whether the traces were imported: then they keep their ids."""
        return all(trace.sampling is None for trace in self.traces)

    @cached_property
    def new_problems(self) -> Mapping[str, Problem]:
        """The problems with today's ids, by their id in format 1."""
        if self.is_imported:
            return self.problems
        renamed = dict[str, Problem]()
        for old_id, problem in self.problems.items():
            new_id = problem_id_of(problem.question, problem.answer)
            renamed[old_id] = replace(problem, problem_id=new_id)
        return renamed

    def is_proven(self) -> bool:
        """Return whether engine and prompt of the run file are those that wrote the traces."""
        footer = self.dataset.footer(TRACES, self.shard)
        problems = self.dataset.footer(PROBLEMS, self.shard)
        if footer is None or problems is None or footer.format != FORMAT:
            # The traces are migrated already, or missing: then there is nothing to derive from.
            return False
        if self.is_imported:
            return True
        traces_per_problem = self.plan.run_file.generate.traces_per_problem
        traces = _traces_of_format_1(self.plan)
        part_key = digest(traces, traces_per_problem, problems.part_key)
        return footer.part_key == part_key

    def completions(self) -> Sequence[StoredCompletion]:
        """Return what engines wrote for this shard, under today's keys."""
        rows = list[StoredCompletion]()
        for trace in self.traces:
            # A request that the engine rejected has no completion.
            if trace.trace_id in self._trace_keys and not is_rejected(trace):
                key, seed = self._trace_keys[trace.trace_id]
                rows.append(_stored(key, trace, "".join(trace.steps), trace.model, seed))
        for plan, spec in self.methods.values():
            rows.extend(self._rollout_completions(plan, spec))
            if isinstance(spec.plugin, Judge):
                rows.extend(self._reply_completions(plan, spec, spec.plugin))
        return rows

    def new_ids(self) -> _Ids:
        """Return today's ids of all traces and rollouts."""
        rollout_ids = dict[str, str]()
        seeds = dict[str, int]()
        for method in self.dataset.methods("rollouts"):
            for rollout, key, seed in self._keyed_rollouts(method):
                rollout_ids[rollout.rollout_id] = key.hex()
                seeds[rollout.rollout_id] = seed
        trace_ids = dict(self._new_trace_ids)
        for method in self.dataset.methods("discovered"):
            for trace in self._part(discovered(method)):
                if trace.rollout_id in rollout_ids:
                    new_id = content_id("trace", rollout_ids[trace.rollout_id])
                    trace_ids[trace.trace_id] = new_id
        return _Ids(traces=trace_ids, rollouts=rollout_ids, seeds=seeds)

    def rewrite_tables(self, ids: _Ids) -> None:
        """Write the tables of the shard again with today's ids; the problems come last."""
        tables: list[Table[Any]] = [LABELS]
        for kind, table_of in (
            ("annotations", annotations),
            ("rollouts", rollouts),
            ("critiques", critiques),
            ("discovered", discovered),
        ):
            tables.extend(map(table_of, self.dataset.methods(kind)))
        for table in tables:
            self._rewrite(table, map(ids.rename, self._with_new_problem(table)))
        self._rewrite(TRACES, map(ids.rename, self._with_new_problem(TRACES)))
        self._rewrite(PROBLEMS, list(self.new_problems.values()))

    def _with_new_problem(self, table: Table[Any]) -> Iterator[Any]:
        """Yield the rows of a part with today's ids of their problems, if they have one."""
        for row in self._part(table):
            if getattr(row, "problem_id", None) in self.new_problems:
                yield replace(row, problem_id=self.new_problems[row.problem_id].problem_id)
            else:
                yield row

    @cached_property
    def _trace_keys(self) -> Mapping[str, tuple[bytes, int]]:
        """The keys and seeds of the sampled traces, by their id in format 1."""
        keys = dict[str, tuple[bytes, int]]()
        for trace in self.traces:
            if trace.sampling is None or self.plan.engine is None:
                continue
            run_seed = self.plan.run_file.seed
            index = trace.sampling.seed - seed_for(run_seed, "trace", trace.problem_id)
            problem = self.new_problems[trace.problem_id]
            seed = seed_for(run_seed, "trace", problem.problem_id) + index
            sampling = replace(trace.sampling, n=1, seed=seed)
            prompt = self.plan.solve_prompt(problem)
            (key,) = completion_keys(self.plan.engine.identity, prompt, sampling)
            keys[trace.trace_id] = (key, seed)
        return keys

    @cached_property
    def _new_trace_ids(self) -> Mapping[str, str]:
        """Today's ids of the sampled and imported traces, by their id in format 1."""
        ids = dict[str, str]()
        for trace in self.traces:
            ids[trace.trace_id] = trace.trace_id
            if trace.trace_id in self._trace_keys:
                problem_id = self.new_problems[trace.problem_id].problem_id
                key, _ = self._trace_keys[trace.trace_id]
                ids[trace.trace_id] = content_id("trace", problem_id, key.hex())
        return ids

    def _keyed_rollouts(self, method: str) -> Iterator[tuple[Rollout, bytes, int]]:
        """Yield the rollouts of a method, each with today's key and seed."""
        if method not in self.methods:
            return
        plan, spec = self.methods[method]
        if spec.engine is None:
            return
        identity = spec.engine.identity
        groups = self._groups(method)
        traces = dict[str, Trace]()
        for group in groups.values():
            for trace in (*group.traces.values(), *group.discovered):
                traces[trace.trace_id] = trace
        for rollout in self._part(rollouts(method)):
            trace = traces[rollout.trace_id]
            group = groups[trace.problem_id]
            problem = self.new_problems[trace.problem_id]
            prefix = "".join(trace.steps[: rollout.prefix_steps])
            # In format 1 the id of a rollout ended with the number of its attempt.
            attempt = int(rollout.rollout_id.rpartition("-")[2])
            occurrence = group.occurrence(trace, prefix)
            seed = attempt + rollout_seed(
                plan.run_file.seed, method, problem.problem_id, prefix, occurrence
            )
            sampling = plan.sampling(n=1, seed=seed)
            prompt = replace(plan.solve_prompt(problem), prefix=prefix)
            (key,) = completion_keys(identity, prompt, sampling)
            yield rollout, key, seed

    def _groups(self, method: str) -> Mapping[str, ProblemGroup]:
        """Return the traces of each problem, by the problem's id in format 1."""
        groups = dict[str, ProblemGroup]()
        for trace in self.traces:
            group = groups.setdefault(trace.problem_id, ProblemGroup(traces={}))
            group.traces[trace.trace_id] = trace
        for trace in self._part(discovered(method)):
            groups[trace.problem_id].discovered.append(trace)
        return groups

    def _rollout_completions(self, plan: Plan, spec: AnnotatorSpec) -> Iterator[StoredCompletion]:
        engine = spec.engine
        if engine is not None and self._wrote(engine, plan, spec):
            for rollout, key, seed in self._keyed_rollouts(spec.name):
                row = replace(rollout, seed=seed)
                yield _stored(key, row, rollout.text, engine.model_name, seed)

    def _reply_completions(
        self, plan: Plan, spec: AnnotatorSpec, judge: Judge
    ) -> Iterator[StoredCompletion]:
        """Yield the replies of a judge. Those of a meta-critic are left out: they are few."""
        # In format 1 there was a single judge.
        engine = spec.judges[0]
        if not self._wrote(engine, plan, spec):
            return
        replies = dict[tuple[str, str, int, int | None], Critique]()
        for critique in self._part(critiques(spec.name)):
            replies[critique.trace_id, critique.prompt, critique.vote, critique.step] = critique
        for trace in self.traces:
            problem = self.new_problems[trace.problem_id]
            new_id = self._new_trace_ids[trace.trace_id]
            for number, (critic, step, prompt) in enumerate(_judge_requests(judge, problem, trace)):
                sampling = Sampling(
                    n=judge.votes,
                    temperature=judge.temperature,
                    max_tokens=judge.max_tokens,
                    seed=seed_for(plan.run_file.seed, spec.name, new_id, number),
                )
                keys = completion_keys(engine.identity, prompt, sampling)
                for vote, key in enumerate(keys):
                    reply = replies.get((trace.trace_id, critic.name, vote, step))
                    # A reply that was cut for the table is not what the engine returned.
                    if reply is not None and len(reply.text) < MAX_REPLY_CHARS:
                        seed = sampling.seed + vote
                        yield _stored(key, reply, reply.text, engine.model_name, seed)

    def _wrote(self, engine: Engine, plan: Plan, spec: AnnotatorSpec) -> bool:
        """Return whether an engine is proven to have written a method's texts."""
        # `is_proven` has compared the part key of the traces, which the same engine wrote.
        wrote_traces = engine is self.plan.engine and not self.is_imported
        return wrote_traces or self._made(plan, spec)

    def _made(self, plan: Plan, spec: AnnotatorSpec) -> bool:
        """Return whether the part key proves that a plan made the annotations of a method."""
        annotated = self.dataset.footer(annotations(spec.name), self.shard)
        traces = self.dataset.footer(TRACES, self.shard)
        if annotated is None or traces is None:
            return False
        return annotated.part_key == digest(_annotations_of_format_1(plan, spec), traces.part_key)

    def _part(self, table: Table[Any]) -> Iterator[Any]:
        """Yield the rows that a table has for the shard."""
        if self.dataset.footer(table, self.shard) is not None:
            yield from self.dataset.read_part(table, self.shard)

    def _rewrite(self, table: Table[Any], rows: Iterable[Any]) -> None:
        """Write a part again under its part key, if it exists.

        A part that an interrupted migration has rewritten already comes out the same.
        """
        footer = self.dataset.footer(table, self.shard)
        if footer is not None:
            # Read completely before the part is replaced.
            self.dataset.write_part(table, self.shard, list(rows), footer.part_key)


def _annotations_of_format_1(plan: Plan, spec: AnnotatorSpec) -> str:
    """Return the row fingerprint that a method had in format 1."""
    inputs = ["", ""]
    if spec.engine is not None:
        inputs[0] = _solutions_of_format_1(plan, spec.engine)
    if spec.judges:
        inputs[1] = spec.judges[0].identity
    if spec.discovers_traces:
        inputs.append(_traces_of_format_1(plan))
    for dependency in spec.depends_on:
        inputs.append(_annotations_of_format_1(plan, dependency))
    return fingerprint(spec.plugin, spec.name, digest(plan.run_file.seed), *inputs)


def _traces_of_format_1(plan: Plan) -> str:
    """Return the fingerprint that traces had in format 1."""
    solutions = _solutions_of_format_1(plan, plan.engine)
    return digest(solutions, plan.run_file.generate.split, SPLIT_VERSION)


def _solutions_of_format_1(plan: Plan, engine: Engine | None) -> str:
    """Return the fingerprint that the solutions of an engine and their grades had in format 1."""
    generate = plan.run_file.generate
    # Format 1 had no chains of graders.
    name = generate.grader if isinstance(generate.grader, str) else generate.grader[0]
    extractor, verifier = GRADERS[name]
    return digest(
        engine.identity if engine is not None else "",
        plan.run_file.seed,
        plan.template,
        generate.temperature,
        generate.top_p,
        generate.max_tokens,
        generate.stop,
        extractor,
        verifier,
    )


def _judge_requests(
    judge: Judge, problem: Problem, trace: Trace
) -> Iterator[tuple[Critic, int | None, Prompt]]:
    """Yield the requests of a judge on a trace, each with its critic and the step it is about."""
    for critic in judge.critics:
        if critic.skip_reason(problem, trace) or not trace.steps:
            continue
        for index, prompt in enumerate(critic.prompts(problem, trace)):
            yield critic, index if critic.uses("number") else None, prompt


def _stored(
    key: bytes, row: Trace | Rollout | Critique, text: str, model: str, seed: int
) -> StoredCompletion:
    return StoredCompletion(
        key=key,
        model=model,
        seed=seed,
        text=text,
        finish_reason=row.finish_reason,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        generated_tokens=row.generated_tokens,
        reasoning=row.reasoning,
    )
