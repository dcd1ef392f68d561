"""Marker genes of groups of cells, or of the neighbourhoods of an embedding, as dots."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.cells.marker_genes import MarkerGenes, find_markers
from rankformer.errors import SettingsError
from rankformer.evaluate.neighbourhoods import divide_embedding
from rankformer.show.canvas import SMALL, Panel, add_colour_bar, add_legend, literal, plain
from rankformer.show.cell_values import Categories, Expression, require, require_categories
from rankformer.show.palette import GRID, INK, SHARES, UNSURE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEP, _ROW = 0.165, 0.22
_SHARES_TOLD = (0.25, 0.5, 1.0)
_LARGEST_DOT = 62.0


@dataclass(frozen=True, eq=False)
class Markers:
    """What is drawn.

    Attributes
    ----------
    groups
        Names and cells of the groups.
    found
        Their markers.
    genes
        (n_chosen,) names of these.
    """

    groups: Categories
    found: MarkerGenes
    genes: NDArray[np.object_]


def groups_of(adata: AnnData, groupby: str | None, basis: str, n_neighbourhoods: int) -> Categories:
    """Groups of a column of obs, or neighbourhoods of an embedding.

    Raises
    ------
    SettingsError
        If there is no such column or embedding, or there are too few cells.
    """
    if groupby is not None:
        return require_categories(adata.obs, groupby, "groupby")
    require(adata.obsm, basis, "basis", "obsm", "embedding")
    vectors = np.asarray(adata.obsm[basis])
    if not 2 <= n_neighbourhoods <= np.isfinite(vectors).all(axis=1).sum():
        raise SettingsError(
            f"n_neighbourhoods is {n_neighbourhoods}, of {len(vectors):,} cells.",
            "At least 2, and as many cells with an embedding.",
            "Correct n_neighbourhoods.",
        )
    codes = divide_embedding(vectors, n_neighbourhoods)
    return Categories([f"neighbourhood {i + 1}" for i in range(int(codes.max()) + 1)], codes)


def markers_of(expression: Expression, groups: Categories, n_genes: int) -> Markers:
    """Markers of each group.

    Raises
    ------
    SettingsError
        If there is one group alone, or no gene tells any group from the others.
    """
    if len(groups.names) < 2 and (groups.codes >= 0).all():
        raise SettingsError(
            f"All cells are of one group, {groups.names[0]}.",
            "Two groups or more.",
            "Name another column (groupby).",
        )
    found = find_markers(expression.matrix, groups.codes, n_genes)
    if not len(found.genes):
        raise SettingsError(
            "No gene is expressed more in one group than in the others.",
            "Groups of cells that differ.",
            "Name another column (groupby), or the values of another layer (layer).",
        )
    return Markers(groups, found, expression.genes[found.genes])


def marker_size(markers: Markers) -> Panel:
    """Axes in which each gene and each group has its place."""
    return Panel(_STEP * (len(markers.genes) + 0.4), _ROW * (len(markers.groups.names) + 0.2))


def draw_markers(ax: "Axes", markers: Markers, label: str) -> None:
    """Rows of groups, columns of their genes: size is how many cells, colour how much.

    Parameters
    ----------
    ax
        Axes.
    markers
        From `markers_of`.
    label
        What the values are.
    """
    found = markers.found
    n_groups, n_genes = found.means.shape
    lowest, highest = found.means.min(axis=0), found.means.max(axis=0)
    scaled = (found.means - lowest) / np.maximum(highest - lowest, 1e-12)
    x, y = np.meshgrid(np.arange(n_genes), np.arange(n_groups))
    plain(ax)
    drawn = ax.scatter(
        x.ravel(), y.ravel(), s=_LARGEST_DOT * found.shares.ravel(),
        c=scaled.ravel(), cmap=SHARES, vmin=0, vmax=1,
        linewidths=0.3, edgecolors=INK, zorder=3,
    )  # fmt: skip
    ax.set_xticks(range(n_genes), [literal(each) for each in markers.genes], rotation=90)
    counts = zip(markers.groups.names, markers.groups.counts, strict=True)
    ax.set_yticks(range(n_groups), [f"{literal(name)} ({n:,})" for name, n in counts])
    ax.set(xlim=(-0.7, n_genes - 0.3), ylim=(n_groups - 0.4, -0.6))
    for edge in np.flatnonzero(np.diff(found.groups)) + 0.5:
        ax.axvline(edge, color=GRID, linewidth=0.6, zorder=0)
    for row in range(n_groups):
        ax.axhline(row, color=GRID, linewidth=0.6, zorder=0)
    ax.tick_params(length=0)
    _explain(ax, drawn, markers, label)


def _explain(ax: "Axes", drawn: Any, markers: Markers, label: str) -> None:
    from matplotlib.lines import Line2D

    panel = marker_size(markers)
    wide, high = panel.width, panel.height or 1
    bar = add_colour_bar(
        ax, drawn, "", box=(1 + 0.14 / wide, 1 - 1.58 / high, 0.1 / wide, 0.55 / high)
    )
    bar.set_title(
        "mean, from least\nto highest group", fontsize=SMALL, color=INK, loc="left", pad=6
    )
    bar.set_yticks([0, 1], ["least", "highest"])
    handles = [
        Line2D([], [], linestyle="", marker="o", color=UNSURE, markeredgewidth=0,
               markersize=(_LARGEST_DOT * share) ** 0.5)
        for share in _SHARES_TOLD
    ]  # fmt: skip
    add_legend(ax, handles, [f"{share:.0%}" for share in _SHARES_TOLD], loc="upper left",
               title="cells that express it", ncols=3, handletextpad=0.0, columnspacing=0.5,
               bbox_to_anchor=(1 + 0.06 / wide, 1 + 0.08 / high))  # fmt: skip
    if label:
        ax.set_xlabel(literal(label, 60), color=INK, fontsize=SMALL)
