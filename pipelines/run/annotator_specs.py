"""The annotators of a run: every [[annotators]] table, with its plugin, engines and evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from annotators.base import DependsOnAnnotators, Method, ProblemAnnotator
from engines.base import Engine
from pipelines.run.engine_pool import ENGINE, JUDGE, ROLES, EnginePool
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.secrets import without_secrets
from storage.dataset.tables import ORACLE, is_human, is_method

__all__ = ["AnnotatorSpec", "build_annotators"]

# Names of ground truth: the oracle of a problem source, and labels made by people.
RESERVED = ("oracle", "human", "human_NAME")
# Characters of a value that an error message quotes.
QUOTED_CHARACTERS = 100
# These keys of an [[annotators]] table belong to the run, all others are fields of the plugin.
ANNOTATOR_KEYS = ("name", "engine", "judge")
# The entries of `needs` for methods with judges: exactly one judge, or one and more.
JUDGE_NEEDS = frozenset({"judge_engine", "judge_engines"})


@dataclass(frozen=True, kw_only=True)
class AnnotatorSpec:
    """One [[annotators]] table of a run file, resolved."""

    name: str
    """The method name, which names its tables: the plugin's id unless the table sets `name`."""
    plugin: Method
    engines: EnginePool
    """The engines of the run. `Plan.with_engines` replaces them."""
    engine_name: str | None = None
    """The engine of its rollouts and scores; None for a method without any."""
    judge_names: tuple[str, ...] = ()
    """The engines of the judges that it asks; empty for a method that asks none."""
    depends_on: tuple["AnnotatorSpec", ...] = ()
    """The annotators whose output it reads. They precede it in the run file."""

    @property
    def engine(self) -> Engine | None:
        """The engine that writes and scores its rollouts; None if it uses none."""
        return None if self.engine_name is None else self.engines[self.engine_name]

    @property
    def judges(self) -> tuple[Engine, ...]:
        """The engines that judge for it, in the order of the run file."""
        return tuple(self.engines[name] for name in self.judge_names)

    @property
    def discovers_traces(self) -> bool:
        """Whether the method may add traces to the dataset."""
        return isinstance(self.plugin, ProblemAnnotator)


def build_annotators(
    tables: Sequence[Mapping[str, Any]], engines: EnginePool, code_folder: Path | None
) -> Mapping[str, AnnotatorSpec]:
    """Build the annotators by method name.

    The method name is the plugin's id, or `name` where a run uses one plugin twice. `code_folder`
    is that of `plugins.build`.

    Raises:
        UserError: A plugin cannot be built, an engine or a dependency does not exist, or an engine
            outside the default roles is not used.
    """
    specs = dict[str, AnnotatorSpec]()
    for table in tables:
        use = table.get("use", "")
        name = table.get("name", plugins.id_of(use) if isinstance(use, str) else use)
        if not isinstance(name, str):
            raise ConfigError("[[annotators]] name and use are texts")
        if use in plugins.available("labelers"):
            raise ConfigError(f"'{name}' labels, it does not annotate: put it in [label]")
        parameters = {key: value for key, value in table.items() if key not in ANNOTATOR_KEYS}
        plugin: Method = plugins.build("annotators", parameters, code_folder=code_folder)
        # A run would replace the labels of the rater, and count its own as labels of people.
        if not is_method(name) or name == ORACLE or is_human(name):
            raise ConfigError(
                f"[[annotators]] name = '{name}': use lower-case letters, digits and _, "
                f"but not {' or '.join(RESERVED)}"
            )
        if name in specs:
            raise ConfigError(f"two [[annotators]] are called '{name}': give one of them a `name`")
        specs[name] = AnnotatorSpec(
            name=name,
            plugin=plugin,
            engines=engines,
            engine_name=_engine_name(name, plugin, table, engines),
            judge_names=_judge_names(name, plugin, table, engines),
            depends_on=_dependencies(name, plugin, specs),
        )
    _check_all_used(engines, specs)
    return specs


