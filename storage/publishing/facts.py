"""What a dataset says about its origin, its cost and the quality of its labels."""

import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow.compute as pc

from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN, LABELS, ORACLE, TRACES, Table, annotations
from storage.queries.render import values
from storage.queries.sql import query_session

__all__ = ["Facts", "MethodCost", "MethodQuality", "facts_of", "wilson_interval"]

# The 97.5 % quantile of the normal distribution, for intervals of 95 %.
NORMAL_QUANTILE = 1.959964
# The labels, with the method '', come last. Labels that are not kept are undecided.
QUALITY = """
WITH gold AS (
  SELECT trace_id, first_error AS gold FROM annotations
  WHERE method = '{gold}' AND first_error IS NOT NULL
),
predictions AS (
  SELECT trace_id, method, first_error AS predicted FROM annotations WHERE method <> '{gold}'
  UNION ALL
  SELECT trace_id, '' AS method, CASE WHEN kept THEN first_error END FROM labels
)
SELECT method, count(*), count(predicted), count(*) FILTER (predicted = gold),
  count(*) FILTER (gold >= 0), count(*) FILTER (gold >= 0 AND predicted = gold)
FROM predictions JOIN gold USING (trace_id) JOIN traces USING (trace_id)
GROUP BY method ORDER BY method = '', method
"""
# The tables that the query reads.
TABLES = frozenset({"traces", "discovered", "annotations", "labels"})
CONTAMINATION = "contamination"
# Their sums are the cost of a method. The tokens of a discovered trace are those of a rollout,
# which are part of the cost of its method.
COST_COLUMNS = ("rollouts", "prompt_tokens", "generated_tokens")


class MethodCost(NamedTuple):
    """What the rows of a method cost; "" is the generation of the traces."""

    method: str
    rows: int
    rollouts: int
    prompt_tokens: int
    generated_tokens: int


class MethodQuality(NamedTuple):
    """How often a method names the gold first error; "" is the labels that are kept."""

    method: str
    traces: int
    """The traces with a gold label and a row of the method."""
    decided: int
    exact: int
    """The traces whose first error is exactly the gold one."""
    wrong: int
    """The traces with an error, according to the gold labels."""
    exact_wrong: int

    @property
    def f1(self) -> float | None:
        """The F1 of ProcessBench: the harmonic mean of the accuracies with and without an error."""
        right = self.traces - self.wrong
        if not self.wrong or not right:
            return None
        accuracy_wrong = self.exact_wrong / self.wrong
        accuracy_right = (self.exact - self.exact_wrong) / right
        total = accuracy_wrong + accuracy_right
        return 2 * accuracy_wrong * accuracy_right / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of a dataset that a card states."""

    run_files: Sequence[str] = ()
    costs: Sequence[MethodCost] = ()
    gold: str = ""
    """The method of the gold labels; "" if there are none."""
    quality: Sequence[MethodQuality] = ()
    is_decontaminated: bool = False
    """Whether a run file has the filter `contamination`."""
    contaminated: int = 0
    """The number of traces that this filter dropped."""


def facts_of(dataset: Dataset) -> Facts:
    """Return the facts of a dataset."""
    run_files = dataset.read_run_files()
    methods = dataset.methods("annotations")
    gold = ""
    if ORACLE in methods:
        gold = ORACLE
    elif HUMAN in methods:
        gold = HUMAN
    quality = []
    if gold:
        with query_session(dataset, kinds=TABLES) as run_query:
            for row in values(run_query(QUALITY.format(gold=gold))):
                quality.append(MethodQuality(*row))
    costs = [_cost(dataset, TRACES, "")]
    for method in methods:
        costs.append(_cost(dataset, annotations(method), method))
    is_decontaminated = any(_has_filter(text, CONTAMINATION) for text in run_files)
    return Facts(
        run_files=run_files,
        costs=costs,
        gold=gold,
        quality=quality,
        is_decontaminated=is_decontaminated,
        contaminated=_contaminated(dataset) if is_decontaminated else 0,
    )


def _cost(dataset: Dataset, table: Table[Any], method: str) -> MethodCost:
    rows = 0
    totals = Counter[str]()
    # Traces have no rollouts.
    columns = [column for column in COST_COLUMNS if column in table.schema.names]
    for shard in dataset.shards(table):
        counts = dataset.arrow_columns(table, shard, columns)
        rows += counts.num_rows
        for column in counts.column_names:
            totals[column] += pc.sum(counts[column]).as_py() or 0
    return MethodCost(method, rows, *[totals[column] for column in COST_COLUMNS])


def _contaminated(dataset: Dataset) -> int:
    """Return the number of traces that the filter `contamination` dropped."""
    count = 0
    for shard in dataset.shards(LABELS):
        for reason in dataset.column(LABELS, shard, "reason"):
            count += reason.startswith(f"{CONTAMINATION}: ")
    return count


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % of a share.

    >>> [round(bound, 3) for bound in wilson_interval(9, 10)]
    [0.596, 0.982]
    """
    share = successes / trials
    z = NORMAL_QUANTILE
    center = share + z * z / (2 * trials)
    margin = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (center - margin) / scale), min(1.0, (center + margin) / scale)


def _has_filter(run_file: str, name: str) -> bool:
    return any(table.get("use") == name for table in _filters(run_file))


def _filters(run_file: str) -> Iterator[dict[str, Any]]:
    try:
        tables = tomllib.loads(run_file).get("filters")
    except (ValueError, RecursionError):
        return
    if isinstance(tables, list):
        for table in tables:
            if isinstance(table, dict):
                yield table
