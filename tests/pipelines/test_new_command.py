"""`stepmark new`: every combination of answers gives a valid run file, and no file is replaced."""

import itertools
import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from pipelines.__main__ import main
from pipelines.run import plan as planning
from pipelines.run.config import load
from pipelines.run.schema import run_file_schema
from pipelines.run_file_template import (
    OTHER_COLUMNS,
    Answers,
    Effort,
    EngineChoice,
    Input,
    commands_after,
    run_file_text,
)
from stepmark.errors import ConfigError

HOSTILE = "a\"b\\c\nd\x1b[31m\u202e\u2028é😀 $(x)'.jsonl"
COMBINATIONS = [
    combination
    for combination in itertools.product(Input, EngineChoice, Effort)
    if combination[:2] != (Input.problems, EngineChoice.none)
]

Stepmark = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stepmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Stepmark:
    """Run a command in a new folder; return its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(run_file_schema())


@pytest.mark.parametrize(("what", "engine", "effort"), COMBINATIONS)
@pytest.mark.parametrize("text", ["mine", HOSTILE])
def test_every_combination_is_valid(
    what: Input,
    engine: EngineChoice,
    effort: Effort,
    text: str,
    tmp_path: Path,
    validator: jsonschema.Draft202012Validator,
) -> None:
    answers = Answers(
        input=what, file=text, engine=engine, model=text, effort=effort, dataset=f"data/{text}"
    )
    path = tmp_path / "mine.toml"
    path.write_text(run_file_text(answers, text), encoding="utf-8")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    validator.validate(content)
    assert content["dataset"] == f"data/{text}"
    plan = planning.build(load(path), "mine.toml")
    assert (plan.source is None) is (what is Input.solutions)
    assert (plan.engine is None) is (engine is EngineChoice.none)
    assert plan.labeler is not None
    if plan.engine is not None:
        assert plan.engine.model_name == text
    if what is Input.problems:
        assert content["problems"]["paths"] == [text]


def test_next_commands_keep_spaces() -> None:
    answers = Answers(
        input=Input.solutions, file="my  own.jsonl", engine=EngineChoice.none, dataset="data/x"
    )
    assert commands_after(answers, "a\nb\tc.toml") == [
        f"stepmark import 'my  own.jsonl' --dataset data/x  {OTHER_COLUMNS}",
        "stepmark check 'a\\x0ab\\x09c.toml'",
        "stepmark label 'a\\x0ab\\x09c.toml'",
    ]


def test_answers_must_fit(tmp_path: Path) -> None:
    for engine, message in (("none", "no model can solve problems"), ("openai", "name the model")):
        answers = Answers(
            input=Input.problems, file="f", engine=EngineChoice(engine), dataset="data/x"
        )
        with pytest.raises(ConfigError, match=message):
            run_file_text(answers, "mine.toml")


def test_written_file_can_be_planned(stepmark: Stepmark) -> None:
    Path("questions.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "2"}))
    options = ("--problems", "questions.jsonl", "--engine", "openai", "--model", "m")
    status, out, err = stepmark("new", "mine.toml", *options)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "wrote mine.toml",
        "next: stepmark check mine.toml",
        "      stepmark plan mine.toml",
        "      stepmark run mine.toml",
    ]
    status, out, _ = stepmark("plan", "mine.toml", "--json")
    assert status == 0
    assert json.loads(out)


def test_solutions_are_labelled(stepmark: Stepmark) -> None:
    solution = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 3\nThe answer is 3."}
    Path("mine.jsonl").write_text(json.dumps(solution))
    assert stepmark("new", "mine.toml", "--solutions", "mine.jsonl", "--engine", "none")[0] == 0
    text = Path("mine.toml").read_text(encoding="utf-8")
    # The commands in the first lines work as they are.
    for line in text.splitlines()[:3]:
        assert stepmark(*shlex.split(line.removeprefix("#   stepmark "), comments=True))[0] == 0
    status, out, _ = stepmark(
        "sql", "SELECT kept FROM labels", "-d", "data/mine", "--format", "csv"
    )
    assert (status, out) == (0, "kept\ntrue\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "pass --problems or --solutions (problems, solutions): there is no terminal"),
        (("--solutions", "a.jsonl"), "pass --engine (openai, vllm, none): there is no terminal"),
        (("--solutions", "a", "--engine", "vllm"), "pass --model: there is no terminal"),
        (("--solutions", "a", "--problems", "b"), "not both"),
        (("--problems", "a", "--engine", "none"), "no model can solve problems"),
    ],
)
def test_missing_answers_are_named(
    arguments: tuple[str, ...], message: str, stepmark: Stepmark
) -> None:
    status, out, err = stepmark("new", "mine.toml", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not Path("mine.toml").exists()


def test_existing_file_is_kept(stepmark: Stepmark) -> None:
    Path("mine.toml").write_text("mine")
    status, _, err = stepmark("new", "mine.toml", "--solutions", "a", "--engine", "none")
    assert (status, Path("mine.toml").read_text()) == (2, "mine")
    assert "mine.toml exists" in err
    status, _, err = stepmark("new", "no/mine.toml", "--solutions", "a", "--engine", "none")
    assert (status, err.count("\n")) == (2, 1)


def test_failed_command_leaves_no_file(stepmark: Stepmark) -> None:
    status, _, err = stepmark("new", "mine.toml", "--solutions", "\udcff", "--engine", "none")
    assert (status, err.count("\n")) == (2, 1)
    assert not Path("mine.toml").exists()


def test_names_are_those_of_files(stepmark: Stepmark) -> None:
    # A path with a slash at its end is a file all the same.
    status, out, _ = stepmark("new", "mine/", "--solutions", "-a.jsonl", "--engine", "none")
    assert status == 0
    assert out.splitlines() == [
        "wrote mine",
        f"next: stepmark import ./-a.jsonl --dataset data/mine  {OTHER_COLUMNS}",
        "      stepmark check mine",
        "      stepmark label mine",
    ]


def test_terminal_is_asked(stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["problems", "mine.jsonl", "wrong", "openai", "my-model", "large"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    assert stepmark("new", "mine.toml")[0] == 0
    content = tomllib.loads(Path("mine.toml").read_text(encoding="utf-8"))
    assert content["problems"]["paths"] == ["mine.jsonl"]
    assert content["engine"]["model"] == "my-model"
    methods = [table["use"] for table in content["annotators"]]
    assert methods == ["formal", "monte_carlo", "judge"]


def test_empty_answers_are_defaults(stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda *_: "")
    assert stepmark("new", "asked.toml")[0] == 0
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    options = ("--problems", "problems.jsonl", "--engine", "openai", "--dataset", "data/asked")
    model = ("--model", "Qwen/Qwen2.5-Math-7B-Instruct")
    assert stepmark("new", "options.toml", *options, *model)[0] == 0
    asked, by_options = (
        tomllib.loads(Path(name).read_text(encoding="utf-8"))
        for name in ("asked.toml", "options.toml")
    )
    assert asked == by_options


def test_closed_terminal_is_user_error(stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", ends)
    status, _, err = stepmark("new", "mine.toml")
    assert status == 2
    assert "or answer the question" in err
