"""Selections of traces: facets, queues and SQL in the address of a page, as SQL over the summary.

Every value is a parameter of the query. A facet about a method names it first, as in
`error_at=judge:3`. `Label` is the final label: no method has a name with a capital letter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlencode

from stepmark.errors import ConfigError
from storage.dataset.tables import is_human
from storage.queries.trace_summary import TraceSummary

__all__ = [
    "FACETS",
    "LABEL",
    "QUEUES",
    "SORTS",
    "Condition",
    "Selection",
    "column",
    "has_verdict",
    "parse",
]

LABEL = "Label"
"""The final label, which is a source of first errors as the methods are."""
# What a person can audit in a day or two.
AUDIT_TRACES = 200
# Anyone who can open the pages can write an address, so its values are limited.
MAX_VALUE_CHARS = 500
MAX_SQL_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a WHERE clause with the values of its parameters."""

    sql: str
    parameters: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of a list: its title, and the SQL after ORDER BY."""

    title: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The traces that a page lists, and their order."""

    facets: Mapping[str, str]
    """The values of the facets by name."""
    text: str = ""
    """What the questions contain; "" for any."""
    queue: str = ""
    sort: str = ""
    sql: str = ""
    """A SELECT of the user with the column trace_id; "" for none."""
    where: Condition
    """The condition of the facets and the queue."""
    order: str
    limit: int | None = None
    """The number of traces at most."""

    def query_string(self, without: str = "", **changes: object) -> str:
        """Return the selection as the query of an address.

        Args:
            without: A parameter to leave out.
            **changes: Parameters to add or replace.
        """
        parameters = {
            **self.facets,
            "text": self.text,
            "queue": self.queue,
            "sort": self.sort,
            "sql": self.sql,
        }
        for name, value in changes.items():
            parameters[name] = str(value)
        parameters.pop(without, None)
        return urlencode({name: value for name, value in parameters.items() if value})


def parse(parameters: Mapping[str, str], summary: TraceSummary) -> Selection:
    """Return the selection that the parameters of an address describe; others are ignored.

    Raises:
        ConfigError: A value is invalid.
    """
    facets = dict[str, str]()
    conditions = list[Condition]()
    for name, condition_of in FACETS.items():
        value = parameters.get(name, "")
        if value:
            if len(value) > MAX_VALUE_CHARS:
                raise ConfigError(f"{name} has more than {MAX_VALUE_CHARS} characters")
            facets[name] = value
            conditions.append(condition_of(value, summary))
    queue = parameters.get("queue", "")
    if queue:
        conditions.append(_queue(queue, summary))
    sort = parameters.get("sort", "")
    if sort not in ("", *SORTS):
        raise ConfigError(f"sort={sort}: choose one of {', '.join(SORTS)}")
    sql = parameters.get("sql", "").strip()
    if len(sql) > MAX_SQL_CHARS:
        raise ConfigError(f"the query has more than {MAX_SQL_CHARS:,} characters")
    limit: int | None = None
    if queue == "audit":
        limit = AUDIT_TRACES
        # The first traces of the dataset would be no sample.
        sort = sort or "random"
    order = ""
    if sort:
        order = SORTS[sort].sql
    return Selection(
        facets=facets,
        text=parameters.get("text", "").strip()[:MAX_VALUE_CHARS],
        queue=queue,
        sort=sort,
        sql=sql,
        where=_all(conditions),
        order=order,
        limit=limit,
    )


def column(source: str, name: str, summary: TraceSummary) -> str:
    """Return the column of the summary with a value of a method or of the label.

    Raises:
        ConfigError: The dataset has no annotations of the method.
    """
    if source == LABEL:
        return name
    if source not in summary.methods:
        available = ", ".join(summary.methods) or "none"
        raise ConfigError(f"the dataset has no annotations of '{source}'; it has: {available}")
    return f'"{source}_{name}"'


def has_verdict(source: str, summary: TraceSummary) -> str:
    """Return the condition that a method has annotated a trace, or that it has a label."""
    if source == LABEL:
        return "kept IS NOT NULL"
    # It is NULL in shards that the method has not reached.
    return f"{column(source, 'annotated', summary)} IS NOT DISTINCT FROM true"


def _all(conditions: Sequence[Condition]) -> Condition:
    parameters = list[object]()
    for condition in conditions:
        parameters.extend(condition.parameters)
    sql = " AND ".join(f"({condition.sql})" for condition in conditions)
    return Condition(sql or "true", tuple(parameters))


def _equals(name: str) -> Callable[[str, TraceSummary], Condition]:
    def condition(value: str, summary: TraceSummary) -> Condition:
        return Condition(f"{name} = ?", (value,))

    return condition


def _kept(value: str, summary: TraceSummary) -> Condition:
    return Condition(_choice("kept", value, KEPT))


def _class(value: str, summary: TraceSummary) -> Condition:
    return Condition(_choice("class", value, CLASSES))


def _reason(value: str, summary: TraceSummary) -> Condition:
    return Condition("NOT kept AND reason_kind = ?", (value,))


def _verdict(value: str, summary: TraceSummary) -> Condition:
    source, verdict = _parts("verdict", value, 2)
    first_error = column(source, "first_error", summary)
    annotated = has_verdict(source, summary)
    failed = "false"
    if source != LABEL:
        failed = f"{column(source, 'failed', summary)} IS NOT DISTINCT FROM true"
    conditions = {
        "error": f"{first_error} >= 0",
        "none": f"{first_error} = -1",
        "undecided": f"{annotated} AND NOT {failed} AND {first_error} IS NULL",
        "failed": failed,
        "missing": f"NOT ({annotated})",
    }
    return Condition(_choice("verdict", verdict, conditions))


