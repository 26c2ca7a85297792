"""The plan of a run: everything that a run file names, built, resolved and checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from annotators.base import FittableLabeler, Labeler
from engines.base import Engine, Prompt
from filters.base import Filter
from pipelines.run.annotator_specs import AnnotatorSpec, build_annotators
from pipelines.run.config import RunFile
from pipelines.run.engine_pool import ENGINE, EnginePool, build_engines
from pipelines.run.graders import Grader, grader_named
from problems.base import Oracle, Source
from stepmark import plugins
from stepmark.errors import ConfigError, UserError
from stepmark.plugin_files import content_digest_of
from stepmark.prompt_templates import fill, read_template
from stepmark.records import Problem, Sampling
from stepmark.steps import Splitter

__all__ = ["Plan", "build"]

PROMPTS = Path(__file__).parents[1] / "prompts"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does: the run file with its plugins built.

    `pipelines.run.fingerprints` derives the identity of everything that the plan writes.
    """

    run_file: RunFile
    """The settings, and the text that is stored in the dataset. Its tables of plugins are built
    already: nothing but `build` reads them."""
    source: Source | None
    engines: EnginePool
    annotators: Mapping[str, AnnotatorSpec]
    """The annotators by method name, in the order of the run file."""
    labeler: Labeler | FittableLabeler | None
    filters: Sequence[Filter]
    template: str
    """The text of the prompt, with a placeholder {question}."""
    splitter: Splitter
    """Splits solutions into steps."""
    grader: Grader
    """Decides the outcomes of solutions."""
    code_folder: Path | None = None
    """The folder from which the paths of plugin files start; None if none may be loaded."""

    @property
    def engine(self) -> Engine | None:
        """The engine that writes the traces; None if the run file has no [engine]."""
        return self.engines.get(ENGINE)

    def plugin_classes(self) -> Iterator[type]:
        """Yield the classes of all plugins."""
        annotators = [spec.plugin for spec in self.annotators.values()]
        for plugin in (self.source, self.labeler, *self.engines.values(), *annotators):
            if plugin is not None:
                yield type(plugin)
        yield from map(type, self.filters)

    def plugin_files(self) -> Mapping[str, str]:
        """Return the digests of the plugin files, by the identity of the plugin."""
        digests = dict[str, str]()
        for cls in self.plugin_classes():
            digest = content_digest_of(cls)
            if digest:
                digests[plugins.identity_of(cls)] = digest
        return digests

    def with_engines(self, engines: EnginePool) -> "Plan":
        """Return the same plan with other engines of the same names."""
        annotators = dict[str, AnnotatorSpec]()
        for name, spec in self.annotators.items():
            # Dependencies precede the methods that depend on them, so they are replaced already.
            depends_on = tuple(annotators[dependency.name] for dependency in spec.depends_on)
            annotators[name] = replace(spec, engines=engines, depends_on=depends_on)
        return replace(self, engines=engines, annotators=annotators)

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


def build(run_file: RunFile, file_name: str = "", *, code_folder: Path | None = None) -> Plan:
    """Build all plugins that a run file names.

    Args:
        run_file: The content of the run file.
        file_name: What error messages start with.
        code_folder: The folder from which the paths of plugin files start. Without it the run file
            may name none, as one that is stored in a dataset.

    Raises:
        UserError: A plugin cannot be built, or the run file contradicts itself. Nothing has been
            started or written at that point.
    """
    try:
        plan = _build(run_file, code_folder)
        _check_ids(plan)
        return plan
    except UserError as error:
        if not file_name:
            raise
        raise type(error)(f"{file_name}: {error}") from error


def _build(run_file: RunFile, code_folder: Path | None) -> Plan:
    generate = run_file.generate
    build_plugin = partial(plugins.build, code_folder=code_folder)
    engines = build_engines(run_file, code_folder)
    annotators = build_annotators(run_file.annotators, engines, code_folder)
    labeler = _labeler(run_file.label, code_folder)
    if labeler is not None:
        labeler.check(list(annotators))
    elif run_file.filters:
        raise ConfigError(
            "[[filters]] drop labelled traces, and without a [label] table there are none: add it"
        )
    return Plan(
        run_file=run_file,
        source=build_plugin("problems", run_file.problems) if run_file.problems else None,
        engines=engines,
        annotators=annotators,
        labeler=labeler,
        filters=[build_plugin("filters", table) for table in run_file.filters],
        template=read_template(generate.prompt, PROMPTS, ("question",)),
        splitter=Splitter(generate.split, generate.min_step_chars),
        grader=grader_named(generate.grader),
        code_folder=code_folder,
    )


def _check_ids(plan: Plan) -> None:
    """Check that no two plugin files have one id: fingerprints would not tell them apart."""
    classes = dict[str, type]()
    for cls in plan.plugin_classes():
        identity = plugins.identity_of(cls)
        if classes.setdefault(identity, cls) is not cls:
            raise ConfigError(
                f"two plugin files have the id {identity}, because the file name is the id: "
                "rename one of them"
            )


def _labeler(
    table: Mapping[str, Any] | None, code_folder: Path | None
) -> Labeler | FittableLabeler | None:
    if table is None:
        return None
    if table.get("use") in plugins.available("annotators"):
        raise ConfigError(
            f"[label] use = '{table['use']}' annotates, it does not label: put it in [[annotators]]"
        )
    labeler: Labeler | FittableLabeler = plugins.build("labelers", table, code_folder=code_folder)
    return labeler
