"""What all pictures share: colours, boxes, and how they are written."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# Paul Tol's "muted" and "light" colours, which colour-blind readers tell apart.
INDIGO, TEAL, ROSE, SAND, WINE = "#332288", "#44AA99", "#CC6677", "#DDCC77", "#882255"
PALE_BLUE, PALE_GREEN, PALE_RED, PALE_SAND = "#DCE9F7", "#D8F0EA", "#F7DEE2", "#F6F0D2"
INK, GREY, PALE = "#222222", "#777777", "#EEEEEE"


# Letters are larger beside the rest than by inches, as pages show pictures smaller than they are.
SCALE = 0.88


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with axes of this width and height, and nothing drawn around them."""
    figure = Figure(figsize=(SCALE * width, SCALE * height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Write a text, in the middle of its height."""
    axes.text(x, y, text, **{"va": "center", "fontsize": 9, "color": INK, **how})


def box(
    axes: Axes, x: float, y: float, size: tuple[float, float], text: str, *, colour: str, **how: Any
) -> None:
    """A box with a text, by its lower left corner."""
    width, height = size
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour,
            edgecolor=how.pop("edge", "none"), linewidth=1,
        )
    )  # fmt: skip
    write(axes, x + width / 2, y + height / 2, text, **{"ha": "center", **how})


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY
) -> None:
    """An arrow."""
    how = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=how)


def save(figure: Figure, file: Path) -> None:
    """Write an SVG that has the same bytes each time: no date, and names that are not drawn."""
    settings = {"svg.hashsalt": "rankformer", "svg.fonttype": "path"}
    with mpl.rc_context(settings):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
