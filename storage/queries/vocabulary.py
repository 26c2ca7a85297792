"""The names that a query can contain: for the completion and the help of a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.dataset.dataset import Dataset
from storage.queries.render import values
from storage.queries.sql import query_session

__all__ = ["Vocabulary", "read_vocabulary"]

COLUMNS = """
SELECT table_name, column_name, data_type FROM duckdb_columns()
WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index
"""
MACROS = """
SELECT function_name, parameters FROM duckdb_functions()
WHERE schema_name = 'main' AND NOT internal ORDER BY function_name
"""
FUNCTIONS = r"""
SELECT DISTINCT function_name FROM duckdb_functions()
WHERE internal AND regexp_full_match(function_name, '[a-z]\w+') ORDER BY function_name
"""
KEYWORDS = "SELECT DISTINCT upper(keyword_name) FROM duckdb_keywords() ORDER BY 1"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The views, macros, functions and keywords of a dataset's queries."""

    views: Mapping[str, Mapping[str, str]]
    """The types of the columns by name, by view."""
    macros: Mapping[str, Sequence[str]]
    """The names of the parameters, by table macro."""
    functions: Sequence[str]
    keywords: Sequence[str]


def read_vocabulary(dataset: Dataset) -> Vocabulary:
    """Return the names for a dataset, which include those of its methods.

    Raises:
        DatasetError: The dataset is missing.
    """
    views = dict[str, dict[str, str]]()
    # No part is read: the columns depend on the names of the methods only.
    with query_session(dataset, kinds=frozenset()) as run_query:
        for view, column, kind in values(run_query(COLUMNS)):
            views.setdefault(view, {})[column] = kind
        macros = dict(values(run_query(MACROS)))
        functions = [name for (name,) in values(run_query(FUNCTIONS))]
        keywords = [name for (name,) in values(run_query(KEYWORDS))]
    return Vocabulary(views=views, macros=macros, functions=functions, keywords=keywords)