def _engine_name(
    name: str, plugin: Method, table: Mapping[str, Any], engines: EnginePool
) -> str | None:
    """Return the name of the engine that samples and scores for a method; None if it uses none.

    Raises:
        ConfigError: The table names an engine that is not needed or does not exist, or the run file
            has no engine.
    """
    if "engine" not in plugin.needs:
        if "engine" in table:
            raise ConfigError(
                f"annotator '{name}': engine = {_quote(table['engine'])}: the method samples "
                f"and scores no rollouts; its keys are: {_listing(_keys(plugin))}"
            )
        return None
    if "engine" not in table:
        return _default_engine(name, (ENGINE,), engines)
    _check_name(name, "engine", table["engine"], engines)
    return str(table["engine"])


def _judge_names(
    name: str, plugin: Method, table: Mapping[str, Any], engines: EnginePool
) -> tuple[str, ...]:
    """Return the names of the engines that judge for a method; empty if it uses no judge.

    Raises:
        ConfigError: The table names judges that are not needed, too many, repeated or missing.
    """
    if not plugin.needs & JUDGE_NEEDS:
        if "judge" in table:
            raise ConfigError(
                f"annotator '{name}': judge = {_quote(table['judge'])}: the method asks no judge; "
                f"its keys are: {_listing(_keys(plugin))}"
            )
        return ()
    if "judge" not in table:
        return (_default_engine(name, (JUDGE, ENGINE), engines),)
    judges = table["judge"] if isinstance(table["judge"], list) else [table["judge"]]
    for judge in judges:
        _check_name(name, "judge", judge, engines)
    if not judges or len(set(judges)) < len(judges):
        raise ConfigError(
            f"annotator '{name}': judge is empty or lists an engine twice; "
            f"the engines are: {_listing(engines)}"
        )
    if len(judges) > 1 and "judge_engines" not in plugin.needs:
        raise ConfigError(
            f"annotator '{name}': judge = {_quote(judges)}: the method asks a single judge; "
            "name one"
        )
    return tuple(judges)


def _default_engine(name: str, roles: Sequence[str], engines: EnginePool) -> str:
    """Return the first of these roles that the run file has a table for.

    Raises:
        ConfigError: It has none of these tables.
    """
    for role in roles:
        if role in engines:
            return role
    key = "judge" if JUDGE in roles else "engine"
    alternative = f", or set `{key}` to one of: {', '.join(engines)}" if engines else ""
    raise ConfigError(
        f"annotator '{name}' uses a language model: add an [{roles[0]}] table{alternative}"
    )


def _check_name(name: str, key: str, engine: object, engines: EnginePool) -> None:
    """Check that the value of `engine` or `judge` in a method's table names an engine."""
    if not isinstance(engine, str) or engine not in engines:
        raise ConfigError(
            f"annotator '{name}': {key} = {_quote(engine)}: there is no engine of that name; "
            f"the engines are: {_listing(engines)}"
        )


def _keys(plugin: Method) -> Sequence[str]:
    """Return the keys of a method's table in a run file."""
    keys = ["use", "name"]
    if "engine" in plugin.needs:
        keys.append("engine")
    if plugin.needs & JUDGE_NEEDS:
        keys.append("judge")
    assert is_dataclass(plugin), "`plugins.build` returns dataclasses"
    for field in fields(plugin):
        # A field without `init` is internal state, which a run file cannot set.
        if field.init:
            keys.append(field.name)
    return keys


def _quote(value: object) -> str:
    """Return a value as text for an error message, shortened and without secrets."""
    return repr(without_secrets(value))[:QUOTED_CHARACTERS]


def _listing(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _check_all_used(engines: EnginePool, annotators: Mapping[str, AnnotatorSpec]) -> None:
    """Check that every table [engines.NAME] is used, since an unused one is probably a mistake."""
    # [engine] writes the traces. Unused tables of other default roles are allowed, since run files
    # with them exist.
    used = set(ROLES)
    for spec in annotators.values():
        used.update(spec.judge_names)
        if spec.engine_name is not None:
            used.add(spec.engine_name)
    for name in engines:
        if name not in used:
            raise ConfigError(
                f"[engines.{name}] is not used: set `engine` or `judge` of an annotator to "
                f"'{name}', or remove the table; the annotators are: {_listing(annotators)}"
            )


def _dependencies(
    name: str, plugin: Method, earlier: Mapping[str, AnnotatorSpec]
) -> tuple[AnnotatorSpec, ...]:
    """Return the annotators whose output a method reads, in the order of its `evidence`.

    Raises:
        ConfigError: One of them is not among the earlier annotators of the run file.
    """
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
