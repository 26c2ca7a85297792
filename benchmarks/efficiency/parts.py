"""The results of the benchmark on one group of traces, as they are stored in JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from benchmarks.common.targets import Interval
from benchmarks.efficiency.information_bounds import RolloutBound
from benchmarks.efficiency.measures import Measures

__all__ = [
    "ADAPTIVE_PREFIX",
    "INFORMED_PREFIX",
    "MATH_SHEPHERD",
    "MATH_SHEPHERD_EARLY",
    "OMEGA_PRM",
    "OMEGA_PRM_EARLY",
    "Part",
    "parts_to_json",
    "read_parts",
]

# The names of the methods are keys in the JSON and rows of the tables in `README.md`.
MATH_SHEPHERD = "Math-Shepherd K=8"
MATH_SHEPHERD_EARLY = f"{MATH_SHEPHERD}, early"
OMEGA_PRM = "OmegaPRM k=8"
OMEGA_PRM_EARLY = f"{OMEGA_PRM}, early"
ADAPTIVE_PREFIX = "adaptive, "
INFORMED_PREFIX = "knows the policy, "


@dataclass(frozen=True, kw_only=True)
class Part:
    """The results of all methods on one group of traces. The aliases are the keys in the JSON."""

    measures: Annotated[Mapping[str, Measures], Field(alias="rows")]
    """By method."""
    bounds: Annotated[Mapping[str, RolloutBound], Field(alias="limits")]
    """By method; empty unless the policy is simulated."""
    comparisons: Annotated[
        Mapping[str, Mapping[str, tuple[Interval, Interval]]], Field(alias="against")
    ]
    """By method and baseline: the paired difference in the exact share and ratio of the tokens.

    The methods are those that are not fixed rules. The baselines are two fixed rules and adaptive
    search with its default."""
    reliability: Sequence[tuple[float, float, int]]
    """Of adaptive search with its default, by tenths of confidence: the mean confidence, the exact
    share and the number of traces."""


def read_parts(file: Path) -> Mapping[str, Part]:
    """Return the parts in the JSON of an earlier run."""
    results = json.loads(file.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Part]).validate_python(results["parts"])


def parts_to_json(parts: Mapping[str, Part]) -> Mapping[str, Any]:
    """Return the parts as `read_parts` reads them."""
    dumped: Mapping[str, Any] = TypeAdapter(dict[str, Part]).dump_python(dict(parts), by_alias=True)
    return dumped
