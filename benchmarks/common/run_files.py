"""Run files of the benchmarks, as a user would write them."""

from collections.abc import Mapping
from typing import Any

from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.plan import Plan

__all__ = ["build_plan", "pocket_generation"]


def build_plan(tables: Mapping[str, Any]) -> Plan:
    """Return the plan of a run file."""
    # The name of the file in error messages.
    return planning.build(parse(dict(tables), "the benchmark's run file"))


def pocket_generation(traces_per_problem: int) -> Mapping[str, Any]:
    """Return the table `[generate]` of the demo, with another number of traces per problem."""
    return {
        "prompt": "pocket",
        "traces_per_problem": traces_per_problem,
        "temperature": 1.0,
        "max_tokens": 320,
        "split": "line",
    }
