"""The named queries: `stepmark sql :kappa`. Each is a file `named/NAME.sql`.

A file begins with comments: the description, then one line for each parameter:

    -- Traces on which two methods name different first errors.
    -- first = monte_carlo: the first method

The SQL contains the parameter as `$first`. Its value is bound by DuckDB, as a text, and never
becomes a part of the SQL. A parameter without ` = ` has no default value.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stepmark.errors import ConfigError

__all__ = ["MARK", "NamedQuery", "Parameter", "named_queries", "named_query"]

MARK = ":"
"""What precedes the name of a query on the command line."""
LABELS = "the labels"
"""The value that stands for the labels, in the queries that accept it."""
FOLDER = Path(__file__).with_name("named")
_METHOD = re.compile(r"\bthe (?:first |second )?method\b")
_PARAMETER = re.compile(
    r"-- (?P<name>[a-z_]+)(?P<has_default> = (?P<default>[^:]*))?: (?P<what>.+)"
)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a named query."""

    name: str
    default: str | None
    """None if a value is required."""
    description: str

    @property
    def is_method(self) -> bool:
        """Whether the value must be a method of the dataset, by its description."""
        return _METHOD.search(self.description) is not None

    def __str__(self) -> str:
        return self.name.upper() if self.default is None else f"[{self.name.upper()}]"


@dataclass(frozen=True, kw_only=True)
class NamedQuery:
    """A query from a file."""

    name: str
    description: str
    parameters: Sequence[Parameter]
    sql: str

    @property
    def usage(self) -> str:
        """How the query is called: `:rollouts TRACE [PREFIX]`."""
        return " ".join([f"{MARK}{self.name}", *map(str, self.parameters)])

    def check_methods(self, values: Mapping[str, str], methods: Sequence[str]) -> None:
        """Check that the dataset has the methods that the parameters name.

        Args:
            values: The values of the parameters by name.
            methods: The methods that the dataset has annotations of.

        Raises:
            ConfigError: It does not have one of them, so that the result would be empty.
        """
        for parameter in self.parameters:
            value = values[parameter.name]
            stands_for_labels = value == LABELS and LABELS in parameter.description
            if not parameter.is_method or stands_for_labels or value in methods:
                continue
            listing = ", ".join(methods) or "none"
            raise ConfigError(
                f"{MARK}{self.name}: the dataset has no annotations of {value[:80]!a} for"
                f" {parameter.name.upper()}; it has: {listing}"
            )

    def bind(self, arguments: Sequence[str]) -> Mapping[str, str]:
        """Return the values of the parameters by name.

        Raises:
            ConfigError: There are too many arguments, or too few.
        """
        required = sum(parameter.default is None for parameter in self.parameters)
        if not required <= len(arguments) <= len(self.parameters):
            raise ConfigError(f"the query takes other arguments: {self.usage}")
        values = dict[str, str]()
        for index, parameter in enumerate(self.parameters):
            if index < len(arguments):
                values[parameter.name] = arguments[index]
            else:
                values[parameter.name] = parameter.default or ""
        return values


@cache
def named_queries() -> Mapping[str, NamedQuery]:
    """Return all named queries by name, in alphabetical order."""
    queries = dict[str, NamedQuery]()
    for path in sorted(FOLDER.glob("*.sql")):
        queries[path.stem] = _parse(path.stem, path.read_text(encoding="utf-8"))
    return queries


def named_query(name: str) -> NamedQuery:
    """Return the query of a name.

    Raises:
        ConfigError: There is none; the message lists the names.
    """
    queries = named_queries()
    if name not in queries:
        raise ConfigError(f"there is no query {name[:80]!a}; there are: {', '.join(queries)}")
    return queries[name]


def _parse(name: str, text: str) -> NamedQuery:
    lines = text.splitlines()
    parameters = list[Parameter]()
    for line in lines[1:]:
        match = _PARAMETER.fullmatch(line)
        if match is None:
            break
        default = match["default"] if match["has_default"] else None
        parameters.append(Parameter(name=match["name"], default=default, description=match["what"]))
    return NamedQuery(
        name=name,
        description=lines[0].removeprefix("-- "),
        parameters=parameters,
        sql=text,
    )
