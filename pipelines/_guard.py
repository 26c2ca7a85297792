"""Refuse an environment in which another distribution owns one of our package names: pip merges the two in silence."""

from importlib.metadata import packages_distributions

from stepmark.errors import InstallError

__all__ = ["check_names"]

OURS = "stepmark"
PACKAGES = ("stepmark", "problems", "engines", "verifiers", "annotators", "filters", "storage", "pipelines")


def check_names() -> None:
    """Raise `InstallError` when a package of ours is also somebody else's (PyPI's `verifiers`, for one)."""
    owners = packages_distributions()
    for package in PACKAGES:
        others = {name for name in owners.get(package, ()) if name.lower() != OURS}
        if others:
            raise InstallError(
                f"{', '.join(sorted(others))} also installs a package named '{package}': install stepmark in an environment of its own"
            )
