"""Plugins of files and of installed packages: ids, identities and error messages."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepmark import plugins
from stepmark.errors import InstallError, PluginError
from stepmark.identity import fingerprint
from stepmark.installed_plugins import plugins_by_group
from stepmark.plugins import available, build, describe, identity_of, load
from storage.dataset.dataset import Dataset
from storage.queries.sql import query
from tests.stepmark.outside_plugins import MARKING, code_of, install_package, plugin_file

SHORT = "[stepmark.filters]\nshort = outside:Short\n"


@pytest.fixture(autouse=True)
def restored_plugins() -> Iterator[None]:
    """Forget the packages of a test, and their modules."""
    before = set(sys.modules)
    yield
    plugins_by_group.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("outside", "stepmark_files.")):
            del sys.modules[name]


def refusal(kind: str, use: str, folder: Path | None) -> str:
    with pytest.raises(PluginError) as caught:
        load(kind, use, code_folder=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_is_built_with_parameters(tmp_path: Path) -> None:
    plugin_file(tmp_path / "code" / "short.py")
    built = build("filters", {"use": "code/short.py", "limit": 3}, code_folder=tmp_path)
    assert dataclasses.asdict(built) == {"limit": 3}
    with pytest.raises(
        PluginError, match=r"filters.short has no parameter 'limits'; it has: limit"
    ):
        build("filters", {"use": "code/short.py", "limits": 3}, code_folder=tmp_path)


def test_identity_has_no_path(tmp_path: Path) -> None:
    first = load("filters", str(plugin_file(tmp_path / "a" / "short.py")), code_folder=tmp_path)
    moved = load(
        "filters", "b/short.py", code_folder=plugin_file(tmp_path / "b/short.py").parents[1]
    )
    assert first is not moved
    assert identity_of(first) == identity_of(moved) == "filters.short"
    assert fingerprint(first()) == fingerprint(moved())


def test_fingerprint_covers_version_and_fields(tmp_path: Path) -> None:
    fingerprints = set[str]()
    for code in (code_of(), code_of(version=2), code_of(limit=7)):
        path = plugin_file(tmp_path / "short.py", code)
        fingerprints.add(fingerprint(build("filters", {"use": str(path)}, code_folder=tmp_path)))
    assert len(fingerprints) == 3


def test_edited_file_is_loaded_again(tmp_path: Path) -> None:
    path = plugin_file(tmp_path / "short.py")
    first = load("filters", "short.py", code_folder=tmp_path)
    assert load("filters", "short.py", code_folder=tmp_path) is first
    status = path.stat()
    plugin_file(path, code_of(limit=501))
    # Neither the size nor the time shows the edit.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load("filters", "short.py", code_folder=tmp_path)().limit == 501
    assert not (tmp_path / "__pycache__").exists()


def test_file_needs_a_code_folder(tmp_path: Path) -> None:
    path = plugin_file(tmp_path / "short.py", MARKING)
    assert "no code is loaded here" in refusal("filters", str(path), None)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("none.py", None, "there is no plugin file"),
        ("Upper.py", MARKING, "'Upper.py' needs small letters"),
        ("base.py", MARKING, "is not base.py"),
        ("nul\0.py", None, "needs small letters"),
        ("judge.py", MARKING, "annotators has a plugin 'judge' already"),
        ("two.py", '__all__ = ["A", "B"]', "must export exactly one class in __all__"),
        ("itself.py", "class A: ...\n__all__ = [A]", "must export exactly one class in __all__"),
        ("absent.py", '__all__ = ["A"]', "A in __all__ is no dataclass"),
        ("plain.py", '__all__ = ["A"]\nclass A: ...', "A in __all__ is no dataclass"),
        ("broken.py", "\nx = (", "broken.py:2: SyntaxError"),
        ("fails.py", "\n\n1 / 0", "fails.py:3: ZeroDivisionError: division by zero"),
        ("ends.py", "import sys\nsys.exit()", "ends.py:2: SystemExit"),
        ("lines.py", "raise ValueError('a\\nb')", "lines.py:1: ValueError: a b"),
        ("bytes.py", "x = '\ud800'", "bytes.py"),
    ],
)
def test_unusable_file_is_one_line(
    name: str, code: str | None, message: str, tmp_path: Path
) -> None:
    if code is not None:
        (tmp_path / name).write_bytes(code.encode("utf-8", "surrogatepass"))
    assert message in refusal("annotators", name, tmp_path)
    # A second attempt does not find a half-executed module.
    assert message in refusal("annotators", name, tmp_path)


def test_missing_package_of_file_is_named(tmp_path: Path) -> None:
    plugin_file(tmp_path / "needy.py", "import a_package_that_nobody_has")
    with pytest.raises(InstallError, match=r"needy.py needs the package 'a_package_that_nobody"):
        load("filters", "needy.py", code_folder=tmp_path)


def test_field_without_schema_is_rejected(tmp_path: Path) -> None:
    plugin_file(tmp_path / "odd.py", code_of().replace("limit: int", 'limit: "Nowhere"'))
    with pytest.raises(PluginError, match=r"filters.odd: the type of a field cannot be read"):
        build("filters", {"use": "odd.py"}, code_folder=tmp_path)


def test_installed_plugin_has_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path, monkeypatch, SHORT)
    assert "short" in available("filters")
    assert describe("filters")["short"] == "outside:Short of outside 1.0"
    built = build("filters", {"use": "short", "limit": 3})
    assert identity_of(type(built)) == "filters.short"
    assert plugins.kind_and_id_of(type(built)) == ("filters", "short")


@pytest.mark.parametrize("kind", plugins.PLUGIN_PACKAGES)
def test_every_kind_has_a_group(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = f"stepmark.{kind.rpartition('.')[2]}"
    install_package(tmp_path, monkeypatch, f"[{group}]\nshort = outside:Short\n")
    assert load(kind, "short").__name__ == "Short"


@pytest.mark.parametrize(
    ("entry_points", "message"),
    [
        ("[stepmark.filters]\nlength = outside:Short\n", "filters.length is built in"),
        ("[stepmark.filters]\nShort = outside:Short\n", "an id has small letters"),
        ("[stepmark.filters]\nlength = outside\n", "filters.length is built in"),
    ],
)
def test_invalid_entry_point_is_one_line(
    entry_points: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(tmp_path, monkeypatch, entry_points)
    assert message in refusal("filters", "length", None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("outside", "it must be a class, named by the module that defines it"),
        ("outside:Mapping", "it must be a class, named by the module that defines it"),
        ("outside:Nothing", "fails: AttributeError"),
    ],
)
def test_entry_point_must_be_the_class(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(tmp_path, monkeypatch, f"[stepmark.filters]\nshort = {target}\n")
    assert message in refusal("filters", "short", None)


def test_two_packages_with_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path / "a", monkeypatch, SHORT)
    other = "[stepmark.filters]\nshort = outside_b:Short\n"
    install_package(tmp_path / "b", monkeypatch, other, package="outside_b")
    message = refusal("filters", "short", None)
    assert "both have a plugin 'short' in stepmark.filters" in message


def test_file_cannot_hide_installed_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path, monkeypatch, SHORT)
    plugin_file(tmp_path / "code" / "short.py", MARKING)
    assert "has a plugin 'short' already" in refusal("filters", "code/short.py", tmp_path)


def test_installed_formula_becomes_macro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = '''"""A constant."""
from dataclasses import dataclass
from typing import ClassVar
@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant."""
    number: float = 0.5
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = "SELECT trace_id, step_index, number AS value FROM estimates"
'''
    install_package(
        tmp_path, monkeypatch, "[stepmark.values]\nconstant = outside:Constant\n", code=code
    )
    (tmp_path / "dataset" / "problems").mkdir(parents=True)
    columns = query(Dataset(str(tmp_path / "dataset")), "FROM constant(number := 1)").column_names
    assert columns == ["trace_id", "step_index", "value"]
