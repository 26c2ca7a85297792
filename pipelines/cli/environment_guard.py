"""Refuse an environment in which another distribution owns one of our package names: pip merges the two in silence.

Asked at every start of the command, so only what tells of our names is read: `packages_distributions()` of the standard library looks
at every file of every distribution, which takes longer than all else that `stepmark --help` does.
"""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

from stepmark.errors import InstallError

__all__ = ["check_names"]

OURS = "stepmark"
PACKAGES = (
    "stepmark",
    "problems",
    "engines",
    "verifiers",
    "annotators",
    "filters",
    "storage",
    "pipelines",
)
# A line of `top_level.txt` is a package; one of a RECORD starts with a file's path, quoted where it holds a comma.
_LINE_OF_OURS = re.compile(rf'^"?({"|".join(PACKAGES)})(?:/|\.py,|\s*$)', re.MULTILINE)


def check_names() -> None:
    """Raise `InstallError` when a package of ours is also somebody else's (PyPI's `verifiers`, for one)."""
    owners = {
        (package, distribution.name)
        for distribution in distributions()
        for package in _packages_of_ours(distribution)
    }
    for package in PACKAGES:
        others = {name for owned, name in owners if owned == package and name.lower() != OURS}
        if others:
            raise InstallError(
                f"{', '.join(sorted(others))} also installs a package named '{package}': install stepmark in an environment of its own"
            )


def _packages_of_ours(distribution: Distribution) -> Iterator[str]:
    for match in _LINE_OF_OURS.finditer(
        distribution.read_text("top_level.txt") or distribution.read_text("RECORD") or ""
    ):
        yield match[1]
