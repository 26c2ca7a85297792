"""The run file: TOML, one table per concern, unknown keys refused."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stepmark.errors import ConfigError

__all__ = ["Generate", "Prices", "RunFile", "Shards", "load"]

Table = dict[str, Any]
INTEGER_BITS = 63


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Generate(_Strict):
    """How traces are written."""

    traces_per_problem: int = Field(default=4, ge=1, le=1024)
    """Independent solutions of each problem."""
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, ge=1e-6, le=1)
    max_tokens: int = Field(default=512, ge=1, le=2**31 - 1)
    """Tokens of one solution or rollout; a longer one is cut and its outcome is unknown."""
    stop: tuple[str, ...] = ()
    prompt: str = "boxed"
    """A file of `pipelines/prompts` by name, or the path of your own, with a place {question}."""
    split: str = "line"
    """line | blank_line | numbered | sentence | regex:PATTERN"""
    grader: Literal["answers", "code"] = "answers"
    """What decides whether a solution is right: its stated answer, or its final program, run against the tests that are the reference."""


class Shards(_Strict):
    """How the work is cut; a part is what a crash can cost."""

    problems_per_shard: int = Field(default=64, ge=1, le=2**31 - 1)
    tokens_in_flight: int = Field(default=1_000_000, ge=1)
    """A shard is begun when open requests are expected to want fewer tokens than this, prompts and completions together: twice what a GPU
    writes at once that holds 1,024 sequences of 500. More keeps a larger engine, or several, busy; it does not change the result."""
    shards_in_flight: int = Field(default=32, ge=1)
    """How many shards may be open at the most; it bounds memory, not the result."""


class Prices(_Strict):
    """What a million tokens cost, for the cost line of the summary; 0 prints no cost."""

    prompt: float = Field(default=0.0, ge=0)
    generated: float = Field(default=0.0, ge=0)


class RunFile(_Strict):
    """A whole run file. Tables of plugins stay as they are until `plan.Plan` builds them."""

    dataset: str = Field(min_length=1)
    seed: int = 1
    problems: Table | None = None
    engine: Table | None = None
    judge_engine: Table | None = None
    prover_engine: Table | None = None
    generate: Generate = Generate()
    annotators: tuple[Table, ...] = ()
    label: Table | None = None
    filters: tuple[Table, ...] = ()
    shards: Shards = Shards()
    prices: Prices = Prices()

    def to_toml(self) -> str:
        """The run file as resolved, defaults and overrides included, to be kept beside the data it made."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


TABLES: Mapping[str, type[BaseModel]] = {"generate": Generate, "shards": Shards, "prices": Prices}


def load(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Read a run file; `overrides` are `table.key=value` with a TOML value, list entries by number (`annotators.0.rollouts=4`)."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the run file {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    for override in overrides:
        _override(raw, override)
    _refuse_odd_numbers(raw, str(path))
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], where: str) -> RunFile:
    """Check a run file's content; `where` names it in messages."""
    try:
        return RunFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_message(error)}") from error


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["loc"] in (("annotators",), ("filters",)):
        return f"{place}: write every one under its own [[{place}]]"
    if first["type"] != "extra_forbidden":
        return f"{place}: {first['msg']}"
    *tables, key = first["loc"]
    table = str(tables[0]) if tables else ""
    known = TABLES.get(table, RunFile).model_fields
    return f"unknown key '{key}'{f' in [{table}]' if table else ''}; known: {', '.join(known)}"


def _override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: write it as table.key=value")
    *parents, key = path.split(".")
    place: Any = raw
    for parent in parents:
        place = _entry(place, parent, override)
    if not isinstance(place, dict):
        raise ConfigError(f"--set {override}: {'.'.join(parents)} is no table")
    place[key] = _value(text)


def _entry(place: Any, name: str, override: str) -> Any:
    if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
        return place[int(name)]
    if isinstance(place, dict):
        return place.setdefault(name, {})
    raise ConfigError(f"--set {override}: there is no '{name}' in the run file")


def _value(text: str) -> Any:
    """A TOML value, or else the text itself, so that strings need no quotes on a command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError as error:
        raise ConfigError(f"--set …={text[:20]}…: nested too deeply") from error


def _refuse_odd_numbers(value: Any, where: str) -> None:
    """No parameter wants nan or infinity, nor more than the 64 bits that TOML promises for a whole number."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_odd_numbers(inner, f"{where}: {key}" if ": " not in where else f"{where}.{key}")
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, int) and value.bit_length() > INTEGER_BITS
    ):
        raise ConfigError(f"{where}: a number out of range")
