"""Execution of every command, query and run file in the documentation.

Blocks that need what a test machine lacks are marked, and only their options are checked.

All pages share one workspace. Runs are shrunk: fewer problems, traces, rollouts and votes. Stages
run without Prefect, whose server would take most of the time; `tests/pipelines` tests the flows.
"""

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from pipelines.__main__ import main
from pipelines.cli.app import app
from pipelines.run import plan as planning
from pipelines.run.config import RunFile, load, parse
from stepmark.errors import UserError
from tests.docs.markdown import (
    NEEDS,
    ROOT,
    Block,
    blocks,
    blocks_of,
    command_lines,
    pages,
    stepmark_arguments,
)
from tests.docs.newcomer import label_traces
from tests.pipelines.one_verifier import use_one_verifier

SAMPLES = ROOT / "tests" / "problems" / "samples"
FILES = {
    "solutions.jsonl": "gsm8k_solutions.jsonl",
    "processbench.jsonl": "processbench.jsonl",
    "prm800k.jsonl": "prm800k.jsonl",
    "prmbench.jsonl": "prmbench.jsonl",
    "math_shepherd.jsonl": "math_shepherd.jsonl",
    "math_aps.jsonl": "math_aps.jsonl",
}
"""Input files that pages name, and the samples that take their places."""
PREREQUISITES = {
    "data/pocket": "run configs/pocket.toml",
    "data/values": "run configs/values.toml",
    "data/tree": "run configs/tree.toml",
    "data/logic": "run configs/logic.toml",
    "data/adaptive": "run configs/adaptive.toml",
    "data/bench": "import processbench.jsonl --shape processbench --dataset data/bench",
    "data/solutions": "import solutions.jsonl --shape gsm8k_solutions --dataset data/solutions",
}
"""How a dataset that a command reads is made, where no earlier command has made it."""
MODEL = "my-model"
"""The model that is trained; the workspace has its tokenizer, which is that of the pocket model."""
SMALL_RUN = ("problems.count=4", "problems.max_steps=3", "generate.traces_per_problem=2")
SMALL_METHODS = {
    "monte_carlo": ("rollouts=2",),
    "binary_search": ("rollouts=2",),
    "tree_search": ("rollouts=2", "searches=2"),
    "adaptive_search": ("budget=2", "pilots=1"),
    "judge": ("votes=1",),
}
"""Fields that shrink a run of the pocket model. Other models are replaced: see `REPLIES`."""
QUESTIONS = '{"question": "What is 1 + 1?", "answer": "2"}\n'
REPLY = r"Step 1: correct\nStep 2: \\boxed{2} correct"
REPLIES = f'engine={{use="scripted", replies={{""=["{REPLY}"]}}}}'
"""A solution of the question that is also a readable reply of a judge: verdicts and no more, since
other lines that a judge copies from a solution are not its own."""
MODELS = {"vllm", "openai"}
REPLACEMENTS = {
    "configs/own-solutions.toml": (
        'engine={use="pocket",compute_type="int8_float32"}',
        'judge_engine={use="pocket",compute_type="int8_float32"}',
        "generate.prompt=pocket",
        "generate.max_tokens=320",
        "generate.split=line",
        "annotators.1.prompt=pocket",
        "annotators.1.max_tokens=420",
    )
}
"""Run files whose servers are replaced by the pocket model, with its prompts."""


