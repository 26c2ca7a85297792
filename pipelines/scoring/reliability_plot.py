"""The reliability diagram of scores: accuracy by stated confidence.

As in Guo et al. 2017 (arXiv 1706.04599, figure 1), with one panel per method: a bar per tenth of
confidence, as high as its accuracy, with a dot at its mean confidence and the number of traces
above. On the diagonal confidence and accuracy are equal. Methods without a confidence have no
panel.

Equal scores give equal files, byte by byte, with the same version of matplotlib, which is the
optional dependency `plots`.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.scoring.metrics import BINS, Score
from stepmark.errors import ConfigError, InstallError
from stepmark.visible_text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_plot_file", "draw_reliability"]

# The metadata that is left out of a file, by suffix: dates and program versions would make equal
# diagrams differ.
METADATA: Mapping[str, Mapping[str, None]] = {
    ".svg": {"Date": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
STYLE: Mapping[str, Any] = {
    # A fixed salt makes the ids in an SVG file reproducible.
    "svg.hashsalt": "stepmark",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLUMNS = 3
PANEL_INCHES = 3.2
# The number of panels depends on the dataset, so the size of the diagram needs a limit.
MAX_PANELS = 60
MAX_NAME_CHARACTERS = 60
# The upper end of the y axis: above 1, so that the counts above the bars have space.
Y_MAX = 1.12
COUNT_OFFSET = 0.02
BAR_COLOR = "#4878a8"
DOT_COLOR = "#d1605e"
DIAGONAL_COLOR = "#888888"


def check_plot_file(path: Path) -> None:
    """Check that a diagram can be drawn into a file of this name.

    Raises:
        ConfigError: The suffix is not a supported format.
        InstallError: matplotlib is not installed.
    """
    if path.suffix.lower() not in METADATA:
        raise ConfigError(f"--plot {path}: name a file that ends in {', '.join(METADATA)}")
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise InstallError(
            "--plot needs the package 'matplotlib', which is not installed: "
            "pip install 'stepmark[plots]'"
        ) from error


def draw_reliability(scored: Mapping[tuple[str, str], Score], path: Path) -> None:
    """Draw all scores with a confidence into a file.

    Args:
        scored: The scores by (value of the breakdown column, method).
        path: The file; its suffix selects the format.

    Raises:
        ConfigError: No method states a confidence, there are too many panels, or the file cannot
            be written.
        InstallError: matplotlib is not installed.
    """
    check_plot_file(path)
    panels = list[tuple[str, Score]]()
    for (part, method), score in scored.items():
        if score.reliability:
            panels.append((f"{part} {method}".strip(), score))
    if not panels:
        raise ConfigError(f"--plot {path}: no method states a confidence")
    if len(panels) > MAX_PANELS:
        raise ConfigError(
            f"--plot {path}: {len(panels)} methods and parts are more than the {MAX_PANELS} that "
            "a diagram can hold"
        )
    import matplotlib as mpl

    with mpl.rc_context(dict(STYLE)), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        try:
            _figure(panels).savefig(path, metadata=METADATA[path.suffix.lower()])
        except OSError as error:
            raise ConfigError(f"--plot {path}: {error.strerror or error}") from error


def _figure(panels: Sequence[tuple[str, Score]]) -> "Figure":
    # Imported late: matplotlib is optional and slow to import.
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * rows), layout="constrained")
    for number, (name, score) in enumerate(panels, start=1):
        _draw_panel(figure.add_subplot(rows, columns, number), name, score)
    return figure


def _draw_panel(axes: Any, name: str, score: Score) -> None:
    """Draw the bars, dots and counts of one method."""
    # Names come from the dataset. Text between dollar signs is not drawn as a formula, because
    # matplotlib raises an error for an invalid one.
    axes.set_title(_panel_title(name, score), parse_math=False, fontsize="medium")
    axes.set(
        xlim=(0, 1),
        ylim=(0, Y_MAX),
        xlabel="confidence",
        ylabel="accuracy",
        yticks=(0, 0.25, 0.5, 0.75, 1),
    )
    axes.plot((0, 1), (0, 1), color=DIAGONAL_COLOR, linestyle="--", linewidth=1)
    for item in score.reliability:
        axes.bar(
            item.low, item.accuracy, 1 / BINS, align="edge", color=BAR_COLOR, edgecolor="white"
        )
        axes.plot(item.confidence, item.accuracy, "o", color=DOT_COLOR, markersize=3, clip_on=False)
        axes.text(
            item.low + 0.5 / BINS,
            item.accuracy + COUNT_OFFSET,
            str(item.traces),
            ha="center",
            va="bottom",
            fontsize="x-small",
        )


def _panel_title(name: str, score: Score) -> str:
    title = visible(" ".join(name.split()))
    if len(title) > MAX_NAME_CHARACTERS:
        title = f"{title[:MAX_NAME_CHARACTERS]}…"
    error = 100 * (score.calibration_error or 0)
    traces = sum(item.traces for item in score.reliability)
    return f"{title}\nECE {error:.1f} %, {traces} traces"
