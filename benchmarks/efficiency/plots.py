"""Plots of the benchmark, in SVG.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish. The markers
differ as well, for prints without colour.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib import pyplot

from benchmarks.efficiency.parts import (
    ADAPTIVE_PREFIX,
    INFORMED_PREFIX,
    MATH_SHEPHERD,
    MATH_SHEPHERD_EARLY,
    OMEGA_PRM,
    OMEGA_PRM_EARLY,
    Part,
)
from benchmarks.efficiency.pocket_traces import FORMAL

__all__ = ["draw_plots"]


class Line(NamedTuple):
    """The style of a group of methods that differ only in their price or confidence."""

    label: str
    colour: str
    marker: str
    dashes: str


class Point(NamedTuple):
    """The style of a fixed rule."""

    colour: str
    marker: str


ADAPTIVE = Line("adaptive", "#0072B2", "o", "-")
ADAPTIVE_WITH_FORMAL = Line("adaptive with formal", "#009E73", "s", "--")
INFORMED = Line("knows the policy", "#999999", "x", ":")
LINES = (ADAPTIVE, ADAPTIVE_WITH_FORMAL, INFORMED)
POINTS = {
    MATH_SHEPHERD: Point("#D55E00", "D"),
    MATH_SHEPHERD_EARLY: Point("#D55E00", "d"),
    OMEGA_PRM: Point("#000000", "^"),
    OMEGA_PRM_EARLY: Point("#000000", "v"),
}
# Of a panel, in inches.
WIDTH = 4.2
HEIGHT = 3.6
MAX_COLUMNS = 3


def draw_plots(parts: Mapping[str, Part], folder: Path) -> None:
    """Write two plots with one panel per part.

    `efficiency.svg` shows the exact share against tokens, `calibration.svg` the exact share against
    the confidence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.use("svg")  # works without a display
    matplotlib.rcParams["svg.hashsalt"] = "stepmark"  # equal figures give equal files
    _draw_panels(parts, _draw_efficiency, folder / "efficiency.svg")
    _draw_panels(parts, _draw_calibration, folder / "calibration.svg")


def _draw_panels(
    parts: Mapping[str, Part], draw_panel: Callable[[Any, Part], None], file: Path
) -> None:
    columns = min(MAX_COLUMNS, len(parts))
    rows = -(-len(parts) // columns)  # rounded up
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(WIDTH * columns, HEIGHT * rows), squeeze=False, layout="constrained"
    )
    for empty in axes.flat[len(parts) :]:
        empty.set_visible(False)
    # Panels share most methods, so the legend has one entry per label.
    handles = dict[str, Any]()
    for axis, (name, part) in zip(axes.flat, parts.items(), strict=False):
        axis.set_title(name, fontsize=10)
        axis.grid(color="#dddddd", linewidth=0.5)
        axis.set_axisbelow(True)
        draw_panel(axis, part)
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    figure.legend(handles.values(), handles.keys(), fontsize=8, ncols=4, loc="outside lower center")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _draw_efficiency(axis: Any, part: Part) -> None:
    for line in LINES:
        points = list[tuple[float, float]]()
        for name, measures in part.measures.items():
            if _line_of(name) is line:
                # A logarithmic axis has no zero.
                tokens = max(1.0, measures.tokens.value)
                points.append((tokens, measures.exact.value))
        if not points:
            continue
        axis.plot(
            *zip(*sorted(points), strict=True),
            color=line.colour,
            marker=line.marker,
            linestyle=line.dashes,
            markersize=5,
            label=line.label,
        )
    for name, point in POINTS.items():
        measures = part.measures[name]
        exact = measures.exact
        axis.errorbar(
            measures.tokens.value,
            exact.value,
            yerr=[[exact.value - exact.low], [exact.high - exact.value]],
            color=point.colour,
            marker=point.marker,
            linestyle="",
            capsize=2,
            elinewidth=0.7,
            label=name,
        )
    axis.set_xscale("log")
    axis.set_xlabel("tokens generated per wrong trace")
    axis.set_ylabel("exact first error")


def _draw_calibration(axis: Any, part: Part) -> None:
    axis.plot([0, 1], [0, 1], color="#999999", linestyle=":", label="perfect calibration")
    confidence, exact, traces = zip(*part.reliability, strict=True)
    axis.scatter(
        confidence,
        exact,
        # A minimum size, so that bins with few traces are visible.
        s=[10 + 2 * count for count in traces],
        color="#0072B2",
        edgecolor="black",
        label="adaptive; area: traces",
    )
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("confidence")
    axis.set_ylabel("exact first error")


def _line_of(name: str) -> Line | None:
    """Return the line of a method; None for the fixed rules, which are points."""
    if name.startswith(INFORMED_PREFIX):
        return INFORMED
    if not name.startswith(ADAPTIVE_PREFIX):
        return None
    if name.endswith(FORMAL):
        return ADAPTIVE_WITH_FORMAL
    return ADAPTIVE