@dataclass
class Workspace:
    """The folder in which the commands of all pages run; equal commands run once."""

    folder: Path
    done: set[tuple[str, ...]] = field(default_factory=set)

    def stepmark(self, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Run a command as the command line does; fail unless its exit status is 0."""
        self._require_dataset(arguments, monkeypatch)
        command = (*arguments, *small(arguments))
        if command in self.done:
            return
        monkeypatch.setattr(sys, "argv", ["stepmark", *command])
        # A server that ends as soon as it is ready, or when its rater has labelled some traces.
        serve = label_traces if "--rater" in arguments else _end_at_once
        monkeypatch.setattr("uvicorn.Server.run", serve)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"stepmark {' '.join(command)}"
        self.done.add(command)

    def _require_dataset(self, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = dataset_of(arguments)
        if dataset and not Path(dataset).exists() and arguments[0] not in ("run", "import"):
            assert dataset in PREREQUISITES, f"nothing makes {dataset}"
            self.stepmark(PREREQUISITES[dataset].split(), monkeypatch)


def _end_at_once(server: Any, sockets: Any) -> None:
    """Serve nothing: `tests/viewer` requests the pages."""
    del server, sockets


def dataset_of(arguments: Sequence[str]) -> str:
    """Return the dataset that a command names, as an option or in its run file."""
    for option in ("--dataset", "-d"):
        if option in arguments:
            return arguments[arguments.index(option) + 1]
    if arguments[0] in ("run", "label"):
        return load(Path(arguments[1]), overrides_of(arguments)).dataset
    return ""


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """Return the values of `--set`."""
    indices = [index for index, word in enumerate(arguments) if word == "--set"]
    return [arguments[index + 1] for index in indices]


def small(arguments: Sequence[str]) -> list[str]:
    """Return the options that shrink a run, and replace what a test machine does not have."""
    if arguments[0] == "view":
        return ["--port", "0", "--no-browser"]
    if arguments[0] not in ("run", "label", "check", "plan"):
        return []
    overrides = [*REPLACEMENTS.get(arguments[1], ())]
    run_file = load(Path(arguments[1]), [*overrides_of(arguments), *overrides])
    engine = run_file.engine["use"] if run_file.engine else ""
    if engine in MODELS:
        overrides.append(REPLIES)
    if engine == "pocket" and run_file.problems is not None:
        overrides.extend(SMALL_RUN)
    for index, table in enumerate(run_file.annotators):
        for setting in SMALL_METHODS.get(str(table["use"]), ()):
            overrides.append(f"annotators.{index}.{setting}")
    options = list[str]()
    for override in overrides:
        options += ["--set", override]
    return options


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A folder with the run files and the sample files that pages name."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "questions.jsonl").write_text(QUESTIONS, encoding="utf-8")
    for name, sample in FILES.items():
        shutil.copy(SAMPLES / sample, folder / name)
    (folder / MODEL).mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "engines" / "pocket_model" / name, folder / MODEL)
    for page in pages():
        for block in blocks(page, "toml", "json", "csv", "python", "text"):
            if "file" in block.notes:
                (folder / block.notes["file"]).write_text(block.text, encoding="utf-8")
    return Workspace(folder)


@pytest.mark.parametrize("page", pages())
def test_commands_run(page: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    use_one_verifier(monkeypatch)
    monkeypatch.chdir(workspace.folder)
    # The Python blocks of a page are one program.
    namespace = dict[str, Any]()
    for block in blocks(page, "sh", "sql", "python"):
        if block.needs or "class " in block.text:
            continue
        if block.language == "sql":
            dataset = block.notes.get("dataset", "data/pocket")
            workspace.stepmark(["sql", block.text, "--dataset", dataset], monkeypatch)
        elif block.language == "python":
            dataset = block.notes.get("dataset", "data/pocket")
            workspace.stepmark(["sql", "SELECT 1", "--dataset", dataset], monkeypatch)
            exec(compile(block.text, str(block), "exec"), namespace)
        else:
            for words in command_lines(block):
                arguments = stepmark_arguments(words)
                assert arguments is not None, f"{block}: name what '{words[0]}' needs"
                workspace.stepmark(arguments, monkeypatch)


@pytest.mark.parametrize("page", pages())
def test_unexecuted_commands_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for block in blocks(page, "sh"):
        if block.needs:
            assert block.needs in NEEDS, block
            for words in command_lines(block):
                assert mistakes(words) == [], block


def mistakes(words: Sequence[str]) -> list[str]:
    """Return what is wrong with a command, without executing it."""
    arguments = stepmark_arguments(words)
    if arguments is not None:
        return stepmark_mistakes(arguments)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return [f"no target {word}" for word in words[1:] if f"\n{word}:" not in makefile]
    if Path(words[0]).name == "python" and words[1:2] == ["-m"]:
        return module_mistakes(words[2], words[3:])
    return []


def stepmark_mistakes(arguments: Sequence[str]) -> list[str]:
    """Return the mistakes of a `stepmark` command, and a mark that it does not deserve."""
    group: Any = typer.main.get_command(app)
    name, *rest = arguments
    if name not in group.commands:
        return [f"{name}: no such command"]
    try:
        group.commands[name].make_context(name, list(rest))
    except TyperException as error:
        return [f"{name}: {error}"]
    if not may_be_skipped(arguments):
        return [f"stepmark {' '.join(arguments)}: can be executed, so it must be"]
    return []


def may_be_skipped(arguments: Sequence[str]) -> bool:
    """Return whether a command needs a server, the network or a model that tests lack."""
    if arguments[0] in ("schedule", "deploy") or any("hf://" in word for word in arguments):
        return True
    if arguments[0] not in ("run", "label", "check") or not Path(arguments[1]).exists():
        return False
    run_file = load(Path(arguments[1]), overrides_of(arguments))
    engine = run_file.engine["use"] if run_file.engine else ""
    hub = [table for table in run_file.filters if "huggingface" in str(table)]
    return engine in MODELS or bool(hub)


def module_mistakes(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the options that a module of the repository does not know."""
    path = ROOT / (module.replace(".", "/"))
    if not path.exists() and not path.with_suffix(".py").exists():
        return [] if "." not in module and module in ("pytest", "prefect") else [f"no {module}"]
    files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    options = [word for word in arguments if word.startswith("--")]
    return [f"{module} has no {option}" for option in options if f'"{option}"' not in code]


@pytest.mark.parametrize("page", pages())
def test_run_files_are_valid(
    page: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    for block in blocks(page, "toml"):
        run_file = whole_run_file(tomllib.loads(block.text))
        # A page can show a plugin file, which the workspace has.
        planning.build(run_file, code_folder=workspace.folder)


def whole_run_file(tables: dict[str, Any]) -> RunFile:
    """Return a run file with these tables, and defaults for the tables that they depend on."""
    base: dict[str, Any] = {
        "dataset": "data/x",
        "engine": {"use": "pocket"},
        "prover_engine": {"use": "pocket"},
    }
    if "label" not in tables and "filters" in tables:
        base["annotators"] = [{"use": "formal"}]
        base["label"] = {
            "use": "consensus",
            "rule": "majority",
            "min_agreeing": 1,
            "trust": "verdicts",
        }
    return parse({**base, **tables}, "run file")


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("stepmark run configs/gsm8k-vllm.toml --set a=1", "unknown key"),
        ("$ .venv/bin/stepmark run configs/gsm8k-vllm.toml \\\n  | head  # a comment", None),
        ("stepmark nope", "nope: no such command"),
        ("stepmark run x.toml --nope", "--nope"),
        ("stepmark run", "run: "),
        ("stepmark sql 'SELECT 1' -d d --format xml", "xml"),
        ("stepmark sql 'SELECT\n 1' -d d", "can be executed"),
        ("make nope", "no target nope"),
        ("make demo", None),
        ("python -m benchmarks.nope", "no benchmarks.nope"),
        ("python -m benchmarks.formal --nope", "has no --nope"),
    ],
)
def test_wrong_commands_are_reported(
    line: str, mistake: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = blocks_of(f"Text.\n\n```sh\n{line}\n```\n\nstepmark nope\n", "page", "sh")
    reported = list(_reported(block))
    assert len(reported) == (mistake is not None)
    assert re.search(re.escape(mistake or ""), "".join(reported))


def _reported(block: Block) -> Iterator[str]:
    for words in command_lines(block):
        try:
            yield from mistakes(words)
        except UserError as error:
            yield str(error)
