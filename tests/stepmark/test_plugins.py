"""Plugins: what is said to a user who gets a name wrong, and what every plugin that exists must keep to."""

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
ROOM_FILES = {
    "__init__.py": '"""A room."""',
    "base.py": '"""No plugin."""',
    "_helper.py": '"""No plugin."""',
    "good.py": GOOD,
    "two.py": '__all__ = ["A", "B"]\nclass A: ...\nclass B: ...\n',
    "none.py": '"""Forgot its __all__."""\n',
    "heavy.py": "import a_package_that_nobody_has\n__all__ = []\n",
}
ALL = [(room, name) for room in PLUGIN_PACKAGES for name in available(room)]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A room of its own for each test, as imported modules stay."""
    name = f"room_{tmp_path.name}"
    (tmp_path / name).mkdir()
    for file, text in ROOM_FILES.items():
        (tmp_path / name / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cast(dict[str, str], PLUGIN_PACKAGES), name, name)
    return name


def test_helpers_and_base_are_no_plugins(room: str) -> None:
    assert available(room) == ("good", "heavy", "none", "two")


def test_plugins_are_described_without_being_imported(room: str) -> None:
    assert describe(room) == {
        "good": "A good one.",
        "heavy": "",
        "none": "Forgot its __all__.",
        "two": "",
    }


def test_a_table_becomes_a_plugin(room: str) -> None:
    built = build(room, {"use": "good", "size": 3, "names": ["a", "b"]})
    assert dataclasses.asdict(built) == {"size": 3, "names": ("a", "b")}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"use": "goood"}, "{room} has no 'goood'; it has: good, heavy, none, two"),
        ({"use": "base"}, "{room} has no 'base'; it has: good, heavy, none, two"),
        ({"size": 1}, "a table for {room} needs `use = …`, one of: good, heavy, none, two"),
        ({"use": "good", "sice": 1}, "{room}.good has no parameter 'sice'; it has: size, names"),
        ({"use": "good", "size": "many"}, "{room}.good: size: Input should be a valid integer"),
        ({"use": "good"}, "{room}.good: size: "),
        (
            {"use": "two"},
            "{room}.two must export exactly one class in __all__; it exports ['A', 'B']",
        ),
        ({"use": "none"}, "{room}.none must export exactly one class in __all__; it exports []"),
    ],
)
def test_a_wrong_table_is_answered_with_what_exists(
    room: str, table: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(PluginError) as caught:
        build(room, table)
    assert message.format(room=room) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(room: str) -> None:
    with pytest.raises(InstallError, match="heavy needs the package 'a_package_that_nobody_has'"):
        load(room, "heavy")


@pytest.mark.parametrize(("room", "name"), ALL)
def test_every_plugin_is_one_frozen_dataclass_with_a_version(room: str, name: str) -> None:
    plugin = load(room, name)
    assert hasattr(plugin, "__dataclass_params__")
    assert plugin.__dataclass_params__.frozen
    assert isinstance(plugin.version, int)
    assert "version" not in {f.name for f in dataclasses.fields(plugin)}
    assert plugin.__module__ == f"{PLUGIN_PACKAGES[room]}.{name}"


@pytest.mark.parametrize(("room", "name"), ALL)
def test_every_plugin_says_what_it_is(room: str, name: str) -> None:
    assert describe(room)[name].rstrip().endswith((".", "!", "?"))
    assert inspect.getdoc(load(room, name))
