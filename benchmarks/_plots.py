"""Pictures of label efficiency: colours of Okabe and Ito, which the colour-blind tell apart, and shapes, which do without colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib import pyplot

if TYPE_CHECKING:
    from benchmarks.efficiency import Part

__all__ = ["draw"]

LINES = {
    "adaptive": ("adaptive", "#0072B2", "o", "-"),
    "formal": ("adaptive, hears formal", "#009E73", "s", "--"),
    "knows": ("knows the policy", "#999999", "x", ":"),
}
POINTS = {
    "Math-Shepherd K=8": ("#D55E00", "D"),
    "Math-Shepherd K=8, early": ("#D55E00", "d"),
    "OmegaPRM k=8": ("#000000", "^"),
    "OmegaPRM k=8, early": ("#000000", "v"),
}
WIDTH, HEIGHT = 4.2, 3.6
"""Of a panel, in inches."""


def draw(parts: Mapping[str, "Part"], folder: Path) -> None:
    """`efficiency.svg`: exactness against tokens; `calibration.svg`: what a confidence is worth."""
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.use("svg")  # no display is wanted
    matplotlib.rcParams["svg.hashsalt"] = "stepmark"  # the same figures give the same file
    _panels(parts, _efficiency, folder / "efficiency.svg")
    _panels(parts, _calibration, folder / "calibration.svg")


def _panels(parts: Mapping[str, "Part"], panel: Any, file: Path) -> None:
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(WIDTH * columns, HEIGHT * rows), squeeze=False, layout="constrained"
    )
    for spare in axes.flat[len(parts) :]:
        spare.set_visible(False)
    for axis, (name, part) in zip(axes.flat, parts.items(), strict=False):
        axis.set_title(name, fontsize=10)
        axis.grid(color="#dddddd", linewidth=0.5)
        axis.set_axisbelow(True)
        panel(axis, part)
    drawn = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(drawn.values(), drawn.keys(), fontsize=8, ncols=4, loc="outside lower center")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _efficiency(axis: Any, part: "Part") -> None:
    for key, (label, colour, shape, dashes) in LINES.items():
        rows = [row for name, row in part.rows.items() if _line_of(name) == key]
        # A logarithmic axis has no place for what costs nothing.
        drawn = sorted((max(1.0, row.tokens.value), row.exact.value) for row in rows)
        if drawn:
            axis.plot(
                *zip(*drawn, strict=True),
                color=colour,
                marker=shape,
                linestyle=dashes,
                markersize=5,
                label=label,
            )
    for name, (colour, shape) in POINTS.items():
        row = part.rows[name]
        around = [[row.exact.value - row.exact.low], [row.exact.high - row.exact.value]]
        axis.errorbar(
            row.tokens.value,
            row.exact.value,
            yerr=around,
            color=colour,
            marker=shape,
            linestyle="",
            capsize=2,
            elinewidth=0.7,
            label=name,
        )
    axis.set_xscale("log")
    axis.set_xlabel("tokens generated for a wrong trace")
    axis.set_ylabel("exact first error")


def _calibration(axis: Any, part: "Part") -> None:
    axis.plot([0, 1], [0, 1], color="#999999", linestyle=":", label="as it should be")
    confidence, exact, traces = zip(*part.reliability, strict=True)
    axis.scatter(
        confidence,
        exact,
        s=[10 + 2 * count for count in traces],
        color="#0072B2",
        edgecolor="black",
        label="adaptive; area: traces",
    )
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("confidence")
    axis.set_ylabel("exact first error")


def _line_of(name: str) -> str:
    if name.startswith("knows"):
        return "knows"
    return (
        ""
        if not name.startswith("adaptive")
        else "formal"
        if name.endswith("formal")
        else "adaptive"
    )
