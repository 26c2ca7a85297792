"""`stepmark new`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pipelines.run_file_template import Answers, Effort, EngineChoice, Input
from stepmark.errors import ConfigError, InputError
from stepmark.visible_text import visible

__all__ = ["new"]

Choice = TypeVar("Choice", bound=StrEnum)


def new(
    run_file: Annotated[
        str, typer.Argument(help="The run file to write; it must not exist.", metavar="RUN.toml")
    ],
    problems: Annotated[
        str, typer.Option(help="A file of problems, which a model solves.", metavar="FILE")
    ] = "",
    solutions: Annotated[
        str, typer.Option(help="A file of solutions that exist.", metavar="FILE")
    ] = "",
    engine: Annotated[
        EngineChoice | None,
        typer.Option(help="A server, vLLM in the process of the run, or no model."),
    ] = None,
    model: Annotated[str, typer.Option(help="The name of the model.")] = "",
    base_url: Annotated[
        str, typer.Option(help="The address of the server, for --engine openai.", metavar="URL")
    ] = "",
    effort: Annotated[
        Effort | None,
        typer.Option(
            help="How many completions a solution of 8 steps may cost: a few, 26 or 60. "
            "Default: medium."
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="The dataset. Default: a folder in data/ named as the run file.")
    ] = "",
) -> None:
    """Write a commented run file for your problems or solutions, and print the next commands.

    On a terminal it asks for what the options leave open. It replaces no file.
    """
    from pipelines.run_file_template import commands_after, run_file_text

    path = Path(run_file)
    if path.exists():
        raise ConfigError(f"{run_file} exists: name another file")
    if problems and solutions:
        raise ConfigError("--problems or --solutions, not both: a dataset has one origin")
    what = Input.solutions if solutions else Input.problems
    if not problems and not solutions:
        what = _ask_choice("Do you have problems or solutions?", Input, "--problems or --solutions")
    file = problems or solutions or _ask(f"The file of {what}", f"{what}.jsonl", f"--{what}")
    if engine is None:
        engine = _ask_choice("Which engine?", EngineChoice, "--engine")
    if engine is not EngineChoice.none:
        model = model or _ask("The model", "Qwen/Qwen2.5-Math-7B-Instruct", "--model")
    if effort is None:
        effort = Effort.medium
        if engine is not EngineChoice.none and sys.stdin.isatty():
            effort = _ask_choice(
                "How many completions for a solution: a few, about 26, or about 60?",
                Effort,
                "--effort",
                default=Effort.medium,
            )
    answers = Answers(
        input=what,
        file=file,
        engine=engine,
        model=model,
        base_url=base_url or Answers.base_url,
        effort=effort,
        dataset=dataset or f"data/{path.stem}",
    )
    text = run_file_text(answers, str(path))
    try:
        # Before the file exists: a path can have bytes that are not UTF-8.
        content = text.encode()
        # Fails if another process has written the file meanwhile.
        with path.open("xb") as output:
            output.write(content)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {run_file}: {error}") from error
    typer.echo(f"wrote {visible(str(path))}")
    for index, command in enumerate(commands_after(answers, str(path))):
        start = "next: " if index == 0 else "      "
        typer.echo(f"{start}{command}")


def _ask(question: str, default: str, option: str) -> str:
    """Ask for a text on the terminal.

    Raises:
        ConfigError: There is no terminal, so the option is needed.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"pass {option}: there is no terminal to ask on")
    from rich.prompt import Prompt

    try:
        return Prompt.ask(question, default=default)
    except EOFError:
        raise ConfigError(f"pass {option}, or answer the question") from None


def _ask_choice(
    question: str, choices: type[Choice], option: str, default: Choice | None = None
) -> Choice:
    """Ask for one of several choices on the terminal, by default the first one; see `_ask`."""
    if not sys.stdin.isatty():
        listing = ", ".join(choices)
        raise ConfigError(f"pass {option} ({listing}): there is no terminal to ask on")
    from rich.prompt import Prompt

    try:
        default = default or next(iter(choices))
        return choices(Prompt.ask(question, choices=list(choices), default=default))
    except EOFError:
        raise ConfigError(f"pass {option}, or answer the question") from None
