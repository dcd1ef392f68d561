"""Cells as dots: where an embedding has them, coloured by what is known of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.show.canvas import (
    ONE_COLUMN,
    SMALL,
    Panel,
    add_colour_bar,
    add_legend,
    entitle,
    lay_out,
    literal,
    plain,
)
from rankformer.show.cell_values import Categories, Numbers
from rankformer.show.label_layout import push_apart
from rankformer.show.palette import INK, MISSING, SEQUENTIAL, Palette, colour_categories, marker_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
# As wide as a column; wider where the legend leaves too little room for the dots.
EMBEDDING_SIZE = Panel(ONE_COLUMN)
LegendLoc = Literal["right margin", "on data", "none"]
_LEGENDS = ("right margin", "on data", "none")
# Square points. So many dots are vectors; more are pixels within the vector picture.
_INK_OF_ALL_DOTS, _SMALLEST, _LARGEST = 4_000, 0.5, 9.0
_MOST_VECTORS = 2_000
_MOST_ROWS = 17


@dataclass(frozen=True, eq=False)
class Dots:
    """Cells to draw.

    Attributes
    ----------
    places
        (n_cells, 2); NaN where a cell has none.
    axis_names
        What x and y are called.
    colour
        What cells are coloured by, or None.
    title
        What is written above them.
    """

    places: NDArray[np.float64]
    axis_names: tuple[str, str]
    colour: Categories | Numbers | None
    title: str | None


@dataclass(frozen=True)
class DotStyle:
    """How cells are drawn.

    Attributes
    ----------
    palette
        See `colour_categories`; of numbers, the name of a colour map.
    size
        Of a dot, in square points; by the number of cells unless given.
    limits
        Least and greatest number of the colour bar, None for those of the cells.
    legend_loc
        Where names stand.
    """

    palette: Palette = None
    size: float | None = None
    limits: tuple[float | None, float | None] = (None, None)
    legend_loc: LegendLoc = "right margin"


def draw_embedding(ax: "Axes", dots: Dots, style: DotStyle) -> None:
    """Draw them, none hidden on purpose: categories in random order, the greatest numbers last."""
    if style.legend_loc not in _LEGENDS:
        raise SettingsError(
            f"legend_loc is {style.legend_loc!r}.",
            f"One of {', '.join(map(repr, _LEGENDS))}.",
            "Correct legend_loc.",
        )
    there = np.asarray(np.isfinite(dots.places).all(axis=1))
    if not there.all():
        logger.warning("%s of %s cells have no place and are not drawn.",
                       f"{(~there).sum():,}", f"{len(there):,}")  # fmt: skip
    size = style.size or _dot_size(int(there.sum()))
    shared: dict[str, Any] = {
        "s": size,
        "linewidths": 0,
        "rasterized": int(there.sum()) > _MOST_VECTORS,
    }
    if dots.colour is None:
        ax.scatter(*dots.places[there].T, color=colour_categories([""])[""], **shared)
    elif isinstance(dots.colour, Categories):
        _draw_categories(ax, dots, dots.colour, there, style, shared)
    else:
        _draw_numbers(ax, dots, dots.colour, there, style, shared)
    ax.set(xlabel=literal(dots.axis_names[0]), ylabel=literal(dots.axis_names[1]), xticks=[],
           yticks=[])  # fmt: skip
    plain(ax)
    entitle(ax, dots.title)
    if isinstance(dots.colour, Categories) and style.legend_loc == "on data":
        _name_on_data(ax, dots.places, dots.colour, there)


def _draw_categories(
    ax: "Axes",
    dots: Dots,
    colour: Categories,
    there: NDArray[np.bool_],
    style: DotStyle,
    shared: dict[str, Any],
) -> None:
    colours = list(colour_categories(colour.names, style.palette).values())
    missing = there & (colour.codes < 0)
    if missing.any():
        ax.scatter(*dots.places[missing].T, color=MISSING, zorder=1, **shared)
    known = np.flatnonzero(there & (colour.codes >= 0))
    known = np.random.default_rng(0).permutation(known)
    markers = np.array([marker_of(i) for i in range(len(colours))])
    for marker in dict.fromkeys(markers):
        own = known[markers[colour.codes[known]] == marker]
        x, y = dots.places[own].T
        ax.scatter(x, y, c=[colours[i] for i in colour.codes[own]], marker=marker, zorder=2,
                   **shared)  # fmt: skip
    if style.legend_loc == "right margin":
        _add_counts(ax, colour, colours, int((colour.codes < 0).sum()))


def _add_counts(ax: "Axes", colour: Categories, colours: Sequence[str], n_missing: int) -> None:
    from matplotlib.lines import Line2D

    rows = [
        (colours[i], marker_of(i), f"{literal(name)} ({n:,})")
        for i, (name, n) in enumerate(zip(colour.names, colour.counts, strict=True))
    ]
    if n_missing:
        rows.append((MISSING, "o", f"missing ({n_missing:,})"))
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=each, markersize=4.5, markeredgewidth=0)
        for each, marker, _ in rows
    ]
    add_legend(ax, handles, [text for _, _, text in rows], loc="center left",
               bbox_to_anchor=(1, 0.5), ncols=-(-len(rows) // _MOST_ROWS))  # fmt: skip


def _draw_numbers(
    ax: "Axes",
    dots: Dots,
    colour: Numbers,
    there: NDArray[np.bool_],
    style: DotStyle,
    shared: dict[str, Any],
) -> None:
    known = there & np.isfinite(colour.values)
    missing = there & ~known
    if missing.any():
        ax.scatter(*dots.places[missing].T, color=MISSING, zorder=1, **shared)
    own = np.flatnonzero(known)
    own = own[np.argsort(colour.values[own], kind="stable")]
    lowest, highest = style.limits
    x, y = dots.places[own].T
    drawn = ax.scatter(
        x, y, c=colour.values[own], cmap=_colour_map(style.palette), zorder=2,
        vmin=lowest, vmax=highest, **shared,
    )  # fmt: skip
    add_colour_bar(ax, drawn, literal(colour.label, 60))
    if missing.any():
        ax.annotate(f"grey: no value ({missing.sum():,})", (1, 1), xycoords="axes fraction",
                    xytext=(0, 2), textcoords="offset points", ha="right", va="bottom",
                    fontsize=SMALL, color=INK)  # fmt: skip


def _colour_map(palette: Palette) -> str:
    from matplotlib import colormaps

    if palette is None:
        return SEQUENTIAL
    if not isinstance(palette, str) or palette not in colormaps:
        raise SettingsError(
            f"palette is {palette!r}.",
            "The name of a colour map of matplotlib's: the cells are coloured by a number.",
            f'Name one, such as "{SEQUENTIAL}".',
        )
    return palette


def _name_on_data(
    ax: "Axes", places: NDArray[np.float64], colour: Categories, there: NDArray[np.bool_]
) -> None:
    """Each name at the median of its cells, and moved off other names."""
    from matplotlib.patheffects import withStroke

    lay_out(ax)
    texts = [
        ax.annotate(
            literal(name), np.median(places[there & (colour.codes == i)], axis=0),
            xytext=(0, 0), textcoords="offset points", ha="center", va="center", fontsize=SMALL,
            color="black", path_effects=[withStroke(linewidth=2, foreground="white")], zorder=5,
        )
        for i, name in enumerate(colour.names) if (there & (colour.codes == i)).any()
    ]  # fmt: skip
    boxes = np.array([each.get_window_extent().extents for each in texts]).reshape(-1, 4)
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = push_apart(centres, halves) - centres
    for text, by in zip(texts, moved * 72 / ax.figure.dpi, strict=True):
        text.set_position(tuple(by))


def _dot_size(n_cells: int) -> float:
    return min(max(_INK_OF_ALL_DOTS / max(n_cells, 1), _SMALLEST), _LARGEST)
