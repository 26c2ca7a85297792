"""Reject an environment in which another distribution installs a package with one of our names.

pip merges the two packages without a warning. The check runs at every start of the command, so it
reads only the metadata that lists our names: `importlib.metadata.packages_distributions()` reads
every file list completely, which takes longer than the rest of `stepmark --help`.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

from stepmark.errors import InstallError

__all__ = ["check_names"]

DISTRIBUTION = "stepmark"
PACKAGES = (
    "stepmark",
    "problems",
    "engines",
    "verifiers",
    "annotators",
    "filters",
    "storage",
    "viewer",
    "pipelines",
)
# A line of `top_level.txt` is a package. A line of a RECORD starts with the path of a file, which
# is quoted if it contains a comma.
_PACKAGE_LINE = re.compile(rf'^"?({"|".join(PACKAGES)})(?:/|\.py,|\s*$)', re.MULTILINE)


def check_names() -> None:
    """Raise `InstallError` if another distribution, such as PyPI's `verifiers`, has our names."""
    owners = defaultdict[str, set[str]](set)
    for distribution in distributions():
        for package in _packages_with_our_names(distribution):
            if distribution.name.lower() != DISTRIBUTION:
                owners[package].add(distribution.name)
    for package in PACKAGES:
        if owners[package]:
            names = ", ".join(sorted(owners[package]))
            raise InstallError(
                f"{names} also installs a package named '{package}': "
                "install stepmark in an environment of its own"
            )


def _packages_with_our_names(distribution: Distribution) -> Iterator[str]:
    listing = distribution.read_text("top_level.txt") or distribution.read_text("RECORD") or ""
    for match in _PACKAGE_LINE.finditer(listing):
        yield match[1]
