"""Plugins: error messages, and the contract of every plugin."""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from stepmark.errors import InstallError, PluginError
from stepmark.plugins import PLUGIN_PACKAGES, available, build, describe, load

GOOD = '''"""A good one.

More of it.
"""
from dataclasses import dataclass
from typing import ClassVar
__all__ = ["Good"]
@dataclass(frozen=True, kw_only=True)
class Good:
    """Good."""
    size: int
    names: tuple[str, ...] = ()
    version: ClassVar[int] = 1
'''
PACKAGE_FILES = {
    "__init__.py": '"""A package."""',
    # These two files are helper modules by their names.
    "base.py": '"""No plugin."""',
    "_helper.py": '"""No plugin."""',
    "good.py": GOOD,
    # Two exported classes, then no `__all__`: a plugin exports exactly one class.
    "two.py": '__all__ = ["A", "B"]\nclass A: ...\nclass B: ...\n',
    "none.py": '"""Forgot its __all__."""\n',
    # A plugin whose dependency is not installed.
    "heavy.py": "import a_package_that_nobody_has\n__all__ = []\n",
}
ALL = []
for plugin_kind in PLUGIN_PACKAGES:
    for plugin_id in available(plugin_kind):
        ALL.append((plugin_kind, plugin_id))


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a plugin package; its name is unique because imported modules stay loaded."""
    name = f"package_{tmp_path.name}"
    (tmp_path / name).mkdir()
    for file, text in PACKAGE_FILES.items():
        (tmp_path / name / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cast(dict[str, str], PLUGIN_PACKAGES), name, name)
    return name


def test_helper_modules_are_not_plugins(kind: str) -> None:
    assert available(kind) == ("good", "heavy", "none", "two")


def test_describe_imports_no_plugin(kind: str) -> None:
    assert describe(kind) == {
        "good": "A good one.",
        "heavy": "",
        "none": "Forgot its __all__.",
        "two": "",
    }


def test_build_converts_a_table(kind: str) -> None:
    built = build(kind, {"use": "good", "size": 3, "names": ["a", "b"]})
    assert dataclasses.asdict(built) == {"size": 3, "names": ("a", "b")}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        # Unknown names, and the name of a helper module.
        ({"use": "goood"}, "{kind} has no 'goood'; it has: good, heavy, none, two"),
        ({"use": "base"}, "{kind} has no 'base'; it has: good, heavy, none, two"),
        ({"size": 1}, "a table for {kind} needs `use = …`, one of: good, heavy, none, two"),
        # A misspelled parameter, a wrong type and a missing parameter.
        ({"use": "good", "sice": 1}, "{kind}.good has no parameter 'sice'; it has: size, names"),
        ({"use": "good", "size": "many"}, "{kind}.good: size: Input should be a valid integer"),
        ({"use": "good"}, "{kind}.good: size: "),
        (
            {"use": "two"},
            "{kind}.two must export exactly one class in __all__; it exports ['A', 'B']",
        ),
        ({"use": "none"}, "{kind}.none must export exactly one class in __all__; it exports []"),
    ],
)
def test_invalid_table_error_lists_alternatives(
    kind: str, table: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(PluginError) as caught:
        build(kind, table)
    assert message.format(kind=kind) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_package_is_named(kind: str) -> None:
    with pytest.raises(InstallError, match="heavy needs the package 'a_package_that_nobody_has'"):
        load(kind, "heavy")


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_plugins_are_frozen_dataclasses(kind: str, name: str) -> None:
    plugin = load(kind, name)
    assert hasattr(plugin, "__dataclass_params__")
    assert plugin.__dataclass_params__.frozen
    assert isinstance(plugin.version, int)
    assert "version" not in {f.name for f in dataclasses.fields(plugin)}
    assert plugin.__module__ == f"{PLUGIN_PACKAGES[kind]}.{name}"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_plugins_have_descriptions(kind: str, name: str) -> None:
    assert describe(kind)[name].rstrip().endswith((".", "!", "?"))
    assert inspect.getdoc(load(kind, name))
