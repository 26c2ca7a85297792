"""The reliability diagram of a score: how often what is said with a confidence is right (Guo et al. 2017, arXiv 1706.04599, figure 1).

One panel a method: a bar for every tenth of confidence, as high as its accuracy, with a dot at its mean confidence and the number of traces
above it; the diagonal is where the two agree. A method that states no confidence has no panel. The same scores make the same file, byte by
byte, under the same version of matplotlib, which is an extra (`plots`).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.scoring.metrics import BINS, Score
from pipelines.terminal import visible
from stepmark.errors import ConfigError, InstallError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check", "draw_reliability"]

# What a file says of when and by whom it was made, by its suffix; left out, so that equal pictures are equal files.
METADATA: Mapping[str, Mapping[str, None]] = {
    ".svg": {"Date": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "stepmark",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLUMNS = 3
PANEL_INCHES = 3.2
MAX_PANELS = 60
"""More could be named by a data set than a picture can show."""
MAX_NAME = 60
HEADROOM = 1.12
"""Above an accuracy of 1, for the numbers over the bars."""
BAR, DOT, DIAGONAL = "#4878a8", "#d1605e", "#888888"


def check(path: Path) -> None:
    """Raise a `UserError` unless a picture can be drawn into such a file."""
    if path.suffix.lower() not in METADATA:
        raise ConfigError(f"--plot {path}: name a file that ends in {', '.join(METADATA)}")
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise InstallError(
            "--plot needs the package 'matplotlib', which is not installed: pip install 'stepmark[plots]'"
        ) from error


def draw_reliability(scored: Mapping[tuple[str, str], Score], path: Path) -> None:
    """Draw every score with a confidence, by (part of the data, method), into a file; `UserError` where there is none, or it cannot be."""
    check(path)
    panels = [
        (f"{part} {method}".strip(), score)
        for (part, method), score in scored.items()
        if score.reliability
    ]
    if not 0 < len(panels) <= MAX_PANELS:
        why = (
            f"{len(panels)} methods and parts are more than the {MAX_PANELS} of a picture"
            if panels
            else "no method states a confidence"
        )
        raise ConfigError(f"--plot {path}: {why}")
    import matplotlib as mpl

    with mpl.rc_context(dict(STYLE)), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a sign that the font lacks is shown as a box
        try:
            _figure(panels).savefig(path, metadata=METADATA[path.suffix.lower()])
        except OSError as error:
            raise ConfigError(f"--plot {path}: {error.strerror or error}") from error


def _figure(panels: Sequence[tuple[str, Score]]) -> "Figure":
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * rows), layout="constrained")
    for number, (name, score) in enumerate(panels, start=1):
        _panel(figure.add_subplot(rows, columns, number), name, score)
    return figure


def _panel(axes: Any, name: str, score: Score) -> None:
    shown = visible(" ".join(name.split()))
    title = f"{shown[:MAX_NAME]}…" if len(shown) > MAX_NAME else shown
    measured = f"ECE {100 * (score.calibration_error or 0):.1f} %, {sum(one.traces for one in score.reliability)} traces"
    # A name out of a data set is text: between dollar signs matplotlib would read it as a formula.
    axes.set_title(f"{title}\n{measured}", parse_math=False, fontsize="medium")
    axes.set(
        xlim=(0, 1),
        ylim=(0, HEADROOM),
        xlabel="confidence",
        ylabel="accuracy",
        yticks=(0, 0.25, 0.5, 0.75, 1),
    )
    axes.plot((0, 1), (0, 1), color=DIAGONAL, linestyle="--", linewidth=1)
    for one in score.reliability:
        axes.bar(one.low, one.accuracy, 1 / BINS, align="edge", color=BAR, edgecolor="white")
        axes.plot(one.confidence, one.accuracy, "o", color=DOT, markersize=3, clip_on=False)
        axes.text(
            one.low + 0.5 / BINS,
            one.accuracy + 0.02,
            str(one.traces),
            ha="center",
            va="bottom",
            fontsize="x-small",
        )
