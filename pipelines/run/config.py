"""The run file: TOML with one table per concern; unknown keys are rejected."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stepmark.errors import ConfigError

__all__ = ["Generate", "Prices", "RunFile", "Shards", "load", "parse"]

Table = dict[str, Any]
GraderName = Literal["answers", "code"]
# TOML guarantees signed 64-bit integers: 63 bits and the sign.
INTEGER_BITS = 63
TYPES_IN_PLACES = ("literal[", "tuple[")
# Characters of a rejected value that an error message quotes.
QUOTED_CHARACTERS = 20


class _Strict(BaseModel):
    """A table that rejects unknown keys and infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Generate(_Strict):
    """How traces are sampled, split and graded."""

    traces_per_problem: int = Field(default=4, ge=1, le=1024)
    """The number of independent solutions of each problem."""
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, ge=1e-6, le=1)
    max_tokens: int = Field(default=512, ge=1, le=2**31 - 1)
    """The maximum number of tokens of one solution or rollout.

    A longer one is truncated, and its outcome is unknown.
    """
    stop: tuple[str, ...] = ()
    prompt: str = "boxed"
    """The name of a file in `pipelines/prompts`, or the path of a text file with {question}."""
    split: str = "line"
    """How a solution is split into steps.

    One of line, blank_line, numbered, sentence, think or regex:PATTERN.
    """
    min_step_chars: int = Field(default=0, ge=0, le=1_000_000)
    """A step with fewer characters is joined with the steps after it, the last one with the step
    before it.
    """
    grader: GraderName | tuple[GraderName, ...] = "answers"
    """How the outcome of a solution is decided.

    `answers` compares the stated answer with the reference; `code` runs the final program against
    the tests that are the reference. Of a list, the first grader that can decide an outcome does.
    """


class Shards(_Strict):
    """How the work is divided. A shard is the unit of the parts and of the work of one worker.

    `problems_per_shard` changes a result only of methods that are fitted to the traces of a shard,
    such as `adaptive_search`. The other keys change none.
    """

    problems_per_shard: int = Field(default=64, ge=1, le=2**31 - 1)
    # The default is twice what a GPU generates at once that holds 1,024 sequences of 500 tokens.
    tokens_in_flight: int = Field(default=1_000_000, ge=1)
    """Start another shard while outstanding requests are expected to need fewer tokens than this.

    Prompts and completions are counted. Raise it to keep a larger engine, or several, busy.
    """
    flush_seconds: float = Field(default=5.0, ge=0)
    """Completions are stored at most this many seconds after they arrived.

    A killed run loses no more than that.
    """
    shards_in_flight: int = Field(default=32, ge=1)
    """The maximum number of unfinished shards, which bounds memory."""


# The number of tokens that prices are for.
PRICE_UNIT_TOKENS = 1_000_000


class Prices(_Strict):
    """The prices of a million tokens, for the cost in the summary. With 0 no cost is printed."""

    prompt: float = Field(default=0.0, ge=0)
    generated: float = Field(default=0.0, ge=0)

    def of(self, prompt_tokens: int, generated_tokens: int) -> float | None:
        """Return the price of these tokens; None without prices."""
        if not (self.prompt or self.generated):
            return None
        cost = prompt_tokens * self.prompt + generated_tokens * self.generated
        return cost / PRICE_UNIT_TOKENS


class Limits(_Strict):
    """Limits of a run."""

    failed_share: float = Field(default=0.05, ge=0, le=1)
    """The largest share of traces on which a method may fail.

    Above it the command ends with exit status 1, when all other work is done.
    """


class RunFile(_Strict):
    """A complete run file. `plan.build` builds the tables of plugins; here they stay untyped."""

    dataset: str = Field(min_length=1)
    seed: int = 1
    problems: Table | None = None
    engine: Table | None = None
    judge_engine: Table | None = None
    prover_engine: Table | None = None
    engines: Mapping[str, Table] | None = None
    generate: Generate = Generate()
    annotators: tuple[Table, ...] = ()
    label: Table | None = None
    filters: tuple[Table, ...] = ()
    shards: Shards = Shards()
    prices: Prices = Prices()
    limits: Limits = Limits()
    """[Limits](#limits), above which a run counts as failed."""

    def to_toml(self) -> str:
        """Return the run file with defaults and overrides, as it is stored in the dataset."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


TABLES: Mapping[str, type[BaseModel]] = {
    "generate": Generate,
    "shards": Shards,
    "prices": Prices,
    "limits": Limits,
}


def load(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Read a run file.

    Args:
        path: The TOML file.
        overrides: Assignments `table.key=value` with a TOML value. An entry of a list is selected
            by its index: `annotators.0.rollouts=4`.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or contains an invalid key or value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the run file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    for override in overrides:
        _apply_override(raw, override)
    _check_numbers(raw, str(path))
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], file_name: str) -> RunFile:
    """Validate the content of a run file; error messages start with `file_name`."""
    try:
        return RunFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{file_name}: {_first_message(error)}") from error


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    # Of a key with several types, pydantic adds the type to the place of the error.
    place = [str(part) for part in first["loc"] if not str(part).startswith(TYPES_IN_PLACES)]
    key_path = ".".join(place)
    if first["loc"] in (("annotators",), ("filters",)):
        return f"{key_path}: write every one under its own [[{key_path}]]"
    if first["loc"][0] == "engines":
        return f"{key_path}: write every engine under its own [engines.NAME]"
    if first["type"] != "extra_forbidden":
        return f"{key_path}: {first['msg']}"
    *tables, key = first["loc"]
    table = str(tables[0]) if tables else ""
    in_table = f" in [{table}]" if table else ""
    valid_keys = ", ".join(TABLES.get(table, RunFile).model_fields)
    return f"unknown key '{key}'{in_table}; known: {valid_keys}"


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: write it as table.key=value")
    *parents, key = path.split(".")
    table: Any = raw
    for parent in parents:
        table = _entry(table, parent, override)
    if not isinstance(table, dict):
        raise ConfigError(f"--set {override}: {'.'.join(parents)} is not a table")
    table[key] = _toml_value(text)


def _entry(container: Any, name: str, override: str) -> Any:
    """Return an entry of a table or list; a missing table is created."""
    if isinstance(container, list) and name.isdecimal() and int(name) < len(container):
        return container[int(name)]
    if isinstance(container, dict):
        return container.setdefault(name, {})
    raise ConfigError(f"--set {override}: there is no '{name}' in the run file")


def _toml_value(text: str) -> Any:
    """Return the TOML value, or the text itself, so that strings need no quotes in a shell."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError as error:
        raise ConfigError(f"--set …={text[:QUOTED_CHARACTERS]}…: nested too deeply") from error


def _check_numbers(value: Any, key_path: str) -> None:
    """Reject nan, infinity and integers beyond 64 bits, which no parameter accepts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, _extended(key_path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_numbers(inner, _extended(key_path, index))
    elif _is_out_of_range(value):
        raise ConfigError(f"{key_path}: a number out of range")


def _is_out_of_range(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and value.bit_length() > INTEGER_BITS


def _extended(key_path: str, key: object) -> str:
    """Append a key to "FILE" or "FILE: table.key"."""
    return f"{key_path}.{key}" if ": " in key_path else f"{key_path}: {key}"
