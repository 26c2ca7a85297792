"""The commented run file that `stepmark new` writes."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import tomli_w

from stepmark.errors import ConfigError
from stepmark.visible_text import visible

__all__ = [
    "OTHER_COLUMNS",
    "Answers",
    "Effort",
    "EngineChoice",
    "Input",
    "commands_after",
    "run_file_text",
]


class Input(StrEnum):
    """What the user has."""

    problems = "problems"
    """Problems, which a model must solve first."""
    solutions = "solutions"
    """Solutions, which are imported."""


class EngineChoice(StrEnum):
    """The language model."""

    openai = "openai"
    """A server with the API of OpenAI: vLLM, SGLang or a provider."""
    vllm = "vllm"
    """vLLM in the process of the run, on GPUs of this machine."""
    none = "none"
    """No model: only exact checks."""


class Effort(StrEnum):
    """How many completions the methods may request for a solution."""

    small = "small"
    """A few rollouts, where they tell most; at most 32."""
    medium = "medium"
    """A search for the first error, and a judge: 26 completions for a wrong solution of 8 steps."""
    large = "large"
    """Rollouts from every step, and a judge: 60 completions for a solution of 8 steps."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a new run file is for."""

    input: Input
    file: str
    """The file of problems or solutions."""
    engine: EngineChoice
    model: str = ""
    """The name of the model; unused without an engine."""
    base_url: str = "http://127.0.0.1:8000/v1"
    """The address of the server; unused for other engines."""
    effort: Effort = Effort.medium
    """Unused without an engine."""
    dataset: str

    def check(self) -> None:
        """Check that the answers fit each other.

        Raises:
            ConfigError: They do not.
        """
        if self.input is Input.problems and self.engine is EngineChoice.none:
            raise ConfigError(
                "without an engine no model can solve problems: choose --engine openai or vllm, "
                "or pass solutions with --solutions"
            )
        if self.engine is not EngineChoice.none and not self.model:
            raise ConfigError(f"name the model for the engine {self.engine} with --model")


# Comments begin in the same column, as in the run files of the repository.
COMMENT_COLUMN = 35
# A shell ignores it. Without --map, the columns have the names of Stepmark's fields.
OTHER_COLUMNS = "# other columns: --map question=COLUMN --map solution=COLUMN --map answer=COLUMN"

SERVER = """
[engine]                           # {role}
use = "openai"
{model}
{base_urls}
api = "chat"                       # "completions" for a base model
continuation = "vllm"              # how vLLM and SGLang continue an answer; "none" for others
# api_key_env = "MY_API_KEY"       # the environment variable with the key
"""
IN_PROCESS = """
[engine]                           # {role}
use = "vllm"
{model}

[engine.options]
max_model_len = 8192               # any argument of vLLM's AsyncEngineArgs
"""
GENERATE = """
[generate]
{traces}max_tokens = 2048                  # a longer {text} is cut, and its outcome is unknown
temperature = 0.7
split = "line"                     # or blank_line, numbered, sentence, think, regex:PATTERN
"""
TRACES = "traces_per_problem = 4             # more can be added later\n"
FORMAL = """
[[annotators]]                     # exact checks of formulas; no tokens
use = "formal"
"""
SMALL = """
[[annotators]]                     # rollouts where they tell most about the first error
use = "adaptive_search"
evidence = ["formal"]
budget = 32                        # the most rollouts of a trace

[label]                            # the probabilities of adaptive_search
use = "posterior"
threshold = 0.9                    # a higher one keeps fewer traces, with more exact labels
"""
MEDIUM = """
[[annotators]]                     # about `rollouts` * log2(steps) completions per wrong trace
use = "binary_search"
rollouts = 8
right_answers = "search"           # also look for a wrong step behind a right answer

[[annotators]]                     # the same model judges; [judge_engine] names another one
use = "judge"
votes = 2

[label]                            # keep a trace where both name the same first error
use = "consensus"
"""
LARGE = """
[[annotators]]                     # `rollouts` completions from every step, and a value for it
use = "monte_carlo"
rollouts = 8

[[annotators]]                     # the same model judges; [judge_engine] names another one
use = "judge"
votes = 4

[label]                            # keep a trace where both name the same first error
use = "consensus"
"""
WITHOUT_MODEL = """
[label]                            # keep a trace where a formula is false, or a proof holds
use = "consensus"
rule = "majority"
min_agreeing = 1
trust = "verdicts"
"""
METHODS = {Effort.small: SMALL, Effort.medium: MEDIUM, Effort.large: LARGE}
FILTERS = """
[[filters]]                        # copies train nothing new
use = "duplicates"
"""
BUDGET = """
# [budget]                         # a run that reaches a limit stops, and can be resumed
# tokens = 10_000_000
"""


def run_file_text(answers: Answers, run_file: str) -> str:
    """Return a commented run file.

    Args:
        answers: What it is for.
        run_file: Its path, for the commands in its first lines.
    """
    answers.check()
    parts = [f"#   {command}\n" for command in commands_after(answers, run_file)]
    parts.append(_key("dataset", answers.dataset) + "\n")
    if answers.input is Input.problems:
        parts.append('\n[problems]\nuse = "files"\n')
        comment = 'one {"question": …, "answer": …} per line; fields maps other columns'
        parts.append(_with_comment(_list("paths", answers.file), comment) + "\n")
    has_model = answers.engine is not EngineChoice.none
    if has_model:
        parts += [_engine(answers), _generate(answers)]
    parts += [FORMAL, METHODS[answers.effort] if has_model else WITHOUT_MODEL, FILTERS]
    if has_model:
        parts.append(BUDGET)
    return "".join(parts)


def commands_after(answers: Answers, run_file: str) -> list[str]:
    """Return the commands that come next, in order."""
    path = _word(run_file)
    if answers.input is Input.problems:
        return [f"stepmark check {path}", f"stepmark plan {path}", f"stepmark run {path}"]
    dataset = _word(answers.dataset)
    return [
        f"stepmark import {_word(answers.file)} --dataset {dataset}  {OTHER_COLUMNS}",
        f"stepmark check {path}",
        f"stepmark label {path}",
    ]


def _engine(answers: Answers) -> str:
    role = "continues the solutions, and judges them"
    if answers.input is Input.problems:
        role = "writes the solutions, continues and judges them"
    template = SERVER if answers.engine is EngineChoice.openai else IN_PROCESS
    return template.format(
        role=role,
        model=_key("model", answers.model),
        base_urls=_list("base_urls", answers.base_url),
    )


def _generate(answers: Answers) -> str:
    if answers.input is Input.problems:
        return GENERATE.format(traces=TRACES, text="solution or rollout")
    return GENERATE.format(traces="", text="rollout")


def _key(name: str, value: Any) -> str:
    return tomli_w.dumps({name: value}).strip()


def _list(name: str, text: str) -> str:
    """Return a list of one text, in one line."""
    _, _, value = _key(name, text).partition(" = ")
    return f"{name} = [{value}]"


def _with_comment(line: str, comment: str) -> str:
    return f"{line:{COMMENT_COLUMN - 1}} # {comment}"


def _word(text: str) -> str:
    """Return a word of a shell command, also in a comment of one line.

    All spaces of a path are kept. A command with line breaks or tabs shows them, but does not work.
    """
    # A path that begins with a hyphen would be read as an option.
    path = f"./{text}" if text.startswith("-") else text
    return visible(shlex.quote(path)).replace("\n", "\\x0a").replace("\t", "\\x09")
