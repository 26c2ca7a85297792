"""Tables of scores for the terminal."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from pipelines.scoring.metrics import Bin, Score
from stepmark.visible_text import visible

__all__ = ["reliability_table", "score_table"]

SCORE_COLUMNS = (
    "traces",
    "decided",
    "exact",
    "distinct",
    "exact of distinct",
    "at equal share",
    "acc. wrong",
    "acc. right",
    "F1",
    "step prec.",
    "recall",
    "F1",
    "flawed found",
    "ECE",
    "tokens",
)
# The width of a reliability bar, of an accuracy of 1.
BAR_CHARACTERS = 40
NOT_DEFINED = "–"


def score_table(scored: Mapping[tuple[str, str], Score], title: str, by: str = "") -> Table:
    """Return the scores as a table.

    Args:
        scored: The scores by (value of the column `by`, method).
        title: The title of the table.
        by: The column that the scores are broken down by; "" for no breakdown.
    """
    table = Table(title=Text(visible(title)), title_justify="left")
    if by:
        table.add_column(by)
    # The headings are wrapped rather than the names.
    table.add_column("method", min_width=max((len(method) for _, method in scored), default=0))
    for column in SCORE_COLUMNS:
        table.add_column(column, justify="right")
    for (part, method), score in scored.items():
        names = [part, method] if by else [method]
        table.add_row(*(Text(visible(name)) for name in names), *_cells(score))
    return table


def _cells(score: Score) -> list[str]:
    return [
        str(score.traces),
        str(score.decided),
        _percent(score.exact),
        str(score.distinct),
        _percent(score.exact_distinct),
        _percent(score.exact_at_share),
        _percent(score.accuracy_wrong),
        _percent(score.accuracy_right),
        _percent(score.f1),
        _percent(score.step_precision),
        _percent(score.step_recall),
        _percent(score.step_f1),
        f"{score.flawed_found}/{score.flawed_positives}",
        _percent(score.calibration_error),
        NOT_DEFINED if score.tokens is None else f"{score.tokens:.0f}",
    ]


def reliability_table(scored: Mapping[tuple[str, str], Score]) -> Table:
    """Return the accuracy by stated confidence, one row per method and tenth of confidence.

    In the last column the bar is the accuracy and `|` the mean confidence.
    """
    table = Table(title="reliability: confidence and accuracy, in %", title_justify="left")
    table.add_column("method")
    table.add_column("confidence")
    for column in ("traces", "mean", "accuracy"):
        table.add_column(column, justify="right")
    table.add_column("picture")
    for (part, method), score in scored.items():
        name = visible(f"{part} {method}".strip())
        for item in score.reliability:
            low = 100 * item.low
            table.add_row(
                Text(name),
                f"{low:.0f}–{low + 10:.0f}",
                str(item.traces),
                _percent(item.confidence),
                _percent(item.accuracy),
                _bar(item),
            )
    return table


def _bar(item: Bin) -> str:
    bar = ("█" * round(BAR_CHARACTERS * item.accuracy)).ljust(BAR_CHARACTERS, "·")
    marker = min(round(BAR_CHARACTERS * item.confidence), BAR_CHARACTERS - 1)
    return f"{bar[:marker]}|{bar[marker + 1 :]}"


def _percent(share: float | None) -> str:
    return NOT_DEFINED if share is None else f"{100 * share:.1f}"
