"""Pictures of tested perturbations."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rankformer.scratch import whole_or_nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart.
_UP, _DOWN, _OTHER, _INK = "#D55E00", "#0072B2", "#BBBBBB", "#333333"
# Room beside the dots, as a share of their width, and where names begin in it, from each edge.
_ROOM, _NAMES_AT = 0.4, 0.17


def draw_volcano(
    tested: pd.DataFrame,
    *,
    ax: "Axes | None" = None,
    level: float = 0.05,
    n_labels: int = 8,
    label: str | None = None,
) -> "Axes":
    """Effect against certainty: each perturbation a dot.

    Parameters
    ----------
    tested
        From `compare_genes`, with ``q_value``.
    ax
        Axes to draw in; new ones unless given.
    level
        The false discovery rate at which dots are coloured.
    n_labels
        How many are named on each side: those that are large and certain.
    label
        Of the effect.

    Returns
    -------
    The axes.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        ax = plt.figure(figsize=(4.6, 4.2), layout="constrained").add_subplot()
    shown = tested.dropna(subset=["q_value"])
    column = "excess" if "excess" in shown else "effect"
    x = shown[column].to_numpy(float)
    q_values = shown["q_value"].to_numpy(float)
    least = q_values[q_values > 0].min(initial=1.0)
    y = -np.log10(np.maximum(q_values, least))
    called = q_values <= level
    for mask, colour in ((~called, _OTHER), (called & (x > 0), _UP), (called & (x <= 0), _DOWN)):
        ax.scatter(x[mask], y[mask], s=9, c=colour, linewidths=0, alpha=0.8, rasterized=True)
    ax.axhline(-np.log10(level), color=_INK, linewidth=0.6, linestyle=":")
    ax.axvline(0, color=_INK, linewidth=0.6)
    ax.margins(x=_ROOM, y=0.08)
    ax.set_ylim(bottom=0)
    names = shown["symbol"].astype(str).str.replace("$", r"\$", regex=False).to_numpy()
    for side in (1, -1):
        own = np.flatnonzero(called & (np.sign(x) == side))
        best = own[np.argsort(-np.abs(x[own]) * y[own], kind="stable")][:n_labels]
        _name(ax, x[best], y[best], names[best], side)
    if not called.any():
        nothing = f"no gene at a false discovery rate of {level:g}"
        ax.text(0.5, 0.97, nothing, color=_INK, fontsize=7, ha="center", va="top",
                transform=ax.transAxes)  # fmt: skip
    ax.set_xlabel(label or _describe(column))
    ax.set_ylabel("-log10 of the false discovery rate")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def write_volcano(tested: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Draw it into a file, which appears whole or not at all; its ending is the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    draw_volcano(tested, ax=figure.add_subplot())
    with whole_or_nothing(path, overwrite=overwrite) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=200)


def _describe(column: str) -> str:
    return "effect beyond genes of like rank" if column == "excess" else "mean effect"


def _name(ax: "Axes", x: Any, y: Any, names: Any, side: int) -> None:
    """Names in a column beside all dots, in their order, with a line from each to its dot."""
    low, high = ax.get_ylim()
    gap, last = (high - low) / 24, np.inf
    where = 0.5 + side * (0.5 - _NAMES_AT)
    for i in np.argsort(-y, kind="stable"):
        height = min(y[i], last - gap)
        last = height
        ax.annotate(
            names[i], (x[i], y[i]), xytext=(where, height), textcoords=ax.get_yaxis_transform(),
            fontsize=7, va="center", ha="left" if side > 0 else "right", color=_INK,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": _INK, "shrinkA": 1,
                        "shrinkB": 2, "relpos": (0 if side > 0 else 1, 0.5)},
        )  # fmt: skip
