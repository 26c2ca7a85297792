"""Plugins of installed packages: entry points of the groups `stepmark.annotators` and others.

An entry point names an id and the class of the plugin, `outcome = "my_package.methods:Outcome"`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from stepmark.errors import InstallError, PluginError
from stepmark.plugin_files import ID

__all__ = [
    "InstalledPlugin",
    "group_of",
    "installed_plugin_of",
    "installed_plugins",
    "plugins_by_group",
]

GROUP_PREFIX = "stepmark."
SECTION = f"[{GROUP_PREFIX}"


@dataclass(frozen=True, kw_only=True)
class InstalledPlugin:
    """An entry point of an installed package."""

    group: str
    name: str
    """The id."""
    target: str
    """The class, as `module:Class`."""
    package: str
    """The package and its version."""

    def load(self) -> type[Any]:
        """Import the package and return the class.

        Raises:
            InstallError: The package, or one that it imports, is missing.
            PluginError: The import fails, or the entry point is not the class where it is defined.
        """
        where = f"the entry point {self.group}.{self.name} of {self.package}"
        try:
            plugin: type[Any] = EntryPoint(self.name, self.target, self.group).load()
        except ModuleNotFoundError as error:
            raise InstallError(
                f"{where} needs the package '{error.name}', which is not installed"
            ) from error
        except Exception as error:  # a package can raise anything
            raise PluginError(f"{where} fails: {type(error).__name__}: {error}") from error
        # The class is later found by this name: see `installed_plugin_of`.
        is_class = isinstance(plugin, type)
        if not is_class or f"{plugin.__module__}:{plugin.__qualname__}" != self.target:
            raise PluginError(
                f"{where} is '{self.target}'; it must be a class, named by the module that "
                "defines it: module:Class"
            )
        return plugin


def group_of(kind: str) -> str:
    """Return the group of the entry points of a kind.

    >>> group_of("annotators"), group_of("storage.formats")
    ('stepmark.annotators', 'stepmark.formats')
    """
    return GROUP_PREFIX + kind.rpartition(".")[2]


def installed_plugins(kind: str) -> Mapping[str, InstalledPlugin]:
    """Return the plugins of a kind that installed packages have, by id.

    Raises:
        PluginError: Two packages have a plugin of the same id, or an id is invalid.
    """
    plugins = dict[str, InstalledPlugin]()
    for plugin in plugins_by_group().get(group_of(kind), ()):
        if not ID.fullmatch(plugin.name):
            raise PluginError(
                f"{plugin.package} has a plugin '{plugin.name}' in {plugin.group}: an id has "
                "small letters, digits and _, a letter first; uninstall the package"
            )
        other = plugins.setdefault(plugin.name, plugin)
        if other.package != plugin.package or other.target != plugin.target:
            raise PluginError(
                f"{other.package} and {plugin.package} both have a plugin '{plugin.name}' in "
                f"{plugin.group}: uninstall one of them"
            )
    return plugins


def installed_plugin_of(plugin: type[Any]) -> InstalledPlugin | None:
    """Return the entry point that names a class; None if there is none."""
    target = f"{plugin.__module__}:{plugin.__qualname__}"
    for group in plugins_by_group().values():
        for installed in group:
            if installed.target == target:
                return installed
    return None


@cache
def plugins_by_group() -> Mapping[str, tuple[InstalledPlugin, ...]]:
    """Return the plugins of all installed packages by group.

    Only the packages that have some are parsed, which takes a third of the time of
    `importlib.metadata.entry_points`. The result is cached: packages are not installed while a
    command runs.
    """
    groups = defaultdict[str, list[InstalledPlugin]](list)
    names = set[str]()
    for distribution in distributions():
        if SECTION not in (distribution.read_text("entry_points.txt") or ""):
            continue
        name = distribution.name.lower()
        if name in names:
            # Another version, later on the path: Python imports the first one.
            continue
        names.add(name)
        package = f"{distribution.name} {distribution.version}"
        for point in distribution.entry_points:
            if point.group.startswith(GROUP_PREFIX):
                # White space around the colon is allowed.
                target = point.value.replace(" ", "")
                groups[point.group].append(
                    InstalledPlugin(
                        group=point.group, name=point.name, target=target, package=package
                    )
                )
    return {group: tuple(plugins) for group, plugins in groups.items()}
