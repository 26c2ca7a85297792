"""The view `verdicts`, as SQL text: one row per trace, with a group of columns for each method."""

from storage.dataset.tables import LABELS, annotations
from storage.queries.listing import TableParts
from storage.queries.sources import methods_with, table_source, traces_select

__all__ = ["verdicts_select"]


def verdicts_select(parts: TableParts) -> str:
    """Return the SELECT of the view."""
    columns = (
        "trace_id, problem_id, traces.model, traces.outcome,"
        " len(traces.steps)::INTEGER AS step_count, labels.first_error,"
        " labels.confidence, labels.kept, labels.reason"
    )
    joins = f" LEFT JOIN (FROM {table_source(parts, LABELS)}) AS labels USING (trace_id)"
    for method in methods_with(parts, "annotations"):
        # With a space, because no other name in the query has one.
        name = f'"of {method}"'
        columns += (
            f", {name}.first_error AS {method}_first_error"
            f", {name}.confidence AS {method}_confidence"
            f", [step.verdict FOR step IN {name}.steps] AS {method}_verdicts"
            f", [step.value FOR step IN {name}.steps] AS {method}_values"
            f", {name}.error AS {method}_error"
        )
        source = table_source(parts, annotations(method))
        joins += f" LEFT JOIN (FROM {source}) AS {name} USING (trace_id)"
    return f"SELECT {columns} FROM ({traces_select(parts)}) AS traces{joins}"
