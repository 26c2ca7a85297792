"""The engines of a run by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from engines.base import Engine, HasServers, ServersHealth
from pipelines.run.config import RunFile
from stepmark import plugins
from stepmark.errors import ConfigError, PluginError
from storage.dataset.tables import is_method

__all__ = ["ENGINE", "JUDGE", "PROVER", "ROLES", "EnginePool", "build_engines"]

ENGINE = "engine"
"""The engine that writes the traces and, by default, rollouts and verdicts."""
JUDGE = "judge_engine"
"""The engine that writes verdicts by default, if the run file has a table for it."""
PROVER = "prover_engine"
"""A second engine for rollouts."""
ROLES = (ENGINE, JUDGE, PROVER)
"""The names of the engines that have a table outside `[engines]`."""


class EnginePool(Mapping[str, Engine]):
    """The engines of a run by name.

    Args:
        engines: The engines. Two names are two clients, even if their tables are equal.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = dict(engines)

    def __getitem__(self, name: str) -> Engine:
        """Return the engine of this name."""
        return self._engines[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._engines)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._engines)

    def distinct(self) -> Sequence[Engine]:
        """Return every engine once, although code can give one engine several names."""
        distinct = list[Engine]()
        for engine in self._engines.values():
            # Compared by identity: two equal engines are two servers or processes.
            if all(engine is not other for other in distinct):
                distinct.append(engine)
        return distinct

    def name_of(self, engine: Engine) -> str:
        """Return the first name of an engine of this pool."""
        return next(name for name, other in self._engines.items() if other is engine)

    def wrap(self, function: Callable[[Engine], Engine]) -> "EnginePool":
        """Return a pool of the same names whose engines are those that `function` returns."""
        return EnginePool({name: function(engine) for name, engine in self._engines.items()})

    def servers(self) -> Mapping[str, ServersHealth]:
        """Return the state of the servers by the name of the engine, of engines that have some."""
        servers = dict[str, ServersHealth]()
        for name, engine in self._engines.items():
            if isinstance(engine, HasServers):
                health = engine.servers_health()
                if health is not None:
                    servers[name] = health
        return servers

    async def close(self) -> None:
        """Close every engine once."""
        for engine in self.distinct():
            await engine.close()


def build_engines(run_file: RunFile, code_folder: Path | None) -> EnginePool:
    """Build every engine of a run file once. `code_folder` is that of `plugins.build`.

    Raises:
        UserError: An engine cannot be built, or has an invalid name.
    """
    engines = dict[str, Engine]()
    roles = {
        ENGINE: run_file.engine,
        JUDGE: run_file.judge_engine,
        PROVER: run_file.prover_engine,
    }
    for role, table in roles.items():
        # `--set engine={}` removes an engine, since TOML has no null.
        if table:
            engines[role] = plugins.build("engines", table, code_folder=code_folder)
    for name, table in (run_file.engines or {}).items():
        if not is_method(name) or name in ROLES:
            raise ConfigError(
                f"[engines.{name}]: use lower-case letters, digits and _ for the name of an "
                f"engine, but not {', '.join(ROLES)}"
            )
        try:
            engines[name] = plugins.build("engines", table, code_folder=code_folder)
        except PluginError as error:
            # Several tables can use the same plugin, so the message must name the table.
            raise PluginError(f"[engines.{name}]: {error}") from error
    return EnginePool(engines)
