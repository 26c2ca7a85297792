"""The run file: TOML with one table per concern; unknown keys are rejected."""

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from pipelines.run.run_date import with_date
from stepmark.errors import ConfigError
from stepmark.secrets import REDACTED, secrets_in, without_secrets

__all__ = [
    "Generate",
    "Prices",
    "RunFile",
    "RunSettings",
    "Shards",
    "load",
    "load_tables",
    "parse",
    "public_override",
]

Table = dict[str, Any]
# Pydantic would otherwise take `true` and "4" for numbers.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
GraderName = Literal["answers", "code"]
# TOML guarantees signed 64-bit integers: 63 bits and the sign.
INTEGER_BITS = 63
TYPES_IN_PLACES = ("literal[", "tuple[")
# Characters of a key or a reason that an error message quotes.
QUOTED_CHARACTERS = 200
# A run file is written by a person. The limits keep the time to read any other file short.
MAX_FILE_BYTES = 16 << 20
MAX_DEPTH = 32
# The index of an entry of a list in an override.
KEY_PATH = re.compile(r"[\w.]{1,100}")
INDEX = re.compile(r"\d{1,9}", re.ASCII)


class _Strict(BaseModel):
    """A table that rejects unknown keys and infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Generate(_Strict):
    """How traces are sampled, split and graded."""

    traces_per_problem: Integer = Field(default=4, ge=1, le=1024)
    """The number of independent solutions of each problem."""
    temperature: Number = Field(default=1.0, ge=0)
    top_p: Number = Field(default=1.0, ge=1e-6, le=1)
    max_tokens: Integer = Field(default=512, ge=1, le=2**31 - 1)
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
    min_step_chars: Integer = Field(default=0, ge=0, le=1_000_000)
    """A step with fewer characters is joined with the steps after it, the last one with the step
    before it.
    """
    grader: GraderName | tuple[GraderName, ...] = "answers"
    """How the outcome of a solution is decided.

    `answers` compares the stated answer with the reference; `code` runs the final program against
    the tests that are the reference. Of a list, the first grader that can decide an outcome does.
    """


# About 150 MB for 4 traces of each problem.
PROBLEMS_IN_FLIGHT = 2048


class Shards(_Strict):
    """How the work is divided. A shard is the unit of the parts and of the work of one worker.

    `problems_per_shard` changes a result only of methods that are fitted to the traces of a shard,
    such as `adaptive_search`. The other keys change none.
    """

    problems_per_shard: Integer = Field(default=64, ge=1, le=2**31 - 1)
    # The default is twice what a GPU generates at once that holds 1,024 sequences of 500 tokens.
    tokens_in_flight: Integer = Field(default=1_000_000, ge=1)
    """Start another shard while outstanding requests are expected to need fewer tokens than this.

    Prompts and completions are counted. Raise it to keep a larger engine, or several, busy.
    """
    flush_seconds: Number = Field(default=5.0, ge=0)
    """Completions are stored at most this many seconds after they arrived.

    A killed run loses no more than that.
    """
    shards_in_flight: Integer = Field(default=0, ge=0)
    """The maximum number of unfinished shards, which bounds memory.

    0: as many as have 2048 problems together, and at least 2 in each worker.
    """

    def in_flight(self, workers: int = 1) -> int:
        """Return the maximum number of unfinished shards in one of several workers."""
        if self.shards_in_flight:
            return max(1, self.shards_in_flight // workers)
        # With one shard, the engines would wait for its last trace before the next one starts.
        return max(2, PROBLEMS_IN_FLIGHT // (self.problems_per_shard * workers))


# The number of tokens that prices are for.
PRICE_UNIT_TOKENS = 1_000_000


class Prices(_Strict):
    """The prices of a million tokens, for the cost in the summary. With 0 no cost is printed."""

    prompt: Number = Field(default=0.0, ge=0)
    generated: Number = Field(default=0.0, ge=0)

    def of(self, prompt_tokens: int, generated_tokens: int) -> float | None:
        """Return the price of these tokens; None without prices."""
        if not (self.prompt or self.generated):
            return None
        cost = prompt_tokens * self.prompt + generated_tokens * self.generated
        return cost / PRICE_UNIT_TOKENS


class Budget(_Strict):
    """What one run may use; 0 is no limit. A run that reaches a limit stops, and can be resumed."""

    tokens: Integer = Field(default=0, ge=0)
    """Prompt tokens and generated tokens of all engines together."""
    cost: Number = Field(default=0.0, ge=0)
    """In the currency of `prices`, which it needs."""
    hours: Number = Field(default=0.0, ge=0)
    """The time after which no further request is sent."""


class Limits(_Strict):
    """Limits of a run."""

    failed_share: Number = Field(default=0.05, ge=0, le=1)
    """The largest share of traces on which a method may fail.

    Above it the command ends with exit status 1, when all other work is done.
    """


class RunSettings(_Strict):
    """How a run is carried out. No result depends on it."""

    workers: Integer = Field(default=1, ge=1, le=10_000)
    """The number of processes that make shards, each with its engines, as with `--workers`."""
    runner: Literal["local", "ray", "dask"] = "local"
    """Where these processes run: on this machine, or on a Ray or Dask cluster."""
    address: str = ""
    """The address of the cluster. For Ray the default is the cluster of this machine."""
    cpus_per_worker: Number = Field(default=1.0, ge=0)
    """The processors that Ray reserves for a worker."""
    gpus_per_worker: Number = Field(default=0.0, ge=0)
    """The GPUs that Ray reserves for a worker; for Dask, its resource `GPU`."""
    metrics_port: Integer = Field(default=0, ge=0, le=65535)
    """The port of the [metrics](metrics.md) for Prometheus; 0 for none."""
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    """The address at which the metrics are served. Anyone who reaches it can read them."""


class RunFile(_Strict):
    """A complete run file. `plan.build` builds the tables of plugins; here they stay untyped."""

    dataset: str = Field(min_length=1)
    seed: Integer = 1
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
    budget: Budget = Budget()
    """The [budget](#budget) of one run."""
    limits: Limits = Limits()
    """[Limits](#limits), above which a run counts as failed."""
    run: RunSettings = RunSettings()
    """[How the run is carried out](#run)."""

    def to_toml(self, *, with_secrets: bool = False) -> str:
        """Return the run file with defaults and overrides, as it is stored in the dataset.

        Secrets, such as the password in a URL, are replaced. Only workers, which get the text
        through a pipe, need them.
        """
        # Of [run] only what was set: the dataset does not depend on it.
        without = {"run"} if self.run == RunSettings() else set[str]()
        tables = self.model_dump(mode="json", exclude_none=True, exclude=without)
        return tomli_w.dumps(tables if with_secrets else without_secrets(tables))


TABLES: Mapping[str, type[BaseModel]] = {
    "generate": Generate,
    "shards": Shards,
    "prices": Prices,
    "budget": Budget,
    "limits": Limits,
    "run": RunSettings,
}


def load(path: Path, overrides: Sequence[str] = (), *, day: date | None = None) -> RunFile:
    """Read a run file.

    Args:
        path: The TOML file.
        overrides: Assignments `table.key=value` with a TOML value. An entry of a list is selected
            by its index: `annotators.0.rollouts=4`.
        day: The date that replaces `{date}`; today by default.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or contains an invalid key or value.
    """
    raw = load_tables(path, overrides)
    # The local date is what a person expects who starts a run by hand.
    return parse(with_date(raw, day or date.today(), str(path)), str(path))


def load_tables(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the tables of a run file with its overrides, before `{date}` is replaced.

    Raises:
        ConfigError: As `load`; tables that no run can have are found by `parse`.
    """
    raw = _read(path)
    for override in overrides:
        _apply_override(raw, override)
    _check_values(raw, str(path))
    if REDACTED in secrets_in(raw):
        raise ConfigError(
            f"{path}: {REDACTED} stands for a secret that was removed when the file was stored: "
            "write the secret in its place"
        )
    return raw


def parse(raw: Mapping[str, Any], file_name: str) -> RunFile:
    """Validate the content of a run file; error messages start with `file_name`."""
    try:
        return RunFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{file_name}: {_first_message(error)}") from error


def public_override(override: str) -> str:
    """Return an assignment of `load` in which secrets are replaced, for logs and Prefect.

    >>> public_override("engine.extra_body.api_key=k")
    'engine.extra_body.api_key="REDACTED"'
    """
    path, equals, text = override.partition("=")
    if not equals:
        return override
    table: Any = _toml_value(text, path)
    for key in reversed(path.split(".")):
        table = {key: table}
    public = without_secrets(table)
    if public == table:
        return override
    for key in path.split("."):
        public = public[key]
    return f"{path}={_inline(public)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has more than {MAX_FILE_BYTES:,} bytes: it is no run file")
        return tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the run file {path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the run file {path}: {error.strerror or error}") from error
    except ValueError as error:
        # A path with a NUL, or an integer with more digits than Python converts.
        raise ConfigError(f"cannot read the run file {path}: {_short(str(error))}") from error


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    # Of a key with several types, pydantic adds the type to the place of the error.
    place = [str(part) for part in first["loc"] if not str(part).startswith(TYPES_IN_PLACES)]
    key_path = _short(".".join(place))
    if first["loc"] in (("annotators",), ("filters",)):
        return f"{key_path}: write every one under its own [[{key_path}]]"
    if first["loc"][:1] == ("engines",):
        return f"{key_path}: write every engine under its own [engines.NAME]"
    if first["type"] != "extra_forbidden":
        return f"{key_path}: {first['msg']}"
    *tables, key = first["loc"]
    table = str(tables[0]) if tables else ""
    in_table = f" in [{table}]" if table else ""
    valid_keys = ", ".join(TABLES.get(table, RunFile).model_fields)
    return f"unknown key '{_short(str(key))}'{in_table}; known: {valid_keys}"


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    # The value is not quoted in a message, since it can be a secret. Without "=", all may be one.
    if not equals or not path:
        shown = path if KEY_PATH.fullmatch(path) else ""
        raise ConfigError(f"--set {shown}: write it as table.key=value")
    *parents, key = path.split(".")
    if len(parents) > MAX_DEPTH:
        raise ConfigError(f"--set {_short(path)}: nested too deeply")
    table: Any = raw
    for parent in parents:
        table = _entry(table, parent, path)
    if not isinstance(table, dict):
        raise ConfigError(f"--set {_short(path)}: {_short('.'.join(parents))} is not a table")
    table[key] = _toml_value(text, path)


def _entry(container: Any, name: str, path: str) -> Any:
    """Return an entry of a table or list; a missing table is created."""
    if isinstance(container, list) and INDEX.fullmatch(name) and int(name) < len(container):
        return container[int(name)]
    if isinstance(container, dict):
        return container.setdefault(name, {})
    raise ConfigError(f"--set {_short(path)}: there is no '{_short(name)}' in the run file")


def _toml_value(text: str, path: str) -> Any:
    """Return the TOML value, or the text itself, so that strings need no quotes in a shell."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError as error:
        raise ConfigError(f"--set {_short(path)}: nested too deeply") from error
    except ValueError as error:
        # An integer with more digits than Python converts.
        raise ConfigError(f"--set {_short(path)}: a number out of range") from error
    # With a line break the text can be more than one value.
    return table["value"] if len(table) == 1 else text


def _inline(value: Any) -> str:
    """Return a value as TOML in one line."""
    if isinstance(value, Mapping):
        entries = [f"{_inline(str(key))} = {_inline(item)}" for key, item in value.items()]
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    # TOML writes texts, numbers and truth values as JSON does.
    return json.dumps(value, ensure_ascii=False, default=str)


def _check_values(value: Any, key_path: str, depth: int = 0) -> None:
    """Reject values that no parameter accepts.

    They are nan, infinity, integers beyond 64 bits, dates, texts that are not Unicode and tables in
    tables without end.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"{_short(key_path)}: nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, key_path)
            _check_values(inner, _extended(key_path, key), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_values(inner, _extended(key_path, index), depth + 1)
    elif isinstance(value, str):
        _check_text(value, key_path)
    elif isinstance(value, date | time):
        raise ConfigError(f"{_short(key_path)}: a date or a time; write a text in quotes")
    elif _is_out_of_range(value):
        raise ConfigError(f"{_short(key_path)}: a number out of range")


def _check_text(text: str, key_path: str) -> None:
    """Reject surrogates: Python's form of bytes in the command line that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{_short(key_path)}: a text that is not Unicode") from error


def _is_out_of_range(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and value.bit_length() > INTEGER_BITS


def _short(text: str) -> str:
    """Return a text as an error message quotes it: on one line, and shortened."""
    line = " ".join(text.split())
    return line if len(line) <= QUOTED_CHARACTERS else f"{line[:QUOTED_CHARACTERS]}…"


def _extended(key_path: str, key: object) -> str:
    """Append a key to "FILE" or "FILE: table.key"."""
    return f"{key_path}.{key}" if ": " in key_path else f"{key_path}: {key}"
