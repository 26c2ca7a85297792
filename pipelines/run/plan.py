"""The plan of a run: all plugins that a run file names, built and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from annotators.base import DependsOnAnnotators, FittableLabeler, Labeler, Method, ProblemAnnotator
from engines.base import Engine, Prompt
from filters.base import Filter
from pipelines.run.config import RunFile
from pipelines.run.engine_pool import EnginePool
from problems.base import Oracle, Source
from stepmark import plugins, steps
from stepmark.errors import ConfigError
from stepmark.prompt_templates import fill, read_template
from stepmark.records import Problem, Sampling
from storage.dataset.tables import is_method

__all__ = ["AnnotatorSpec", "Plan", "build"]

PROMPTS = Path(__file__).parents[1] / "prompts"
PROVER = "prover_engine"
# Names of ground truth: the oracle of a problem source, and labels made by people.
RESERVED = ("oracle", "human")


@dataclass(frozen=True, kw_only=True)
class AnnotatorSpec:
    """One [[annotators]] table of a run file, resolved."""

    name: str
    """The method name, which names its tables: the plugin's id unless the table sets `name`."""
    plugin: Method
    uses_prover: bool = False
    """Whether the prover writes its rollouts instead of the engine that wrote the traces."""
    depends_on: tuple["AnnotatorSpec", ...] = ()
    """The annotators whose output it reads. They precede it in the run file."""

    @property
    def discovers_traces(self) -> bool:
        """Whether the method may add traces to the dataset."""
        return isinstance(self.plugin, ProblemAnnotator)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does: the run file with its plugins built.

    `pipelines.run.fingerprints` derives the identity of everything that the plan writes.
    """

    run_file: RunFile
    source: Source | None
    engine: Engine | None
    judge_engine: Engine | None
    prover_engine: Engine | None
    annotators: Mapping[str, AnnotatorSpec]
    """The annotators by method name, in the order of the run file."""
    labeler: Labeler | FittableLabeler | None
    filters: Sequence[Filter]
    template: str
    """The text of the prompt, with a placeholder {question}."""

    @property
    def engines(self) -> EnginePool:
        """The engines by role."""
        return EnginePool(
            engine=self.engine, judge_engine=self.judge_engine, prover_engine=self.prover_engine
        )

    def with_engines(self, engines: EnginePool) -> "Plan":
        """Return the same plan with other engines."""
        return replace(
            self,
            engine=engines.engine,
            judge_engine=engines.judge_engine,
            prover_engine=engines.prover_engine,
        )

    @property
    def oracle(self) -> Oracle | None:
        """The problem source if it knows the true verdict of every step, otherwise None."""
        return self.source if isinstance(self.source, Oracle) else None

    def solve_prompt(self, problem: Problem) -> Prompt:
        """Return the prompt for solving a problem, or for continuing one of its solutions."""
        return Prompt(user=fill(self.template, question=problem.question))

    def sampling(self, *, n: int, seed: int) -> Sampling:
        """Return the sampling parameters of traces and rollouts."""
        generate = self.run_file.generate
        return Sampling(
            n=n,
            temperature=generate.temperature,
            top_p=generate.top_p,
            max_tokens=generate.max_tokens,
            stop=generate.stop,
            seed=seed,
        )

    @property
    def waves(self) -> Sequence[Sequence[AnnotatorSpec]]:
        """The annotators in the order in which they may start.

        The annotators of one wave run concurrently; they depend only on annotators of earlier
        waves.
        """
        waves = list[list[AnnotatorSpec]]()
        wave_of = dict[str, int]()
        # The run file lists an annotator after those that it depends on, so one pass is enough.
        for spec in self.annotators.values():
            wave = 0
            for dependency in spec.depends_on:
                wave = max(wave, wave_of[dependency.name] + 1)
            if wave == len(waves):
                waves.append([])
            waves[wave].append(spec)
            wave_of[spec.name] = wave
        return waves

    @property
    def labels_need_all_shards(self) -> bool:
        """Whether a label can depend on the traces of other shards."""
        return isinstance(self.labeler, FittableLabeler) or bool(self.filters)

    @property
    def gold(self) -> str:
        """The method whose annotations the labeler is fitted to as ground truth; "" for none."""
        return self.labeler.gold if isinstance(self.labeler, FittableLabeler) else ""

    @property
    def discovering_methods(self) -> Sequence[str]:
        """The names of the annotators that may add traces to the dataset."""
        return [name for name, spec in self.annotators.items() if spec.discovers_traces]


def build(run_file: RunFile) -> Plan:
    """Build all plugins that a run file names.

    Raises:
        UserError: A plugin cannot be built, or the run file contradicts itself. Nothing has been
            started or written at that point.
    """
    generate = run_file.generate
    engine = _engine(run_file.engine)
    judge_engine = _engine(run_file.judge_engine) if run_file.judge_engine else engine
    engines = EnginePool(
        engine=engine, judge_engine=judge_engine, prover_engine=_engine(run_file.prover_engine)
    )
    annotators = _annotators(run_file.annotators)
    for spec in annotators.values():
        # Checked here, so that a missing table is reported before anything has started.
        _check_engines(spec, engines)
    labeler = _labeler(run_file.label)
    if labeler is not None:
        labeler.check(list(annotators))
    elif run_file.filters:
        raise ConfigError(
            "[[filters]] drop labelled traces, and without a [label] table there are none: add it"
        )
    steps.validate(generate.split)
    return Plan(
        run_file=run_file,
        source=plugins.build("problems", run_file.problems) if run_file.problems else None,
        engine=engines.engine,
        judge_engine=engines.judge_engine,
        prover_engine=engines.prover_engine,
        annotators=annotators,
        labeler=labeler,
        filters=[plugins.build("filters", table) for table in run_file.filters],
        template=read_template(generate.prompt, PROMPTS, ("question",)),
    )


def _engine(table: Mapping[str, Any] | None) -> Engine | None:
    if not table:
        return None
    engine: Engine = plugins.build("engines", table)
    return engine


def _annotators(tables: Sequence[Mapping[str, Any]]) -> Mapping[str, AnnotatorSpec]:
    """Build the annotators by method name.

    The method name is the plugin's id, or `name` where a run uses one plugin twice.
    """
    specs = dict[str, AnnotatorSpec]()
    for table in tables:
        name = str(table.get("name", table.get("use", "")))
        if table.get("use") in plugins.available("labelers"):
            raise ConfigError(f"'{name}' labels, it does not annotate: put it in [label]")
        # `name` and `engine` belong to the run, all other keys are fields of the plugin.
        parameters = {key: value for key, value in table.items() if key not in ("name", "engine")}
        plugin: Method = plugins.build("annotators", parameters)
        if not is_method(name) or name in RESERVED:
            raise ConfigError(
                f"[[annotators]] name = '{name}': use lower-case letters, digits and _, "
                f"but not {' or '.join(RESERVED)}"
            )
        if name in specs:
            raise ConfigError(f"two [[annotators]] are called '{name}': give one of them a `name`")
        specs[name] = AnnotatorSpec(
            name=name,
            plugin=plugin,
            uses_prover=_uses_prover(name, plugin, table),
            depends_on=_dependencies(name, plugin, specs),
        )
    return specs


def _uses_prover(name: str, plugin: Method, table: Mapping[str, Any]) -> bool:
    """Return whether the table selects the prover with `engine`, and check that key."""
    if "engine" not in table:
        return False
    role = table["engine"]
    if role not in ("engine", PROVER) or "engine" not in plugin.needs:
        raise ConfigError(
            f"annotator '{name}': engine = {role!r}: a method that samples rollouts accepts "
            f"'engine' or '{PROVER}'"
        )
    return bool(role == PROVER)


def _dependencies(
    name: str, plugin: Method, earlier: Mapping[str, AnnotatorSpec]
) -> tuple[AnnotatorSpec, ...]:
    if not isinstance(plugin, DependsOnAnnotators):
        return ()
    dependencies = list[AnnotatorSpec]()
    for dependency in plugin.evidence:
        if dependency not in earlier:
            raise ConfigError(
                f"annotator '{name}' depends on '{dependency}': "
                "the run file must list an [[annotators]] of that name before it"
            )
        dependencies.append(earlier[dependency])
    return tuple(dependencies)


def _labeler(table: Mapping[str, Any] | None) -> Labeler | FittableLabeler | None:
    if table is None:
        return None
    if table.get("use") in plugins.available("annotators"):
        raise ConfigError(
            f"[label] use = '{table['use']}' annotates, it does not label: put it in [[annotators]]"
        )
    labeler: Labeler | FittableLabeler = plugins.build("labelers", table)
    return labeler


def _check_engines(spec: AnnotatorSpec, engines: EnginePool) -> None:
    """Check that the run file has a table for every engine that an annotator uses."""
    by_role = {
        "engine": engines.engine,
        "judge_engine": engines.judge_engine,
        PROVER: engines.prover_engine,
    }
    for need in sorted(spec.plugin.needs):
        role = PROVER if need == "engine" and spec.uses_prover else need
        if by_role[role] is None:
            raise ConfigError(
                f"annotator '{spec.name}' uses a language model: add an [{role}] table"
            )
