"""A run file made ready: its plugins built, its prompts read, and a fingerprint for everything it will write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from annotators.base import DependsOnAnnotators, FittableLabeler, Labeler, Method, ProblemAnnotator
from engines.base import Engine, Prompt
from filters.base import Filter, HasExternalInput
from pipelines.run.config import RunFile
from pipelines.run.grading import FINDERS
from problems.base import Oracle, Source
from stepmark import plugins, steps
from stepmark.errors import ConfigError
from stepmark.identity import digest, fingerprint
from stepmark.prompt_templates import fill, read_template
from stepmark.records import Problem, Sampling
from storage.dataset.tables import is_method

__all__ = ["Plan", "build"]

PROMPTS = Path(__file__).parents[1] / "prompts"
PROVER = "prover_engine"
# Names of gold.
RESERVED = ("oracle", "human")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    A fingerprint covers everything in the run file that could change a row, and stands in the row. A part's footer bears a stamp: the
    digest of the fingerprint and of the stamps of the parts it was made from, so more problems leave the shards as they are.
    """

    run_file: RunFile
    source: Source | None
    engine: Engine | None
    judge_engine: Engine | None
    prover_engine: Engine | None
    proving: frozenset[str]
    """The methods that have the prover write their rollouts, and not the engine that wrote the traces."""
    annotators: Mapping[str, Method]
    labeler: Labeler | FittableLabeler | None
    filters: Sequence[Filter]
    template: str

    @property
    def oracle(self) -> Oracle | None:
        """The source of the problems, where it knows the truth of every step."""
        return self.source if isinstance(self.source, Oracle) else None

    def solve_prompt(self, problem: Problem) -> Prompt:
        """What the engine is asked to write a solution, or to go on with one."""
        return Prompt(user=fill(self.template, question=problem.question))

    def engine_of(self, method: str) -> Engine | None:
        """The engine that writes a method's rollouts."""
        return self.prover_engine if method in self.proving else self.engine

    def sampling(self, *, n: int, seed: int) -> Sampling:
        """How traces and rollouts are sampled."""
        g = self.run_file.generate
        return Sampling(
            n=n,
            temperature=g.temperature,
            top_p=g.top_p,
            max_tokens=g.max_tokens,
            stop=g.stop,
            seed=seed,
        )

    def traces_fingerprint(self) -> str:
        """Of a trace."""
        return digest(self._writing[False], self.run_file.generate.split, steps.VERSION)

    def traces_stamp(self, problems: str) -> str:
        """Of the traces of a shard, given the stamp of its problems."""
        return digest(
            self.traces_fingerprint(), self.run_file.generate.traces_per_problem, problems
        )

    def annotations_fingerprint(self, method: str) -> str:
        """Of a method's annotation of a trace, and of the rollouts it rests on."""
        annotator = self.annotators[method]
        uses = [self._writing[method in self.proving] if "engine" in annotator.needs else ""]
        uses += [_identity(self.judge_engine) if "judge_engine" in annotator.needs else ""]
        uses += [self.traces_fingerprint()] if isinstance(annotator, ProblemAnnotator) else []
        heard = map(self.annotations_fingerprint, self.hears(method))
        return fingerprint(annotator, method, digest(self.run_file.seed), *uses, *heard)

    def hears(self, method: str) -> Sequence[str]:
        """The methods whose annotations a method builds on."""
        annotator = self.annotators[method]
        return annotator.evidence if isinstance(annotator, DependsOnAnnotators) else ()

    @property
    def waves(self) -> Sequence[Sequence[str]]:
        """The methods in the order in which they may start: those of one wave hear only those of the waves before it."""
        wave_of: dict[str, int] = {}
        for method in self.annotators:  # what a method hears stands before it
            wave_of[method] = 1 + max((wave_of[heard] for heard in self.hears(method)), default=-1)
        return [
            [method for method, wave in wave_of.items() if wave == number]
            for number in sorted(set(wave_of.values()))
        ]

    def annotations_stamp(self, method: str, traces: str) -> str:
        """Of a method's annotations of a shard, given the stamp of its traces."""
        return digest(self.annotations_fingerprint(method), traces)

    def labels_fingerprint(self) -> str:
        """Of a trace's label."""
        return fingerprint(
            self.labeler,
            *map(self.annotations_fingerprint, self.annotators),
            *self.filters_fingerprints(),
        )

    def filters_fingerprints(self) -> Sequence[str]:
        """Of the filters, in order; what one of them goes by is read, and a `UserError` where it cannot be."""
        return [
            fingerprint(each, each.content() if isinstance(each, HasExternalInput) else "")
            for each in self.filters
        ]

    @property
    def labels_wait(self) -> bool:
        """Whether a label can depend on the traces of all shards."""
        return isinstance(self.labeler, FittableLabeler) or bool(self.filters)

    @property
    def gold(self) -> str:
        """The method whose annotations labels are learned from as the truth; "" for none."""
        return self.labeler.gold if isinstance(self.labeler, FittableLabeler) else ""

    def labels_stamps(
        self, traces: Mapping[int, str], gold: Mapping[int, str]
    ) -> Mapping[int, str]:
        """Of the labels of every shard, given the stamps of its traces: of all shards' traces and `gold`, where labels depend on them."""
        fingerprint = self.labels_fingerprint()
        others = digest(sorted(traces.items()), sorted(gold.items())) if self.labels_wait else ""
        return {shard: digest(fingerprint, stamp, others) for shard, stamp in traces.items()}

    @property
    def explorers(self) -> Mapping[str, ProblemAnnotator]:
        """The methods that discover traces."""
        return {
            method: plugin
            for method, plugin in self.annotators.items()
            if isinstance(plugin, ProblemAnnotator)
        }

    @cached_property
    def _writing(self) -> Mapping[bool, str]:
        """As `_written_by`: False for the engine, True for the prover."""
        return {False: self._written_by(self.engine), True: self._written_by(self.prover_engine)}

    def _written_by(self, engine: Engine | None) -> str:
        """All that decides what solutions and rollouts look like and how they are graded."""
        g = self.run_file.generate
        grader = fingerprint(plugins.build("verifiers", {"use": g.grader}))
        return digest(
            *(
                _identity(engine),
                self.run_file.seed,
                self.template,
                g.temperature,
                g.top_p,
                g.max_tokens,
                g.stop,
            ),
            *(FINDERS[g.grader][1], grader),
        )


