"""Plugins from outside the project: files, and packages with entry points."""

from pathlib import Path

import pytest

from stepmark.installed_plugins import plugins_by_group

__all__ = ["MARKING", "code_of", "install_package", "plugin_file"]

MARKING = "raise RuntimeError('this code was executed')\n"
"""Code that no test may execute."""

CODE = '''"""Drop traces of long questions."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from filters.base import Candidates

__all__ = ["Short"]


@dataclass(frozen=True, kw_only=True)
class Short:
    """Drop traces of problems with a long question."""

    limit: int = {limit}
    """The most characters of a question."""

    version: ClassVar[int] = {version}

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason of each dropped trace."""
        reasons = {{}}
        for problem, trace, _ in candidates():
            if len(problem.question) > self.limit:
                reasons[trace.trace_id] = "a long question"
        return reasons
'''


def code_of(*, limit: int = 500, version: int = 1) -> str:
    """Return the code of a filter."""
    return CODE.format(limit=limit, version=version)


def plugin_file(path: Path, code: str | None = None) -> Path:
    """Write a plugin file, by default a filter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code_of() if code is None else code, encoding="utf-8")
    return path


def install_package(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry_points: str,
    *,
    package: str = "outside",
    code: str | None = None,
) -> None:
    """Install a package of one module with a plugin, as an installer would.

    Args:
        folder: A new folder, which is added to the path of modules.
        monkeypatch: Removes it again.
        entry_points: The content of `entry_points.txt`.
        package: The name of the package and of its module.
        code: The content of the module, by default a filter.
    """
    plugin_file(folder / f"{package}.py", code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(str(folder))
    plugins_by_group.cache_clear()