def _decided_by(value: str, summary: TraceSummary) -> Condition:
    return Condition(f"{column(value, 'first_error', summary)} IS NOT NULL")


def _error_at(value: str, summary: TraceSummary) -> Condition:
    source, text = _parts("error_at", value, 2)
    first_error = column(source, "first_error", summary)
    comparison = "="
    # `20-` is every index from 20.
    if text.endswith("-"):
        comparison = ">="
        text = text.removesuffix("-")
    return Condition(f"{first_error} {comparison} ?", (_number("error_at", text),))


def _position(value: str, summary: TraceSummary) -> Condition:
    source, tenth = _parts("position", value, 2)
    first_error = column(source, "first_error", summary)
    return Condition(
        f"{first_error} >= 0 AND floor(10 * {first_error}::DOUBLE / steps) = ?",
        (_number("position", tenth),),
    )


def _confidence(value: str, summary: TraceSummary) -> Condition:
    source, low, high = _parts("confidence", value, 3)
    # In tenths, as the bins of the overview: the product rounds 0.1 + 0.7 up to 8 tenths.
    tenths = f"10 * {column(source, 'confidence', summary)}"
    upper = 10 * _number("confidence", high)
    comparison = "<"
    # The last bin includes a confidence of exactly 1.
    if upper >= 10:
        comparison = "<="
    return Condition(
        f"{tenths} >= ? AND {tenths} {comparison} ?", (10 * _number("confidence", low), upper)
    )


def _pair(name: str, operator: str) -> Callable[[str, TraceSummary], Condition]:
    def condition(value: str, summary: TraceSummary) -> Condition:
        first, second = _parts(name, value, 2)
        left = column(first, "first_error", summary)
        right = column(second, "first_error", summary)
        return Condition(f"{left} {operator} {right}")

    return condition


def _queue(name: str, summary: TraceSummary) -> Condition:
    if name not in QUEUES:
        raise ConfigError(f"queue={name}: choose one of {', '.join(QUEUES)}")
    columns = [column(method, "first_error", summary) for method in summary.methods]
    if name == "disagree":
        # Both functions ignore NULL.
        values = ", ".join(columns) or "0"
        return Condition(f"greatest({values}) <> least({values})")
    if name == "doubtful":
        return Condition("confidence >= 0.4 AND confidence <= 0.6")
    if name == "flawed":
        return Condition(CLASSES["flawed"])
    if name == "formal":
        conditions = ["false"]
        for method in summary.methods:
            if is_human(method) and "formal" in summary.methods:
                human = column(method, "first_error", summary)
                conditions.append(f"{column('formal', 'first_error', summary)} <> {human}")
        return Condition(" OR ".join(conditions))
    return Condition("true")


def _choice(name: str, value: str, conditions: Mapping[str, str]) -> str:
    if value not in conditions:
        raise ConfigError(f"{name}={value}: choose one of {', '.join(conditions)}")
    return conditions[value]


def _parts(name: str, value: str, count: int) -> Sequence[str]:
    parts = value.split(":")
    if len(parts) != count:
        raise ConfigError(f"{name}={value}: write {count} values with ':' between them")
    return parts


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text} is not a number") from error


KEPT: Mapping[str, str] = MappingProxyType(
    {"yes": "kept", "no": "NOT kept", "unlabelled": "kept IS NULL"}
)
# As in the view `classes`.
CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "positive": "first_error < 0",
        "negative": "first_error >= 0 AND outcome <> 'correct'",
        "flawed": "first_error >= 0 AND outcome = 'correct'",
        "undecided": "kept IS NOT NULL AND first_error IS NULL",
    }
)
FACETS: Mapping[str, Callable[[str, TraceSummary], Condition]] = MappingProxyType(
    {
        "outcome": _equals("outcome"),
        "kept": _kept,
        "reason": _reason,
        "class": _class,
        "verdict": _verdict,
        "error_at": _error_at,
        "position": _position,
        "confidence": _confidence,
        "agree": _pair("agree", "="),
        "differ": _pair("differ", "<>"),
        "decided_by": _decided_by,
        "problem": _equals("problem_id"),
        "domain": _equals("domain"),
        "source": _equals("source"),
        "model": _equals("model"),
        "finish_reason": _equals("finish_reason"),
        "found_by": _equals("found_by"),
    }
)
"""What makes the condition of each facet, by the name of its parameter."""
QUEUES: Mapping[str, str] = MappingProxyType(
    {
        "disagree": "Methods disagree",
        "doubtful": "Confidence between 0.4 and 0.6",
        "flawed": "Flawed positives",
        "formal": "Formal against human",
        "audit": f"Random {AUDIT_TRACES} for an audit",
    }
)
"""The saved queues and their titles."""
SORTS: Mapping[str, Sort] = MappingProxyType(
    {
        "doubt": Sort("least confident first", "confidence NULLS LAST"),
        "confidence": Sort("most confident first", "confidence DESC NULLS LAST"),
        "first_error": Sort("latest first error first", "first_error DESC NULLS LAST"),
        "short": Sort("shortest first", "steps"),
        "long": Sort("longest first", "steps DESC"),
        "tokens": Sort("most tokens first", "generated_tokens DESC"),
        "random": Sort("random", "hash(trace_id)"),
    }
)
"""The orders of a list by name. Without one it is the order of the dataset."""