def build(run_file: RunFile) -> Plan:
    """Build all plugins a run file names; whatever cannot be is a `UserError` before anything has started."""
    generate = run_file.generate
    engine = plugins.build("engines", run_file.engine) if run_file.engine else None
    judge_engine = (
        plugins.build("engines", run_file.judge_engine) if run_file.judge_engine else engine
    )
    prover_engine = (
        plugins.build("engines", run_file.prover_engine) if run_file.prover_engine else None
    )
    annotators = _annotators(run_file.annotators)
    proving = _proving(run_file.annotators, annotators)
    _refuse_missing_engines(
        annotators, proving, {"engine": engine, "judge_engine": judge_engine, PROVER: prover_engine}
    )
    labeler = _labeler(run_file.label)
    if labeler is not None:
        labeler.check(list(annotators))
    elif run_file.filters:
        raise ConfigError(
            "[[filters]] leave labelled traces out, and without [label] there are none: add it"
        )
    steps.validate(generate.split)
    return Plan(
        run_file=run_file,
        source=plugins.build("problems", run_file.problems) if run_file.problems else None,
        engine=engine,
        judge_engine=judge_engine,
        prover_engine=prover_engine,
        proving=proving,
        annotators=annotators,
        labeler=labeler,
        filters=[plugins.build("filters", table) for table in run_file.filters],
        template=read_template(generate.prompt, PROMPTS, ("question",)),
    )


def _annotators(tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Method]:
    """Annotators by method name: the plugin's id, or `name` where one plugin is used twice."""
    built: dict[str, Method] = {}
    for table in tables:
        method = _method(table)
        if table.get("use") in plugins.available("labelers"):
            raise ConfigError(f"'{method}' labels, it does not annotate: put it in [label]")
        annotator = plugins.build(
            "annotators",
            {key: value for key, value in table.items() if key not in ("name", "engine")},
        )
        if not is_method(method) or method in RESERVED:
            raise ConfigError(
                f"[[annotators]] name = '{method}': use small letters, digits and _, and not {' or '.join(RESERVED)}"
            )
        if method in built:
            raise ConfigError(
                f"two [[annotators]] are called '{method}': give one of them a `name`"
            )
        for heard in annotator.evidence if isinstance(annotator, DependsOnAnnotators) else ():
            if heard not in built:
                raise ConfigError(
                    f"annotator '{method}' hears '{heard}': the run file must name that [[annotators]] before it"
                )
        built[method] = annotator
    return built


def _method(table: Mapping[str, Any]) -> str:
    return str(table.get("name", table.get("use", "")))


def _proving(
    tables: Sequence[Mapping[str, Any]], annotators: Mapping[str, Method]
) -> frozenset[str]:
    """The methods whose `engine` is the prover's."""
    asked = {_method(table): table["engine"] for table in tables if "engine" in table}
    for method, door in asked.items():
        if door not in ("engine", PROVER) or "engine" not in annotators[method].needs:
            raise ConfigError(
                f"annotator '{method}': engine = {door!r}: a method that has an engine write takes 'engine' or '{PROVER}'"
            )
    return frozenset(method for method, door in asked.items() if door == PROVER)


def _labeler(table: Mapping[str, Any] | None) -> Labeler | FittableLabeler | None:
    if table is None:
        return None
    if table.get("use") in plugins.available("annotators"):
        raise ConfigError(
            f"[label] use = '{table['use']}' annotates, it does not label: put it in [[annotators]]"
        )
    labeler: Labeler | FittableLabeler = plugins.build("labelers", table)
    return labeler


def _refuse_missing_engines(
    annotators: Mapping[str, Method], proving: frozenset[str], doors: Mapping[str, Engine | None]
) -> None:
    for method, annotator in annotators.items():
        needs = (
            PROVER if door == "engine" and method in proving else door
            for door in sorted(annotator.needs)
        )
        for door in needs:
            if doors[door] is None:
                raise ConfigError(
                    f"annotator '{method}' asks a language model: add an [{door}] table"
                )


def _identity(engine: Engine | None) -> str:
    return engine.identity if engine is not None else ""
